"""The linearized network: the model itself, run while its non-linear operations are exchanged for linear ones."""

import copy
import functools
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from auditor.errors import InputError, LinearizationError, first_line
from auditor.linear.history import inherit, note, past_of, sees_input
from auditor.linear.precision import MODEL, aligned
from auditor.linear.rules import table
from auditor.torch_state import default_modes, plain_tensor, set_eval, trackable

BatchNorm = Literal["remove", "fold"]


class Head(NamedTuple):
    """A fully connected layer: ``features (N, d)``, ``weight (K, d)`` and what comes out, ``(N, K)``.

    ``versions``: how often features and output had been changed in place when it ran.
    """

    features: Tensor
    weight: Tensor
    output: Tensor
    versions: tuple[int, int]

    def gives(self, logits: Tensor) -> bool:
        """Whether these logits are what came out, with nothing changed since."""
        return self.output is logits and self.versions == (self.features._version, logits._version)


class LinearMode(TorchFunctionMode):
    """Exchanges operations by the rules while it is active, on this thread, where they see the network's input.

    Parameters carry no gradients here and the input does, so "depends on the input" is ``requires_grad``. The input
    is no leaf; a leaf that wants gradients would pass for the input, and is refused.

    ``head``: the last fully connected layer that ran on features ``(N, d)``.
    """

    def __init__(self, batch_norm: BatchNorm) -> None:
        super().__init__()
        self.table = table(batch_norm)
        self.head: Head | None = None

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        tensors = list(tensors_of((args, kwargs)))
        dependent = [tensor for tensor in tensors if sees_input(tensor)]
        foreign = next((tensor for tensor in dependent if tensor.is_leaf), None)
        if foreign is not None:
            raise LinearizationError(f"a tensor of shape {tuple(foreign.shape)} wants gradients and is no parameter")
        if func in self.table.strict:
            args, kwargs = aligned((args, kwargs))
        result = self._stand_in(func, args, kwargs) if dependent else func(*args, **kwargs)
        if dependent:
            if not torch.is_grad_enabled() and any(tensor.is_floating_point() for tensor in tensors_of(result)):
                raise LinearizationError(f"{name_of(func)} of the input runs under no_grad, hidden from the gradient")
            changed = args[:1] if func is Tensor.__setitem__ else result
            fresh = [tensor for tensor in tensors_of(changed) if tensor.requires_grad]
            inherit(fresh, dependent, layer=func in self.table.layers, activation=func in self.table.activations)
            if func is F.linear and fresh and args[0].ndim == 2 and len(dependent) == 1 and dependent[0] is args[0]:
                self.head = Head(args[0], args[1], fresh[0], (args[0]._version, fresh[0]._version))
        if (func in self.table.discrete and dependent) or any(past_of(tensor).discrete for tensor in tensors):
            for tensor in tensors_of(result):
                if not tensor.requires_grad:
                    note(tensor, discrete=True)
        return result

    def _stand_in(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What the rules make of an operation that sees the input; the operation itself where they are silent."""
        if func in self.table.stand_ins:
            return self.table.stand_ins[func](*args, **kwargs)
        if isinstance(func, FunctionType) and func.__module__ == F_MODULE:
            with self:  # made of other operations: look inside
                return _body(func)(*args, **kwargs)
        return func(*args, **kwargs)


def name_of(func: Callable[..., Any]) -> str:
    """How torch calls an operation."""
    return str(getattr(func, "__qualname__", None) or getattr(func, "__name__", repr(func)))


F_MODULE = F.__name__


def tensors_of(values: Any) -> Iterator[Tensor]:
    """All tensors in nested tuples, lists and dicts."""
    return (leaf for leaf in pytree.tree_leaves(values) if isinstance(leaf, Tensor))


@functools.cache
def _body(function: FunctionType) -> Callable[..., Any]:
    """A composite function of torch.nn.functional without the check that hands it back to the active mode."""

    def never(*_: Any) -> bool:
        return False

    checks = ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")
    names = {**function.__globals__, **dict.fromkeys(checks, never)}
    body = FunctionType(function.__code__, names, function.__name__, function.__defaults__, function.__closure__)
    body.__kwdefaults__ = function.__kwdefaults__
    return body


class Linearized(nn.Module):
    """An affine network ``f_lin(x) = W x + b``, ``(N, C, H, W)`` to ``(N, K)``.

    Holds a frozen copy of the model in eval mode; the parameters' values are shared with the model, not copied.
    """

    def __init__(self, model: nn.Module, batch_norm: BatchNorm) -> None:
        super().__init__()
        if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
            raise LinearizationError("scripted or traced modules hide their operations: hand in the Python model")
        try:
            self.network = set_eval(copy.deepcopy(model, memo=_shared(model)))
        except (RuntimeError, TypeError) as error:
            raise LinearizationError(f"the model cannot be copied: {first_line(error)}") from error
        self.batch_norm = batch_norm
        self.model_dtype = sample_of(model).dtype

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x, LinearMode(self.batch_norm))

    def run(self, x: Tensor, mode: LinearMode) -> Tensor:
        """Forward under ``mode``, with gradients to ``x`` where the caller's ``x`` asks for them."""
        with torch.inference_mode(False), torch.enable_grad():
            x = plain_tensor(x)
            # Not a leaf, so that a network that works in place may do so, and never on the caller's tensor.
            dependent = x.clone() if x.requires_grad else x.detach().requires_grad_().clone()
            token = MODEL.set(self.model_dtype)
            try:
                with mode:
                    logits: Tensor = self.network(dependent)
                if not isinstance(logits, Tensor):
                    raise LinearizationError(f"expected logits (N, K) as one tensor, got a {type(logits).__name__}")
                if not logits.ndim or len(logits) != len(x):
                    raise LinearizationError(f"expected logits (N, K) with N = {len(x)}, got {tuple(logits.shape)}")
            finally:
                MODEL.reset(token)
        return logits if x.requires_grad else logits.detach()


def sample_of(model: nn.Module) -> Tensor:
    """A tensor on the model's device and in its precision; on the CPU in float32 where it has none."""
    floats = (tensor for tensor in (*model.parameters(), *model.buffers()) if tensor.is_floating_point())
    return next(floats, torch.zeros(1))


def _shared(model: nn.Module) -> dict[int, Any]:
    """What a copy of the model need not copy: parameters, and tensors computed from them (old weight norm)."""
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
        An affine module in eval mode, on the model's device and in its dtype. Whether it really is affine is
        checked by :func:`auditor.linear.implicit_weight`, which runs it.

    Raises:
        InputError: ``batch_norm`` is neither of the two, or ``model`` is no module.
        LinearizationError: the model holds scripted modules, or cannot be copied.
    """
    if batch_norm not in ("remove", "fold"):
        raise InputError(f"expected batch_norm to be 'remove' or 'fold', got {batch_norm!r}")
    with default_modes(torch.get_default_dtype()), trackable(checked_model(model)):
        return Linearized(model, batch_norm)


def checked_model(model: nn.Module) -> nn.Module:
    """The model; raises InputError where it is no module."""
    if not isinstance(model, nn.Module):
        raise InputError(f"expected a model, an nn.Module, got {type(model).__name__}: wrap a function in one")
    return model
