"""The linearized network: a copy of the model that runs while linear operations replace its non-linear ones."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from auditor.errors import InputError, LinearizationError, first_line
from auditor.linear.mode import BatchNorm, LinearMode
from auditor.linear.precision import MODEL
from auditor.torch_state import default_modes, plain_tensor, set_eval, trackable


class Linearized(nn.Module):
    """An affine network ``f_lin(x) = W x + b``, ``(N, C, H, W)`` to ``(N, K)``.

    Holds a frozen copy of the model in eval mode; the parameters' values are shared with the model, not copied.
    """

    def __init__(self, model: nn.Module, batch_norm: BatchNorm) -> None:
        super().__init__()
        if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
            raise LinearizationError("scripted or traced modules hide their operations: pass the Python model")
        quantized = next((type(module) for module in model.modules() if "quantized" in type(module).__module__), None)
        if quantized is not None:
            raise LinearizationError(
                f"quantized module {quantized.__name__} works on integers: pass the model from before its quantization"
            )
        try:
            self.network = set_eval(copy.deepcopy(model, memo=_shared(model)))
        except (RuntimeError, TypeError) as error:
            raise LinearizationError(f"the model cannot be copied: {first_line(error)}") from error
        self.batch_norm = batch_norm
        self.model_dtype = sample_of(model).dtype

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x, LinearMode(self.batch_norm))

    def run(self, x: Tensor, mode: LinearMode) -> Tensor:
        """Forward under ``mode``; the logits have gradients if ``x`` requires them."""
        with torch.inference_mode(False), torch.enable_grad():
            x = plain_tensor(x)
            # A clone, not a leaf: the network may work in place, but never on the caller's tensor.
            dependent = x.clone() if x.requires_grad else x.detach().requires_grad_().clone()
            token = MODEL.set(self.model_dtype)
            try:
                with torch.compiler.set_stance("force_eager"), mode:
                    logits: Tensor = self.network(dependent)
                if not isinstance(logits, Tensor):
                    raise LinearizationError(f"expected logits (N, K) as one tensor, got a {type(logits).__name__}")
                if logits.layout != torch.strided or logits.is_complex():
                    kind = logits.dtype if logits.is_complex() else logits.layout
                    raise LinearizationError(f"expected logits (N, K), dense and real, the model gives {kind}")
                if not logits.ndim or len(logits) != len(x):
                    raise LinearizationError(f"expected logits (N, K) with N = {len(x)}, got {tuple(logits.shape)}")
                mode.refuse_wrong_sums(logits)
            finally:
                MODEL.reset(token)
        return logits if x.requires_grad else logits.detach()


def sample_of(model: nn.Module) -> Tensor:
    """A tensor with the model's device and dtype; on the CPU in float32 if the model has no tensors."""
    floats = (tensor for tensor in (*model.parameters(), *model.buffers()) if tensor.is_floating_point())
    return next(floats, torch.zeros(1))


def _shared(model: nn.Module) -> dict[int, Any]:
    """What a copy shares with the model: parameters, and tensors computed from them (old weight norm)."""
    memo: dict[int, Any] = {
        id(tensor): nn.Parameter(plain_tensor(tensor.detach()), requires_grad=False) for tensor in model.parameters()
    }
    for module in model.modules():
        computed = (value for value in vars(module).values() if isinstance(value, Tensor) and not value.is_leaf)
        memo |= {id(value): value.detach() for value in computed}
    return memo


def linearize(model: nn.Module, *, batch_norm: BatchNorm = "remove") -> Linearized:
    """The model's linearized sub-network (Bai et al., NeurIPS 2021, section 3).

    Args:
        model: a classifier, ``(N, C, H, W)`` to logits ``(N, K)``; left untouched, whatever its mode.
        batch_norm: ``remove`` drops batch norm, as the paper does; ``fold`` keeps its eval-mode affine map.

    Returns:
        An affine module in eval mode, on the model's device and in its dtype. :func:`auditor.linear.implicit_weight`
        runs it and checks that it is affine.

    Raises:
        InputError: ``batch_norm`` has another value, or ``model`` is not a module.
        LinearizationError: the model has scripted or quantized modules, or cannot be copied.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2), nn.ReLU())
        >>> x = torch.ones(1, 1, 2, 2)
        >>> torch.equal(linearize(model)(x), model[1](x.flatten(1)))
        True
    """
    if batch_norm not in ("remove", "fold"):
        raise InputError(f"expected batch_norm to be 'remove' or 'fold', got {batch_norm!r}")
    with default_modes(torch.get_default_dtype()), trackable(checked_model(model)):
        return Linearized(model, batch_norm)


def checked_model(model: nn.Module) -> nn.Module:
    """The model.

    Raises:
        InputError: it is not an nn.Module, or its lazy layers have not run yet.
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"expected a model, an nn.Module, got {type(model).__name__}: wrap a function in one")
    if any(is_lazy(parameter) for parameter in model.parameters()):
        raise InputError("expected a model with weights, its lazy layers have none yet: run it once")
    return model
