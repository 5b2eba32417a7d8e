"""torch's global modes and inference tensors: auditor's numbers depend on neither."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def default_modes(default_dtype: torch.dtype = torch.float32) -> Iterator[None]:
    """Inside: gradients on, inference mode and autocast off, this default dtype. Afterwards all modes are restored.

    Otherwise a caller inside ``no_grad`` or ``inference_mode``, or after ``set_grad_enabled(False)``, would silently
    leave gradient attacks without gradients.
    """
    dtype, grad = torch.get_default_dtype(), torch.is_grad_enabled()
    torch.set_default_dtype(default_dtype)
    try:
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.autocast("cpu", enabled=False),
            torch.autocast("cuda", enabled=False),
        ):
            yield
    finally:
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(grad)


@contextmanager
def kept_modes(dtype: torch.dtype) -> Iterator[None]:
    """Run a model's own code with this default dtype, and restore gradient mode and default dtype afterwards."""
    before, grad = torch.get_default_dtype(), torch.is_grad_enabled()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
        if torch.is_grad_enabled() != grad:
            torch.set_grad_enabled(grad)


@contextmanager
def trackable(model: nn.Module, *, keep: bool = False) -> Iterator[None]:
    """Inside, copies that autograd accepts replace parameters and buffers that were made in inference mode.

    With ``keep``, for training, the copies stay afterwards.
    """
    replaced: list[tuple[dict[str, Any], str, Tensor]] = []
    copies: dict[int, Tensor] = {}
    for module in model.modules():
        if isinstance(module, torch.jit.ScriptModule):
            continue
        stores: tuple[dict[str, Any], ...] = (module._parameters, module._buffers)
        for tensors in stores:
            for name, tensor in tensors.items():
                if tensor is not None and tensor.is_inference():
                    replaced.append((tensors, name, tensor))
    for tensors, name, tensor in replaced:
        if id(tensor) not in copies:
            copy = tensor.clone()
            is_parameter = isinstance(tensor, nn.Parameter)
            copies[id(tensor)] = nn.Parameter(copy, tensor.requires_grad) if is_parameter else copy
        tensors[name] = copies[id(tensor)]
    try:
        yield
    finally:
        for tensors, name, tensor in [] if keep else replaced:
            tensors[name] = tensor


def plain_tensor(tensor: Tensor) -> Tensor:
    """The tensor, or a copy that autograd accepts if it was made in inference mode."""
    return tensor.clone() if tensor.is_inference() else tensor


def set_eval(model: nn.Module) -> nn.Module:
    """Set eval mode and return the model, even if its own ``eval()`` returns nothing."""
    model.eval()
    return model
