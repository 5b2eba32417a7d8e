"""Programs of torch.export. **Reading one can run code**: torch unpickles parts of the file."""

import hashlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import GraphModule

from auditor.errors import ModelLoadError, first_line
from auditor.zoo.local.graphs import Graph, Reference, check_input_size, compare


def load(content: bytes, name: str, input_size: tuple[int, int, int], preprocessing: dict[str, Any]) -> Graph:
    """The network of a program that ``torch.export.save`` wrote, on torch's own functions. **Can run code.**

    Raises:
        ModelLoadError: as :func:`auditor.zoo.local.graphs.load_graph`.
    """
    program = _read(content, name)
    signature = program.graph_signature
    for what, values in (("input", signature.user_inputs), ("output", signature.user_outputs)):
        if len(values) != 1:
            raise ModelLoadError(f"{name}: expected one {what}, got {len(values)}: {', '.join(map(str, values))}")
    if _trains(program):
        raise ModelLoadError(f"{name}: exported in training mode: call model.eval() before the export")
    image = next(node for node in program.graph.nodes if node.name == signature.user_inputs[0]).meta["val"]
    if not isinstance(image, Tensor) or image.dtype != torch.float32:
        raise ModelLoadError(
            f"{name}: expected an input of float32, got {getattr(image, 'dtype', type(image).__name__)}"
        )
    shape = tuple(side if isinstance(side, int) else None for side in image.shape)
    check_input_size(name, shape, input_size)
    network = _network(program)
    reference = Reference(program.module(), "the program itself", shape[0])
    difference = compare(network, reference, name, input_size, preprocessing)
    notes = (f"made for batches of {shape[0]}; larger ones differ by up to {difference:.0e} of the largest logit",)
    return Graph(network, hashlib.sha256(content).hexdigest(), notes if shape[0] else ())


def _read(content: bytes, name: str) -> ExportedProgram:
    try:
        with warnings.catch_warnings(), _silent():
            warnings.simplefilter("ignore")
            return torch.export.load(io.BytesIO(content))
    except Exception as error:  # a damaged file ends in any error
        raise ModelLoadError(f"{name} is not a program of torch.export that torch {torch.__version__} can read: "
                             f"{first_line(error)}") from error  # fmt: skip


@contextmanager
def _silent() -> Iterator[None]:
    """Without the traceback that torch logs before it tries an older format."""
    logger = logging.getLogger("torch.export")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def _trains(program: ExportedProgram) -> bool:
    """Whether a dropout draws random numbers, or a normalization uses the statistics of the batch."""
    for node in program.graph.nodes:
        if isinstance(node.target, torch._ops.OpOverload):
            names = [argument.name for argument in node.target._schema.arguments]
            values = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
            if values.get("train") is True or values.get("training") is True:
                return True
    return False


def _network(program: ExportedProgram) -> nn.Module:
    """The program as a plain module: without guards on shapes, with the functions that torch's own code calls."""
    module = program.module(check_guards=False)
    for node in module.graph.nodes:
        if node.op == "call_function" and isinstance(node.target, torch._ops.OpOverload):
            node.target = _public_function(node.target) or node.target
    return GraphModule(module, module.graph).eval()


def _public_function(operation: "torch._ops.OpOverload") -> Callable[..., Any] | None:
    """The function of torch with the signature of an ATen operation, which has the same name; None if there is none."""
    namespace, _, name = operation._schema.name.partition("::")
    places: tuple[Any, ...] = (torch, torch._C._nn, Tensor) if namespace == "aten" else ()
    found = (getattr(place, name, None) for place in places)
    return next((function for function in found if callable(function)), None)
