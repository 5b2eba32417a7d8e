"""torch's global modes and what they leave in tensors: auditor's numbers depend on neither."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def default_modes(default_dtype: torch.dtype = torch.float32) -> Iterator[None]:
    """Gradients on, inference mode and autocast off, this default dtype; all as the caller had it afterwards.

    A caller inside of ``no_grad`` or ``inference_mode``, or code that has called ``set_grad_enabled(False)``, would
    else leave gradient attacks without gradients, in silence.
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
    """Run other people's code with this default dtype: gradient mode and default dtype are put back afterwards."""
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
    """Inside, parameters and buffers that were made in inference mode are replaced by copies that autograd takes.

    With ``keep``, for training, the copies stay.
    """
    replaced: list[tuple[dict[str, Tensor | None], str, Tensor]] = []
    copies: dict[int, Tensor] = {}
    for module in model.modules():
        if isinstance(module, torch.jit.ScriptModule):
            continue
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if tensor is not None and tensor.is_inference():
                    replaced.append((tensors, name, tensor))  # type: ignore[arg-type]
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
    """The tensor, or a copy that autograd takes where it was made in inference mode."""
    return tensor.clone() if tensor.is_inference() else tensor


def set_eval(model: nn.Module) -> nn.Module:
    """The model in eval mode, also where its own ``train()`` or ``eval()`` forgets to return it."""
    model.eval()
    return model
