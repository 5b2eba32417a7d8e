"""torch's global modes and inference tensors: auditor's numbers depend on neither."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def default_modes(default_dtype: torch.dtype = torch.float32, *, exact: bool = True) -> Iterator[None]:
    """Inside: gradients on, inference mode and autocast off, this default dtype. Afterwards all modes are restored.

    The number of threads and the choice of deterministic algorithms are restored, too.

    Otherwise a caller inside ``no_grad`` or ``inference_mode``, or after ``set_grad_enabled(False)``, would silently
    leave gradient attacks without gradients. Products are those of :func:`exact_products`, unless ``exact`` is False,
    for training.
    """
    dtype, grad = torch.get_default_dtype(), torch.is_grad_enabled()
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.set_default_dtype(default_dtype)
    try:
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.autocast("cpu", enabled=False),
            torch.autocast("cuda", enabled=False),
            exact_products() if exact else nullcontext(),
        ):
            yield
    finally:
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(grad)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)


def _products() -> tuple[Any, ...]:
    """The operations for which torch may round the factors of a float32 product to a shorter format."""
    backends: Any = torch.backends
    cudnn, mkldnn = backends.cudnn, backends.mkldnn
    return cudnn.conv, cudnn.rnn, backends.cuda.matmul, mkldnn.conv, mkldnn.matmul


@contextmanager
def exact_products() -> Iterator[None]:
    """Inside, products of float32 are made in float32. Afterwards torch is as before.

    By default torch rounds the factors of convolutions to TF32 on a GPU, to three digits. W and verdicts would be
    others than on a CPU. The older settings of torch are set, too, because torch refuses to read those that contradict
    the newer ones.
    """
    before = [product.fp32_precision for product in _products()]
    convolutions = _setting(lambda: torch.backends.cudnn.allow_tf32)
    matrices = _setting(torch.get_float32_matmul_precision)
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    for product in _products():
        product.fp32_precision = "ieee"
    try:
        yield
    finally:
        if convolutions is not None:
            torch.backends.cudnn.allow_tf32 = convolutions
        if matrices is not None:
            torch.set_float32_matmul_precision(matrices)
        for product, precision in zip(_products(), before, strict=True):
            product.fp32_precision = precision


def _setting(read: Callable[[], Any]) -> Any:
    """The value of an older setting; None where it contradicts a newer one."""
    try:
        return read()
    except RuntimeError:
        return None


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
