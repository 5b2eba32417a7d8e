"""The model as all attacks call it: logits in one float tensor, torch's modes put back, finite gradients."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from auditor.errors import AuditorError, InputError, describe
from auditor.torch_state import kept_modes, plain_tensor


@dataclass
class GradientCount:
    """How many images had their gradient taken, once for each time, and how often it was not finite."""

    taken: int = 0
    broken: int = 0

    def __deepcopy__(self, _: object) -> "GradientCount":
        return self  # copies of a model count together


class Classifier(nn.Module):
    """Other people's model, ``(N, C, H, W)`` in [0, 1] to finite logits ``(N, K)``.

    Args:
        model: in eval mode, parameters without gradients.
        default_dtype: torch's default dtype where the model was handed in; it runs with it.

    Attributes:
        dtype: what the model takes images in; they are cast, and the gradient comes back in their own.
        count: of gradients at the images. One with a NaN or an infinite value becomes 0 there.
    """

    def __init__(self, model: nn.Module, default_dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.model, self.default_dtype = model, default_dtype
        self.dtype: torch.dtype | None = None
        self.count = GradientCount()

    def forward(self, images: Tensor) -> Tensor:
        if images.requires_grad:
            images.register_hook(self._finite)  # type: ignore[no-untyped-call]
        if self.dtype not in (None, images.dtype):
            images = images.to(self.dtype)
        count = len(images)
        with kept_modes(self.default_dtype), told_as_input_errors():
            output = self.model(images)
        return logits_of(output, count)

    def _finite(self, gradient: Tensor) -> Tensor | None:
        finite = torch.isfinite(gradient.abs().flatten(1).amax(1))
        broken = len(finite) - int(finite.sum())
        self.count.taken += len(finite)
        self.count.broken += broken
        return gradient.nan_to_num(0.0, 0.0, 0.0) if broken else None

    def choose_dtype(self, image: Tensor) -> Tensor:
        """The logits of these images, in the first dtype that the model takes: the images' own, or a parameter's."""
        own = [tensor.dtype for tensor in self.model.parameters() if tensor.is_floating_point()]
        first: InputError | None = None
        with torch.no_grad():
            for dtype in dict.fromkeys([image.dtype, *own]):
                self.dtype = dtype
                try:
                    logits: Tensor = self(image.clone())
                    return logits
                except InputError as error:
                    if first is None:
                        first = error
                    if not isinstance(error.__cause__, RuntimeError):
                        break
        assert first is not None
        raise first


@contextmanager
def told_as_input_errors(what: str = "the model") -> Iterator[None]:
    """Exceptions of other people's code become an InputError with their type, first line, file and line."""
    try:
        yield
    except (AuditorError, torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:
        raise InputError(f"{what} raised {describe(error)}") from error


def logits_of(given: Any, count: int) -> Tensor:
    """A model's output as logits ``(N, K)`` in float32 or float64; what is none of that is refused by its name."""
    if not isinstance(given, Tensor):
        raise InputError(
            f"expected logits (N, K) as one tensor, the model gives {_kind(given)}: return the logits alone"
        )
    output: Tensor = given
    if output.ndim != 2 or len(output) != count:
        raise InputError(f"expected logits (N, K) with N = {count}, the model gives {tuple(output.shape)}")
    if output.shape[1] < 2:
        raise InputError(
            "expected logits (N, K) of 2 classes or more, the model gives one: stack [-z, z] for a yes or no"
        )
    if not output.is_floating_point():
        raise InputError(f"expected logits (N, K), floating point, the model gives {output.dtype}: classes, no logits?")
    output = plain_tensor(output)
    return output if output.dtype in (torch.float32, torch.float64) else output.float()


def _kind(output: Any) -> str:
    if isinstance(output, dict) or hasattr(output, "keys"):
        return f"a {type(output).__name__} with {', '.join(map(repr, list(output.keys())[:5]))}"
    if isinstance(output, list | tuple):
        return f"a {type(output).__name__} of {', '.join(type(one).__name__ for one in output[:5]) or 'nothing'}"
    return type(output).__name__
