"""The model as all attacks call it: logits in one float tensor, torch's modes restored, finite gradients."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from auditor.errors import InputError
from auditor.torch_state import kept_modes, plain_tensor
from auditor.user_code.exceptions import raise_as_input_errors


@dataclass
class GradientCount:
    """How many gradients were taken at images, and how many of these were not finite."""

    taken: int = 0
    nonfinite: int = 0

    def __deepcopy__(self, _: object) -> "GradientCount":
        return self  # copies of a model share one count


class Classifier(nn.Module):
    """A user's model as a function from ``(N, C, H, W)`` in [0, 1] to logits ``(N, K)`` in float32 or float64.

    Args:
        model: in eval mode, parameters without gradients.
        default_dtype: torch's default dtype at the caller; the model runs with it.

    Attributes:
        dtype: the model's input dtype. Images are cast to it, and gradients come back in the images' own dtype.
        count: counts gradients at the images. NaN and infinite values in a gradient are replaced by 0.
    """

    def __init__(self, model: nn.Module, default_dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.model, self.default_dtype = model, default_dtype
        self.training = model.training
        self.dtype: torch.dtype | None = None
        self.count = GradientCount()

    def forward(self, images: Tensor) -> Tensor:
        if images.requires_grad:
            images.register_hook(self._zero_nonfinite)  # type: ignore[no-untyped-call]
        if self.dtype not in (None, images.dtype):
            images = images.to(self.dtype)
        count = len(images)
        with kept_modes(self.default_dtype), raise_as_input_errors():
            output = self.model(images)
        return logits_of(output, count)

    def _zero_nonfinite(self, gradient: Tensor) -> Tensor | None:
        finite = torch.isfinite(gradient.abs().flatten(1).amax(1))
        nonfinite = len(finite) - int(finite.sum())
        self.count.taken += len(finite)
        self.count.nonfinite += nonfinite
        return gradient.nan_to_num(0.0, 0.0, 0.0) if nonfinite else None

    def choose_dtype(self, image: Tensor) -> Tensor:
        """Choose the first dtype that the model accepts: the images' own or a parameter's; return the logits in it."""
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


def logits_of(output: Any, count: int) -> Tensor:
    """A model's output as logits ``(N, K)`` in float32 or float64.

    Raises:
        InputError: the output is no such tensor; the message says what it is.
    """
    if not isinstance(output, Tensor):
        raise InputError(
            f"expected logits (N, K) as one tensor, the model gives {_describe(output)}: return the logits alone"
        )
    logits: Tensor = output
    if logits.layout != torch.strided:
        raise InputError(f"expected logits (N, K), a dense tensor, the model gives a {logits.layout} one")
    if logits.ndim != 2 or len(logits) != count:
        raise InputError(f"expected logits (N, K) with N = {count}, the model gives {tuple(logits.shape)}")
    if logits.shape[1] < 2:
        raise InputError(
            "expected logits (N, K) of 2 classes or more, the model gives one: stack [-z, z] for a yes or no"
        )
    if not logits.is_floating_point():
        raise InputError(f"expected logits (N, K), floating point, the model gives {logits.dtype}: classes, no logits?")
    logits = plain_tensor(logits)
    return logits if logits.dtype in (torch.float32, torch.float64) else logits.float()


def _describe(output: Any) -> str:
    if isinstance(output, dict) or hasattr(output, "keys"):
        return f"a {type(output).__name__} with {', '.join(map(repr, list(output.keys())[:5]))}"
    if isinstance(output, list | tuple):
        return f"a {type(output).__name__} of {', '.join(type(one).__name__ for one in output[:5]) or 'nothing'}"
    return type(output).__name__
