"""Check and convert the arguments of :func:`auditor.attacks.evaluate_robustness`; errors are one line."""

import math
import operator
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from auditor.attacks.norms import NORMS, Norm
from auditor.attacks.protocols import Protocol, find_protocol
from auditor.errors import InputError, UsageError, first_line, one_line

PIXELS = (torch.float32, torch.float64)
ROUNDING = 1e-3
"""How far pixels may lie outside [0, 1]: a quarter of a level of 255."""


class FunctionModel(nn.Module):
    """A function as a module. A bound method's own module becomes a submodule, so that it is set to eval mode, too."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function
        owner = getattr(getattr(function, "func", function), "__self__", None)
        self.owner = owner if isinstance(owner, nn.Module) else None

    def forward(self, images: Tensor) -> Any:
        return self.function(images)


def as_model(model: Any) -> nn.Module:
    """The model; a function is wrapped in a module.

    Raises:
        InputError: it is neither a module nor a function, or its lazy layers have not run yet.
    """
    if isinstance(model, nn.Module):
        if any(is_lazy(parameter) for parameter in model.parameters()):
            raise InputError("expected a model with weights, its lazy layers have none yet: run it once")
        return model
    if isinstance(model, type) or not callable(model):
        got = f"the class {model.__name__}" if isinstance(model, type) else f"{type(model).__name__}, not callable"
        raise InputError(f"expected a model, an nn.Module or a function of images, got {got}")
    return FunctionModel(model)


def as_images(given: Any) -> tuple[Tensor, list[str]]:
    """Images ``(N, C, H, W)``, float32 or float64, in [0, 1], from a tensor, a NumPy array or a list; and notes.

    Rounding beyond [0, 1] is clipped, with a note.
    """
    images = _as_tensor(given, "images (N, C, H, W)")
    if images.ndim != 4 or images.numel() == 0 or not images.is_floating_point():
        hint = ": divide by 255" if images.dtype == torch.uint8 else ""
        raise InputError(
            f"expected images (N, C, H, W), floating point, got {tuple(images.shape)} {images.dtype}{hint}"
        )
    if not torch.isfinite(images).all():
        raise InputError(f"expected images in [0, 1], got {int((~images.isfinite()).sum())} values NaN or infinite")
    low, high = images.min().item(), images.max().item()
    observed = f"{low:.9g} to {high:.9g}"
    if low < -ROUNDING or high > 1 + ROUNDING:
        scale = "divide by 255" if 128 <= high <= 255 else "scale them to [0, 1]"
        advice = "normalize inside the model" if low < 0 else scale
        raise InputError(f"expected images in [0, 1], got {observed}: {advice}")
    if images.dtype not in PIXELS:
        raise InputError(f"expected images in float32 or float64, got {images.dtype}: rounding would break the budget")
    if low < 0 or high > 1:
        return images.clamp(0, 1), [f"pixels clipped to [0, 1]: values from {observed}"]
    return images, []


def as_labels(given: Any, images: Tensor) -> Tensor:
    """Labels ``(N,)``, int64, on the images' device, from integers of any dtype."""
    labels = _as_tensor(given, "labels (N,)")
    integers = not (labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool)
    if labels.shape != images.shape[:1] or not integers:
        hint = ""
        if labels.ndim == 2 and len(labels) == len(images):
            hint = ": pass argmax(1) of one-hot labels" if labels.shape[1] > 1 else ": pass labels[:, 0]"
        elif labels.shape == images.shape[:1]:
            hint = ": convert whole numbers to integers with .long()"
        raise InputError(f"expected {len(images)} int64 labels, got {tuple(labels.shape)} {labels.dtype}{hint}")
    return labels.to(images.device, torch.int64)


def as_numbers(indices: Sequence[int] | None, images: Tensor) -> Tensor:
    """Numbers ``(N,)``, int64, 0 or more, on the CPU, that identify the samples."""
    if indices is None:
        return torch.arange(len(images), device="cpu")
    numbers = _as_tensor(indices, "indices (N,)").cpu()
    valid = numbers.shape == images.shape[:1] and not numbers.is_floating_point() and numbers.dtype != torch.bool
    if not valid or int(numbers.min()) < 0:
        raise InputError(
            f"expected {len(images)} indices, integers of 0 or more, got {tuple(numbers.shape)} {numbers.dtype}"
        )
    return numbers.to(torch.int64)


def as_protocol(protocol: Any) -> Protocol:
    """The protocol with this name, or the protocol itself."""
    if isinstance(protocol, Protocol):
        found = protocol
    else:
        try:
            found = find_protocol(protocol)
        except (UsageError, TypeError) as error:
            raise InputError(
                first_line(error) if isinstance(protocol, str) else _message("a protocol", protocol)
            ) from error
    return found


def check_settings(norm: Any, eps: Any, batch_size: Any, seed: Any) -> tuple[Norm, float, int, int]:
    """The norm as an object; ``eps``, the batch size and the seed as plain numbers."""
    if not isinstance(norm, str) or norm not in NORMS:
        raise InputError(_message(f"the norm {' or '.join(NORMS)}", norm))
    if isinstance(eps, Tensor | np.ndarray) and eps.ndim == 0:
        eps = eps.item()
    if isinstance(eps, bool) or not isinstance(eps, Real):
        raise InputError(_message("eps as a number", eps))
    eps = float(eps)
    if not 0 < eps < math.inf or eps > NORMS[norm].max_eps:
        raise InputError(f"expected eps above 0 (and at most 1 for Linf, in [0, 1] pixels), got {eps:g}")
    try:
        batch_size, seed = operator.index(batch_size), operator.index(seed)
    except TypeError as error:
        raise InputError(f"expected a batch size and a seed as integers, got {batch_size!r} and {seed!r}") from error
    if batch_size < 1 or seed < 0:
        raise InputError(f"expected a batch size of 1 or more and a seed of 0 or more, got {batch_size} and {seed}")
    return NORMS[norm], eps, batch_size, seed


def check_device(model: nn.Module, images: Tensor) -> None:
    """Raise InputError if the whole model is on another device than the images."""
    devices = {tensor.device for tensor in (*model.parameters(), *model.buffers())}
    if devices and images.device not in devices:
        where = ", ".join(sorted(map(str, devices)))
        raise InputError(
            f"expected the model and the images on one device, got {where} and {images.device}: move one with .to()"
        )


def _as_tensor(values: Any, expected: str) -> Tensor:
    try:
        if isinstance(values, Tensor):
            found = values
        elif isinstance(values, list | tuple) and values and isinstance(values[0], Tensor):
            found = torch.stack([torch.as_tensor(value) for value in values])
        else:
            array = np.asarray(values)
            found = torch.from_numpy(np.array(array, array.dtype.newbyteorder("="), order="C"))
    except (TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise InputError(f"{_message(expected, values)}: {first_line(error)}") from error
    if found.layout != torch.strided or found.is_quantized:
        raise InputError(f"expected {expected}, a dense tensor, got a {found.layout} one")
    return found.detach()


def _message(expected: str, value: object) -> str:
    got = repr(value) if isinstance(value, str | bool | None) else type(value).__name__
    return one_line(f"expected {expected}, got {got}")


def number_superclasses(superclasses: Sequence[str], logits: Tensor) -> Tensor:
    """``(K,)`` int64: equal where the names are equal.

    Raises:
        InputError: there is not one name for each of the logits ``(N, K)``.
    """
    if len(superclasses) != logits.shape[1]:
        raise InputError(f"expected {logits.shape[1]} superclasses, one a class, got {len(superclasses)}")
    numbers = {name: number for number, name in enumerate(dict.fromkeys(superclasses))}
    return torch.tensor([numbers[name] for name in superclasses])
