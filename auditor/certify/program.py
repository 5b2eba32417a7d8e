"""A network as the list of the operations that it runs on one image, each with its row of the table."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from operator import getitem
from typing import Any

import torch
from torch import Tensor, nn
from torch.hub import tqdm  # type: ignore[attr-defined]
from torch.utils import _pytree as pytree

from auditor.certify.operations import ATEN, TABLE, Affine, Elementwise, MaxPool, Row
from auditor.certify.rounding import UNITS, unit_of
from auditor.errors import BoundsError, describe, one_line

VIEWS = {
    ATEN.view.default, ATEN.reshape.default, ATEN.permute.default, ATEN.transpose.int, ATEN.t.default,
    ATEN.unsqueeze.default, ATEN.squeeze.default, ATEN.squeeze.dim, ATEN.squeeze.dims, ATEN.expand.default,
    ATEN.clone.default, ATEN.alias.default, ATEN.detach.default, ATEN.select.int, ATEN.slice.Tensor,
}  # fmt: skip
"""What may happen to a parameter before it is used; a weight that is computed otherwise is refused."""


@dataclass(frozen=True)
class Ref:
    """In the arguments of a step: the result of an earlier step; 0 is the image."""

    number: int


@dataclass(frozen=True)
class Step:
    """One operation on numbers that depend on the image.

    Attributes:
        name: of the operation, for messages.
        args, kwargs: its arguments; a :class:`Ref` where they depend on the image, float64 tensors where they do not.
        inputs: the numbers of the steps in its arguments, each once.
        shape: of its result, the batch of one image included.
        unit: the relative error of one rounded operation.
    """

    name: str
    row: Row
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inputs: tuple[int, ...]
    shape: tuple[int, ...]
    unit: float

    def run(self, function: Callable[..., Tensor], values: dict[int, Tensor]) -> Tensor:
        """Call a function with the step's arguments, and these values in place of its inputs."""
        args, kwargs = pytree.tree_map_only(Ref, lambda ref: values[ref.number], (self.args, self.kwargs))
        return function(*args, **kwargs)

    @property
    def others(self) -> tuple[Any, ...]:
        """The arguments after the first."""
        return self.args[1:]


@dataclass(frozen=True)
class Program:
    """The steps of a network, numbered from 1, and the number of the step whose result is the logits ``(1, K)``."""

    steps: dict[int, Step]
    output: int


def trace(model: nn.Module, image: Tensor) -> Program:
    """Trace a model in eval mode on one image ``(1, C, H, W)``.

    Raises:
        BoundsError: an operation has no bounds; the message names it. Or the model cannot be traced.
    """
    try:
        with torch.no_grad():
            # The lock of torch's progress bar would be a semaphore, which a child process leaves behind when it ends.
            if hasattr(tqdm, "set_lock"):  # torch has a substitute where tqdm is not installed
                tqdm.set_lock(threading.RLock())
            exported = torch.export.export(model, (image,), strict=False).run_decompositions({})
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # the model's own code, or what torch.export does not support
        raise BoundsError(one_line(f"the network cannot be traced by torch.export: {describe(error)}")) from error
    return _Reader(exported, image).read()


class _Reader:
    """Turns an exported graph into a program."""

    def __init__(self, exported: Any, image: Tensor) -> None:
        self.exported, self.image = exported, image
        self.constants: dict[str, Any] = {}
        self.numbers: dict[str, int] = {}
        self.steps: dict[int, Step] = {}

    def read(self) -> Program:
        signature = self.exported.graph_signature
        states = {**self.exported.state_dict, **self.exported.constants}
        targets = {spec.arg.name: spec.target for spec in signature.input_specs if spec.target is not None}
        if signature.buffers_to_mutate or signature.user_inputs_to_mutate:
            raise BoundsError("the network changes its buffers or its input")
        for node in self.exported.graph.nodes:
            if node.op == "placeholder" and node.name in targets:
                self.constants[node.name] = states[targets[node.name]]
            elif node.op == "placeholder":
                self.numbers[node.name] = 0
            elif node.op == "call_function":
                self._add(node)
            elif node.op != "output":
                raise BoundsError(f"no bounds for a node of the kind {node.op}")
        outputs = [name for name in signature.user_outputs if name is not None]
        if len(outputs) != 1 or outputs[0] not in self.numbers or self.numbers[outputs[0]] == 0:
            raise BoundsError("the output of the network is not one tensor of logits that depend on the image")
        return Program(self.steps, self.numbers[outputs[0]])

    def _add(self, node: Any) -> None:
        names = [used.name for used in node.all_input_nodes]
        inputs = tuple(dict.fromkeys(self.numbers[name] for name in names if name in self.numbers))
        if not inputs:
            self._add_constant(node)
        elif node.target is getitem:
            if node.args[1] != 0 or self._row_of(node.args[0]) is None:
                raise BoundsError(f"no bounds for part {node.args[1]} of the result of {_name(node.args[0].target)}")
            self.numbers[node.name] = inputs[0]
        else:
            self._add_step(node, inputs)

    def _row_of(self, node: Any) -> Row | None:
        return TABLE.get(node.target)

    def _add_constant(self, node: Any) -> None:
        if node.target not in VIEWS:
            raise BoundsError(f"the network computes a constant or a weight with {_name(node.target)}")
        args, kwargs = self._arguments(node)
        with torch.no_grad():
            self.constants[node.name] = node.target(*args, **kwargs)

    def _add_step(self, node: Any, inputs: tuple[int, ...]) -> None:
        row, name = self._row_of(node), _name(node.target)
        if row is None:
            raise BoundsError(f"no bounds for the operation {name}")
        value = node.meta["val"]
        value = value[0] if isinstance(value, tuple | list) else value
        if value.dtype not in UNITS:
            raise BoundsError(f"no bounds for {name} in {value.dtype}: use float32 or float64")
        args, kwargs = pytree.tree_map_only(Tensor, _double, self._arguments(node))
        _check(row, name, args, kwargs)
        number = 1 + len(self.steps)
        shape = tuple(int(size) for size in value.shape)
        self.steps[number] = Step(
            name, row, tuple(args), kwargs, inputs, shape, unit_of(value.dtype, name, is_cuda=self.image.is_cuda)
        )
        self.numbers[node.name] = number

    def _arguments(self, node: Any) -> tuple[Any, Any]:
        def resolve(used: Any) -> Any:
            if used.name in self.numbers:
                return Ref(self.numbers[used.name])
            return self.constants[used.name]

        found = pytree.tree_map_only(torch.fx.Node, resolve, (tuple(node.args), dict(node.kwargs)))
        kwargs = {key: value for key, value in found[1].items() if key not in ("memory_format", "dtype")}
        return found[0], kwargs


def _double(tensor: Tensor) -> Tensor:
    return tensor.detach().double() if tensor.is_floating_point() else tensor


def _check(row: Row, name: str, args: Any, kwargs: Any) -> None:
    """Raise unless the operation is affine in what depends on the image: no product of two such factors."""
    leaves = pytree.tree_leaves((args, kwargs))
    dependent = sum(isinstance(leaf, Ref) for leaf in leaves)
    if isinstance(row, Affine):
        joins = ("add", "sub", "rsub", "cat")
        if dependent > 1 and name not in joins:
            raise BoundsError(f"no bounds for {name} of several values that depend on the image")
        if name in ("div", "linear", "addmm") and not isinstance(args[1 if name == "addmm" else 0], Ref):
            raise BoundsError(f"no bounds for {name} with a divisor or a weight that depends on the image")
        if name.startswith("conv") and not isinstance(args[0], Ref):
            raise BoundsError(f"no bounds for {name} with a weight that depends on the image")
        if any(isinstance(value, str) and name not in ("conv2d", "pad") for value in leaves):
            raise BoundsError(f"no bounds for {name} with the option {leaves}")
    elif dependent != 1 or not isinstance(args[0], Ref) or any(isinstance(leaf, Tensor) for leaf in leaves):
        raise BoundsError(f"no bounds for {name} with other tensors than its input")
    assert isinstance(row, Affine | Elementwise | MaxPool)


def _name(target: Any) -> str:
    """The name of an operation of ATen without its overload."""
    name = str(getattr(target, "_opname", None) or getattr(target, "__name__", target))
    return name.split(".")[0]
