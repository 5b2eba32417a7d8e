"""The torch mode that replaces non-linear operations by linear ones while a model runs."""

import functools
import inspect
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch._C._autograd import _top_saved_tensors_default_hooks as top_saved_tensors_hooks
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.autograd.function import FunctionCtx
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from auditor.errors import LinearizationError
from auditor.linear.compositions import Curve, meet, opening, vanishes
from auditor.linear.compositions import frozen as constant_curve
from auditor.linear.history import inherit, is_dependent, note, past_of, sees_input
from auditor.linear.precision import aligned
from auditor.linear.refused import refuse_choice
from auditor.linear.rules import table

BatchNorm = Literal["remove", "fold"]


class Head(NamedTuple):
    """A fully connected layer: ``features (N, d)``, ``weight (K, d)`` and ``output (N, K)``.

    ``versions``: torch's counts of in-place changes to features and output when it ran.
    """

    features: Tensor
    weight: Tensor
    output: Tensor
    versions: tuple[int, int]

    def gives(self, logits: Tensor) -> bool:
        """Whether these logits are the output, and neither features nor output have changed since."""
        return self.output is logits and self.versions == (self.features._version, logits._version)


class LinearMode(TorchFunctionMode):
    """While active, replaces the operations of this thread that depend on the network's input, by the rules.

    Here the input requires gradients and parameters do not, so ``requires_grad`` means "depends on the input". The
    input is not a leaf; a leaf that requires gradients would pass for the input, and raises an error.

    Attributes:
        head: the last fully connected layer that ran on features ``(N, d)``.
        constants: the operations that became constant although they depend on the input.
        lost_branches: tensors in which a constant was added to what depends on the input, the operation that became
            constant, and the operation that added it.
        unsolved_sums: sums of functions of one tensor that have no slope far out, and the operation that added them.
        open_composites: the composite functions whose inner operations are running.
    """

    def __init__(self, batch_norm: BatchNorm) -> None:
        super().__init__()
        self.table = table(batch_norm)
        self.head: Head | None = None
        self.constants: dict[str, None] = {}
        self.lost_branches: list[tuple[Tensor, str, str]] = []
        self.unsolved_sums: list[tuple[Tensor, str]] = []
        self.open_composites: list[Any] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if top_saved_tensors_hooks(False) is None:
            return self._run(func, args, kwargs or {})
        with saved_tensors_hooks(
            _unchanged, _unchanged
        ):  # a checkpoint would run again in the backward pass, without the rules
            return self._run(func, args, kwargs or {})

    def _run(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        tensors = list(tensors_of(args[:1] if func in self.table.like_another else (args, kwargs)))
        if any(is_functorch_wrapped_tensor(tensor) for tensor in tensors):
            raise LinearizationError(
                f"{name_of(func)} runs inside torch.vmap or another transform of torch.func, which hides the input"
            )
        dependent = [tensor for tensor in tensors if sees_input(tensor)]
        foreign = next((tensor for tensor in dependent if tensor.is_leaf), None)
        if foreign is not None:
            raise LinearizationError(
                f"a tensor of shape {tuple(foreign.shape)} requires gradients and is not a parameter: detach it"
            )
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
            result = self._replace(func, args, kwargs) if dependent else func(*args, **kwargs)
        if dependent:
            if not torch.is_grad_enabled() and any(tensor.is_floating_point() for tensor in tensors_of(result)):
                raise LinearizationError(explain_hidden(name_of(func)))
            changed = args[:1] if func is Tensor.__setitem__ else result
            fresh = [tensor for tensor in tensors_of(changed) if tensor.requires_grad]
            inherit(
                fresh,
                dependent,
                layer=func in self.table.layers,
                activation=func in self.table.activations or bool(meeting and meeting.bends),
                scaled=func in self.table.scaled,
                averaged=func in self.table.averages,
            )
            if func is F.linear and fresh and args[0].ndim == 2 and len(dependent) == 1 and dependent[0] is args[0]:
                self.head = Head(args[0], args[1], fresh[0], (args[0]._version, fresh[0]._version))
            self.lost_branches += [(tensor, lost, name_of(func)) for tensor in fresh if lost]
            if meeting and meeting.unsolved and func in self.table.kinds.sums and not vanishes(meeting.curve):
                self.unsolved_sums += [(tensor, name_of(func)) for tensor in fresh]
        if func in self.table.shapes and args:
            opens_to = opening(past_of(args[0]))
            if opens_to is not None and bool((opens_to == opens_to.flatten()[0]).all()):
                for tensor in tensors_of(result):
                    note(tensor, opens_to=opens_to.flatten()[0])
        if func not in self.table.neutral:
            self._note_constants(func, tensors, result, frozen, bool(dependent))
        self._note_twin(func, args, kwargs, result, twin)
        if meeting and isinstance(result, Tensor) and result is not meeting.curve.base:
            self._note_curve(func, result, meeting.curve)
        return result

    def _branches(
        self, func: Any, args: Any, kwargs: Any, dependent: list[Tensor]
    ) -> tuple[Any, Any, list[Tensor], str]:
        """The arguments, with gates replaced by their activations; and the operation whose branch is lost, or \"\"."""
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

    def refuse_wrong_sums(self, logits: Tensor) -> None:
        """Raise if the logits depend on a sum for which the rules give no stand-in.

        Either a branch that became constant is added to one that did not, or two functions of one tensor are added
        whose sum has no slope far out.
        """
        sums = [tensor for tensor, _, _ in self.lost_branches] + [tensor for tensor, _ in self.unsolved_sums]
        if not sums or not logits.requires_grad:
            return
        gradients = torch.autograd.grad(logits.sum(), sums, retain_graph=True, allow_unused=True)
        reached = [gradient is not None and bool(gradient.any()) for gradient in gradients]
        for (_, cause, sum_name), reaches in zip(self.lost_branches, reached, strict=False):
            if reaches:
                raise LinearizationError(
                    f"{cause} becomes constant, and {sum_name} adds it to values that depend on the input: the network "
                    "would lose a branch without a trace, so there is no linear stand-in"
                )
        for (_, sum_name), reaches in zip(self.unsolved_sums, reached[len(self.lost_branches) :], strict=True):
            if reaches:
                raise LinearizationError(
                    f"{sum_name} joins functions of one tensor whose sum has no slope far from 0 (as x + x**2 and "
                    "x + sin(x) have none): no linear stand-in"
                )

    def _note_constants(self, func: Any, tensors: list[Tensor], result: Any, frozen: str, dependent: bool) -> None:
        """Mark results without a gradient that follow from the input, or that replace a value that does."""
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
        """Apply changes of shape to the activation that a gate stands for, too."""
        if twin is None:
            return
        if func in self.table.shapes:
            mirrored = self._replace(func, (twin, *args[1:]), kwargs)
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
            note(result, curve=constant_curve(curve, result))

    def _replace(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the stand-in of an operation that depends on the input; the operation itself if no rule covers it."""
        if func in self.table.stand_ins:
            return self.table.stand_ins[func](*args, **kwargs)
        if isinstance(func, FunctionType) and func.__module__ == F_MODULE:
            if func in self.open_composites:
                raise LinearizationError(f"no linear stand-in for {name_of(func)}")
            self.open_composites.append(func)
            try:
                with self:  # a composite: its inner operations come back to this mode
                    return _body(func)(*args, **kwargs)
            finally:
                self.open_composites.pop()
        return func(*args, **kwargs)


def name_of(func: Callable[..., Any]) -> str:
    """The public name of an operation."""
    name = str(getattr(func, "__name__", None) or getattr(func, "__qualname__", None) or repr(func))
    owner = getattr(func, "__self__", None)
    return str(getattr(owner, "__name__", name)) if name == "__get__" else name.removeprefix("__").removesuffix("__")


def _unchanged(tensor: Tensor) -> Tensor:
    return tensor


SIZES = ("norm", "vector_norm", "linalg_norm", "linalg_vector_norm")
"""Norms whose squares may be dropped from sums, see :mod:`auditor.linear.distances`."""


def _in_place(func: Callable[..., Any], kwargs: dict[str, Any]) -> bool:
    name = str(getattr(func, "__name__", ""))
    return bool(kwargs.get("inplace")) or (name.endswith("_") and not name.endswith("__")) or name[:3] == "__i"


def explain_hidden(name: str) -> str:
    """The error for an operation without a gradient: a custom backward pass, a checkpoint or ``no_grad``."""
    owner = _custom_function()
    if owner == "CheckpointFunction":
        return (
            f"{name} runs in a reentrant checkpoint, hidden from the gradient: call checkpoint with use_reentrant=False"
        )
    if owner:
        return f"{name} runs in the custom autograd.Function {owner} with its own backward pass: no linear stand-in"
    return f"{name} of the input runs under no_grad, hidden from the gradient"


def _custom_function() -> str | None:
    """The name of the autograd.Function whose forward pass is running; None if there is none."""
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
    """A composite function of torch.nn.functional without the check that passes it to the active mode."""

    def never(*_: Any) -> bool:
        return False

    checks = ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")
    names = {**function.__globals__, **dict.fromkeys(checks, never)}
    body = FunctionType(function.__code__, names, function.__name__, function.__defaults__, function.__closure__)
    body.__kwdefaults__ = function.__kwdefaults__
    return body
