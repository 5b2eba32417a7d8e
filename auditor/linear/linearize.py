"""The linearized network: the model itself, run while its non-linear operations are exchanged for linear ones."""

import copy
import functools
import inspect
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch._C._autograd import _top_saved_tensors_default_hooks as top_saved_tensors_hooks
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.autograd.function import FunctionCtx
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from auditor.errors import InputError, LinearizationError, first_line
from auditor.linear.choices import refuse_choice
from auditor.linear.curves import Curve, meet, vanishes
from auditor.linear.curves import frozen as constant_curve
from auditor.linear.history import inherit, is_dependent, note, past_of, sees_input
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
    ``constants``: the operations that became constant although they depend on the input.
    """

    def __init__(self, batch_norm: BatchNorm) -> None:
        super().__init__()
        self.table = table(batch_norm)
        self.head: Head | None = None
        self.constants: dict[str, None] = {}
        self.lost: list[tuple[Tensor, str, str]] = []
        self.inside: list[Any] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if top_saved_tensors_hooks(False) is None:
            return self._run(func, args, kwargs or {})
        with saved_tensors_hooks(_itself, _itself):  # a checkpoint would run again in the backward pass, without rules
            return self._run(func, args, kwargs or {})

    def _run(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        tensors = list(tensors_of((args, kwargs)))
        if any(is_functorch_wrapped_tensor(tensor) for tensor in tensors):
            raise LinearizationError(
                f"{name_of(func)} runs inside torch.vmap or another transform of torch.func, which hides the input"
            )
        dependent = [tensor for tensor in tensors if sees_input(tensor)]
        foreign = next((tensor for tensor in dependent if tensor.is_leaf), None)
        if foreign is not None:
            raise LinearizationError(f"a tensor of shape {tuple(foreign.shape)} wants gradients and is no parameter")
        if func in self.table.choices:
            refuse_choice(self.table.choices[func], name_of(func), args, kwargs)
        if func in self.table.strict:
            args, kwargs = aligned((args, kwargs))
        frozen = next((past_of(tensor).frozen for tensor in tensors if past_of(tensor).frozen), "")
        twin = past_of(args[0]).twin if frozen and args else None
        curved = bool(dependent or frozen) or any(past_of(tensor).curve is not None for tensor in tensors)
        meeting = meet(self.table.kinds, func, args, kwargs) if curved else None
        lost = ""
        if frozen and not (meeting and meeting.joined):
            args, kwargs, dependent, lost = self._branches(func, args, kwargs, dependent)
        if meeting and meeting.slope is not None:
            value = meeting.scaled()
            result = args[0].copy_(value) if _in_place(func, kwargs) else value
            dependent = dependent or [meeting.curve.base]
        else:
            result = self._stand_in(func, args, kwargs) if dependent else func(*args, **kwargs)
        if dependent:
            if not torch.is_grad_enabled() and any(tensor.is_floating_point() for tensor in tensors_of(result)):
                raise LinearizationError(hidden(name_of(func)))
            changed = args[:1] if func is Tensor.__setitem__ else result
            fresh = [tensor for tensor in tensors_of(changed) if tensor.requires_grad]
            inherit(
                fresh,
                dependent,
                layer=func in self.table.layers,
                activation=func in self.table.activations,
                scaled=func in self.table.scaled,
                averaged=func in self.table.averages,
            )
            if func is F.linear and fresh and args[0].ndim == 2 and len(dependent) == 1 and dependent[0] is args[0]:
                self.head = Head(args[0], args[1], fresh[0], (args[0]._version, fresh[0]._version))
            self.lost += [(tensor, lost, name_of(func)) for tensor in fresh if lost]
        if func not in self.table.neutral:
            self._note_constants(func, tensors, result, frozen, bool(dependent))
        self._note_twin(func, args, kwargs, result, twin)
        if meeting and isinstance(result, Tensor) and result is not meeting.curve.base:
            self._note_curve(func, result, meeting.curve)
        return result

    def _branches(
        self, func: Any, args: Any, kwargs: Any, dependent: list[Tensor]
    ) -> tuple[Any, Any, list[Tensor], str]:
        """The arguments, with gates that are activations as these; and which operation loses a branch here."""
        additive = func in self.table.additive and any(is_dependent(tensor) for tensor in dependent)
        if not additive and func not in self.table.layers:
            return args, kwargs, dependent, ""
        places = args if additive else args[:1]
        leaves, layout = pytree.tree_flatten(places)
        lost = ""
        for place, leaf in enumerate(leaves):
            past = past_of(leaf)
            if past.frozen and past.twin is not None:
                leaves[place] = past.twin
                dependent = [*dependent, past.twin]
            elif past.frozen and additive and not past.energy:
                lost = past.frozen
        places = pytree.tree_unflatten(leaves, layout)
        return (places if additive else (*places, *args[1:])), kwargs, dependent, lost

    def refuse_lost_branches(self, logits: Tensor) -> None:
        """Raise where something that became constant was put beside what stays, and is part of the logits."""
        if not self.lost or not logits.requires_grad:
            return
        sums = [tensor for tensor, _, _ in self.lost]
        reached = torch.autograd.grad(logits.sum(), sums, retain_graph=True, allow_unused=True)
        for gradient, (_, cause, sum_name) in zip(reached, self.lost, strict=True):
            if gradient is not None and bool(gradient.any()):
                raise LinearizationError(
                    f"{cause} becomes constant, and {sum_name} puts it beside what depends on the input: a branch of "
                    "the network would be lost without a trace, so there is no linear stand-in"
                )

    def _note_constants(self, func: Any, tensors: list[Tensor], result: Any, frozen: str, dependent: bool) -> None:
        """Note on what has no gradient that it follows from the input, or stands for something that did."""
        discrete = any(past_of(tensor).discrete for tensor in tensors)
        for tensor in tensors_of(result):
            constant = past_of(tensor).constant
            if tensor.requires_grad and not constant:
                continue
            if not tensor.is_floating_point():
                if not constant and (dependent or discrete or frozen):
                    note(tensor, discrete=True)
            elif constant or (dependent and func in self.table.stand_ins) or frozen:
                replaced = dependent and not constant and func in self.table.stand_ins
                name = past_of(tensor).frozen or (name_of(func) if replaced else frozen) or name_of(func)
                keeps = func in self.table.activations | self.table.scaled | self.table.additive
                past = [past_of(one) for one in tensors if past_of(one).frozen]
                energy = all(one.energy or (one.frozen in SIZES and func in self.table.activations) for one in past)
                note(tensor, frozen=name, energy=bool(past) and keeps and energy)
                self.constants.setdefault(name)
            if discrete and not tensor.requires_grad:
                note(tensor, discrete=True)

    def _note_twin(self, func: Any, args: Any, kwargs: Any, result: Any, twin: Tensor | None) -> None:
        """Follow what a gate would be as an activation, through changes of shape."""
        if twin is None:
            return
        if func in self.table.shapes:
            mirrored = self._stand_in(func, (twin, *args[1:]), kwargs)
            inherit(tensors_of(mirrored), [twin], layer=False, activation=False)
            for tensor, other in zip(tensors_of(result), tensors_of(mirrored), strict=True):
                note(tensor, twin=other)
        elif result is args[0] and past_of(result).twin is twin:
            note(result, twin=None)

    def _note_curve(self, func: Any, result: Tensor, curve: Curve) -> None:
        if func in self.table.kinds.gates and result.requires_grad:
            return
        if result.requires_grad and not past_of(result).constant:
            note(result, curve=curve)
            if vanishes(curve) and result.is_floating_point():
                note(result, constant=True, frozen=name_of(func))
                self.constants.setdefault(name_of(func))
        else:
            note(result, curve=constant_curve(curve))

    def _stand_in(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What the rules make of an operation that sees the input; the operation itself where they are silent."""
        if func in self.table.stand_ins:
            return self.table.stand_ins[func](*args, **kwargs)
        if isinstance(func, FunctionType) and func.__module__ == F_MODULE:
            if func in self.inside:
                raise LinearizationError(f"no linear stand-in for {name_of(func)}")
            self.inside.append(func)
            try:
                with self:  # made of other operations: look inside
                    return _body(func)(*args, **kwargs)
            finally:
                self.inside.pop()
        return func(*args, **kwargs)


def name_of(func: Callable[..., Any]) -> str:
    """How torch calls an operation, without torch's inner names."""
    name = str(getattr(func, "__name__", None) or getattr(func, "__qualname__", None) or repr(func))
    owner = getattr(func, "__self__", None)
    return str(getattr(owner, "__name__", name)) if name == "__get__" else name.removeprefix("__").removesuffix("__")


def _itself(tensor: Tensor) -> Tensor:
    return tensor


SIZES = ("norm", "vector_norm", "linalg_norm", "linalg_vector_norm")
"""Norms: their squares may be dropped from sums, as squares by hand are, see :mod:`auditor.linear.distances`."""


def _in_place(func: Callable[..., Any], kwargs: dict[str, Any]) -> bool:
    name = str(getattr(func, "__name__", ""))
    return bool(kwargs.get("inplace")) or (name.endswith("_") and not name.endswith("__")) or name[:3] == "__i"


def hidden(name: str) -> str:
    """What hides an operation from the gradient: a function with a backward pass of its own, or ``no_grad``."""
    owner = _custom_function()
    if owner == "CheckpointFunction":
        return (
            f"{name} runs in a reentrant checkpoint, hidden from the gradient: call checkpoint with use_reentrant=False"
        )
    if owner:
        return (
            f"{name} runs in the custom autograd.Function {owner}, whose backward pass is its own: no linear stand-in"
        )
    return f"{name} of the input runs under no_grad, hidden from the gradient"


def _custom_function() -> str | None:
    """The name of the autograd.Function whose forward pass is running, if one is."""
    functions, waiting = {}, [torch.autograd.Function]
    while waiting:
        owner = waiting.pop()
        waiting += owner.__subclasses__()
        code = getattr(vars(owner).get("forward"), "__func__", None)
        functions[getattr(code, "__code__", None)] = owner.__name__
    frame = inspect.currentframe()
    while frame is not None:
        context = next((value for value in frame.f_locals.values() if isinstance(value, FunctionCtx)), None)
        if isinstance(context, FunctionCtx):
            return str(getattr(type(context), "_forward_cls", type(context)).__name__)
        if frame.f_code in functions:
            return functions[frame.f_code]
        frame = frame.f_back
    return None


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
        quantized = next((type(module) for module in model.modules() if "quantized" in type(module).__module__), None)
        if quantized is not None:
            raise LinearizationError(
                f"quantized module {quantized.__name__} works on integers: hand in the model before its quantization"
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
        """Forward under ``mode``, with gradients to ``x`` where the caller's ``x`` asks for them."""
        with torch.inference_mode(False), torch.enable_grad():
            x = plain_tensor(x)
            # Not a leaf, so that a network that works in place may do so, and never on the caller's tensor.
            dependent = x.clone() if x.requires_grad else x.detach().requires_grad_().clone()
            token = MODEL.set(self.model_dtype)
            try:
                with torch.compiler.set_stance("force_eager"), mode:
                    logits: Tensor = self.network(dependent)
                if not isinstance(logits, Tensor):
                    raise LinearizationError(f"expected logits (N, K) as one tensor, got a {type(logits).__name__}")
                if not logits.ndim or len(logits) != len(x):
                    raise LinearizationError(f"expected logits (N, K) with N = {len(x)}, got {tuple(logits.shape)}")
                mode.refuse_lost_branches(logits)
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
