"""Own attacks: functions of users, which join a cascade after its other attacks.

The cascade checks what they return as it checks every attack. This module calls them, checks that they return images,
and undoes what they do to the model and to torch.
"""

import inspect
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from auditor.attacks.protocols import Attack
from auditor.compute.seeds import numpy_seeded
from auditor.errors import InputError
from auditor.torch_state import default_modes, plain_tensor
from auditor.user_code.exceptions import raise_as_input_errors


class OwnAttack(Protocol):
    """An attack of a user. It is called with a batch of samples that survived all attacks before it."""

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor, *, norm: str, eps: float, seed: int) -> Tensor:
        """Return candidates for a batch of samples.

        If the function has a parameter ``numbers``, it also gets ``(M,)`` integers that identify the samples. An attack
        that draws its noise by these gives each sample the same verdict in any batch. torch, NumPy and ``random`` are
        seeded before each call.

        Args:
            model: in eval mode, with gradients on; maps images to logits ``(M, K)``. Change a ``copy.deepcopy`` of it,
                never the model itself.
            images: ``(M, C, H, W)`` in [0, 1].
            labels: ``(M,)`` int64.
            norm: ``Linf``, ``L2`` or ``L1``.
            eps: the radius of the norm ball around each image, in units of the [0, 1] pixels.
            seed: the seed of the audit.

        Returns:
            Candidates ``(M, C, H, W)`` in the dtype and on the device of ``images``. One breaks its sample if it is in
            the ball and in [0, 1], and the model misclassifies it.

        Example:
            >>> def brighter(model, images, labels, *, norm, eps, seed):
            ...     return (images + eps).clamp(0, 1)
            >>> from auditor.attacks import evaluate_robustness
            >>> network = nn.Sequential(nn.Flatten(), nn.Linear(16, 4))
            >>> result = evaluate_robustness(
            ...     network, torch.rand(8, 1, 4, 4), torch.arange(8) % 4, norm="Linf", eps=0.1, protocol="quick",
            ...     attacks={"brighter": brighter},
            ... )
            >>> [score.attack for score in result.attacks]
            ['fgsm', 'pgd-20', 'brighter']
        """


def own_attacks(functions: Mapping[str, OwnAttack]) -> tuple[Attack, ...]:
    """The attacks of a cascade that call these functions.

    Raises:
        InputError: one is not a function.
    """
    for name, function in functions.items():
        if isinstance(function, type) or not callable(function):
            raise InputError(f"expected the attack {name!r} as a function, got {_kind(function)}")
    return tuple(Attack(name, "own") for name in functions)


def run_own(
    function: OwnAttack,
    name: str,
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    numbers: Tensor,
    norm: str,
    eps: float,
    seed: int,
) -> Tensor:
    """The candidates ``(M, C, H, W)`` of an own attack for the given samples.

    Raises:
        InputError: the function raised an error, returned something else, or changed the model's weights.
    """
    arguments: dict[str, Any] = {"norm": norm, "eps": eps, "seed": seed}
    if _takes_numbers(function):
        arguments["numbers"] = numbers.clone()
    with default_modes(), unchanged(model, name), seeded(seed, images.device), raise_as_input_errors(name):
        found = function(model, images.clone(), labels.clone(), **arguments)
    return _check(found, images, name)


def _takes_numbers(function: Callable[..., Any]) -> bool:
    try:
        return "numbers" in inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False


def _check(found: Any, images: Tensor, name: str) -> Tensor:
    expected = (
        f"{name}: expected candidates {tuple(images.shape)} {images.dtype} on {images.device}, as the images, got"
    )
    if not isinstance(found, Tensor):
        raise InputError(f"{expected} {_kind(found)}")
    if found.layout != torch.strided:
        raise InputError(f"{expected} a {found.layout} tensor")
    if found.shape != images.shape or found.dtype != images.dtype or found.device != images.device:
        raise InputError(f"{expected} {tuple(found.shape)} {found.dtype} on {found.device}")
    candidates = plain_tensor(found.detach())
    finite = torch.isfinite(candidates).flatten(1).all(1)
    if not finite.all():
        raise InputError(
            f"{name}: expected finite pixels, got NaN or infinite ones in {int((~finite).sum())} of {len(images)} "
            "candidates"
        )
    return candidates


def _kind(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Inside: torch's, NumPy's and Python's global generators start from this seed. Afterwards they are as before."""
    python = random.getstate()
    with torch.random.fork_rng([device] if device.type == "cuda" else []), numpy_seeded(seed):
        torch.manual_seed(seed)
        random.seed(seed)
        try:
            yield
        finally:
            random.setstate(python)


@contextmanager
def unchanged(model: nn.Module, name: str) -> Iterator[None]:
    """Undo what the attack does to the model's modes, buffers, flags and attributes.

    Raises:
        InputError: it changed a parameter, a submodule or a hook. Parameters and buffers are as before, even so.
    """
    before = _Parts(model)
    try:
        yield
    except BaseException:
        before.restore()
        raise
    changed = before.restore()
    if changed:
        raise InputError(f"{name} changed {changed} of the model: work on a copy, copy.deepcopy(model)")


_TORCHS_OWN = frozenset(vars(nn.Module()))


class _Parts:
    """Everything of a model that an attack could change: modules, hooks, modes, parameters and buffers."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.structure = model, _structure(model)
        self.modes = [(module, module.training) for module in model.modules()]
        self.attributes = [(module, _attributes(module)) for module in model.modules()]
        stores: list[dict[str, Any]] = [
            store for module in model.modules() for store in (module._parameters, module._buffers)
        ]
        self.stores = [(store, dict(store)) for store in stores]
        self.parameters = [(name, one, one.detach().clone()) for name, one in model.named_parameters()]
        self.flags = [(one, one.requires_grad, one.grad) for _, one, _ in self.parameters]
        self.buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]

    def restore(self) -> str:
        """Restore all but the structure; returns the first change that is an error, else an empty text."""
        changed = "" if _structure(self.model) == self.structure else "the modules, methods or hooks"
        for module, training in self.modes:
            module.training = training
        for module, attributes in self.attributes:
            for name in _attributes(module).keys() - attributes.keys():
                del module.__dict__[name]
            module.__dict__.update(attributes)
        for store, tensors in self.stores:
            if store.keys() != tensors.keys() or any(store[name] is not tensors[name] for name in tensors):
                changed = changed or "the parameters or buffers"
                store.clear()
                store.update(tensors)
        with torch.no_grad():
            for parameter, flag, gradient in self.flags:
                parameter.requires_grad_(flag)
                parameter.grad = gradient
            for name, parameter, values in self.parameters:
                if not _same(parameter, values):
                    changed = changed or f"the weights {name.removeprefix('model.')!r}"
                    _assign(parameter, values)
            for buffer, values in self.buffers:
                _assign(buffer, values)
        return changed


def _same(tensor: Tensor, other: Tensor) -> bool:
    """Whether two tensors are equal, NaN values included."""
    if tensor.shape != other.shape or tensor.dtype != other.dtype:
        return False
    return torch.equal(tensor, other) or bool(((tensor == other) | (tensor.isnan() & other.isnan())).all())


def _assign(tensor: Tensor, values: Tensor) -> None:
    if tensor.shape == values.shape and tensor.dtype == values.dtype:
        tensor.copy_(values)
    else:
        tensor.data = values


def _structure(model: nn.Module) -> list[tuple[object, ...]]:
    """The modules by name, with their hooks and the functions that were put in place of their methods."""
    return [
        (
            name,
            id(module),
            type(module),
            *(id(module.__dict__.get(method)) for method in ("forward", "__call__")),
            *(tuple(hooks) for hooks in _hooks(module)),
        )
        for name, module in model.named_modules(remove_duplicate=False)
    ]


def _attributes(module: nn.Module) -> dict[str, Any]:
    """A module's attributes that are not torch's own, such as the settings of a defence."""
    return {name: value for name, value in vars(module).items() if name not in _TORCHS_OWN}


def _hooks(module: nn.Module) -> tuple[Mapping[int, Any], ...]:
    return module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks
