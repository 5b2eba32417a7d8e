"""ONNX files, converted to torch by onnx2pytorch, whose operators are tested against onnxruntime."""

import hashlib
import math
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnx
import onnx.helper
import onnx.inliner
import onnx.numpy_helper
import onnx.shape_inference
import onnxruntime
import torch
from google.protobuf.message import DecodeError
from onnx.external_data_helper import ExternalDataInfo, load_external_data_for_tensor, uses_external_data
from onnx2pytorch import ConvertModel
from torch import Tensor, nn

from auditor.errors import ModelLoadError, first_line, one_line
from auditor.zoo.local.graphs import LARGEST, Graph, Reference, check_input_size, compare

DOMAINS = ("", "ai.onnx")
FLOAT_BYTES = 4
BRANCHES = ("If", "Loop", "Scan", "SequenceMap")


def load(content: bytes, path: Path, input_size: tuple[int, int, int], preprocessing: dict[str, Any]) -> Graph:
    """The network in an ONNX file; runs no code of the file, because it holds none.

    Raises:
        ModelLoadError: as :func:`auditor.zoo.local.graphs.load_graph`.
    """
    name = path.name
    model, digest = _parse(content, path)
    _check_operations(model, name)
    batch = _check_ends(model, name, input_size)
    _check_sizes(model, name)
    source = _inputs(model)[0].name
    session = _session(model, name)

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {source: images.numpy()})[0])

    _fold_constants(model, source, torch.zeros(batch or 1, *input_size), name)
    network = _convert(model, name)
    reference = Reference(run, f"onnxruntime {version('onnxruntime')}", batch)
    difference = compare(network, reference, name, input_size, preprocessing)
    _tidy(network, torch.zeros(1, *input_size))
    operators = {node.op_type for node in model.graph.node}
    converted = f"converted from ONNX by onnx2pytorch {version('onnx2pytorch')}"
    notes = [f"{converted}; the logits differ from onnxruntime's by up to {difference:.0e} of the largest logit"]
    if "Conv" in operators and "BatchNormalization" not in operators:
        notes.append(
            "if the export folded batch norm into the convolutions, it stays in W, as with --linearization fold"
        )
    return Graph(network, digest, tuple(notes))


def _parse(content: bytes, path: Path) -> tuple[onnx.ModelProto, str]:
    """The model with its external data, and the digest of the file and of that data.

    External data is read only from files beside the model, which are no links.
    """
    digest, total = hashlib.sha256(content), len(content)
    try:
        model = onnx.load_model_from_string(content)
    except (DecodeError, ValueError) as error:
        from auditor.zoo.file_types import file_type

        kind = file_type(path)
        other = f": it is {kind}" if not kind.startswith("no checkpoint") else ": truncated or damaged"
        raise ModelLoadError(f"{path.name} is not an ONNX file{other}") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # unknown keys of external data
        for tensor in _tensors(model):
            if not uses_external_data(tensor):
                continue
            try:
                info = ExternalDataInfo(tensor)
                if Path(info.location).name != info.location:
                    raise ValueError(f"expected the name of a file beside it, got {info.location!r}")
                total += info.length if info.length is not None else (path.parent / info.location).stat().st_size
                if total > LARGEST:
                    raise ValueError(f"expected at most {LARGEST / 1e9:.1f} GB together")
                load_external_data_for_tensor(tensor, str(path.parent))
            except Exception as error:  # onnx raises its own errors for links and for data outside the file
                raise ModelLoadError(
                    f"{path.name}: external data of {_text(tensor.name)!r}: {first_line(error)}"
                ) from error
            digest.update(tensor.raw_data)
    try:
        onnx.checker.check_model(model)
    except Exception as error:  # ValidationError, or ValueError for a model that is too large
        raise ModelLoadError(f"{path.name} is not a valid ONNX model: {one_line(str(error).strip())}") from error
    return onnx.inliner.inline_local_functions(model) if model.functions else model, digest.hexdigest()


def _text(name: str | bytes) -> str:
    """A name in a file as one printable line; protobuf gives bytes for text that is not UTF-8."""
    return one_line(name if isinstance(name, str) else name.decode(errors="backslashreplace"))


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """All tensors of the model: initializers and attributes, in subgraphs and functions, too."""
    graphs, nodes = [model.graph], [*(node for function in model.functions for node in function.node)]
    while graphs or nodes:
        if graphs:
            graph = graphs.pop()
            yield from graph.initializer
            for sparse in graph.sparse_initializer:
                yield from (sparse.values, sparse.indices)
            nodes += graph.node
            continue
        for attribute in nodes.pop().attribute:
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            graphs += [graph for graph in (attribute.g, *attribute.graphs) if graph.node or graph.initializer]


def _check_operations(model: onnx.ModelProto, name: str) -> None:
    """Refuse operators that ONNX does not define, because the converter ignores their domain, and branches."""
    for node in model.graph.node:
        operator = ".".join(_text(part) for part in (node.domain, node.op_type) if part)
        if node.domain not in DOMAINS:
            raise ModelLoadError(f"{name}: the operator {operator} is not one of ONNX's own, so it cannot be converted")
        if node.op_type in BRANCHES:
            raise ModelLoadError(f"{name}: the operator {operator} branches while it runs: not supported")


def _check_sizes(model: onnx.ModelProto, name: str) -> None:
    """Refuse values, known before any image, that are larger than a file may be: a few bytes can ask for terabytes."""
    try:
        graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except Exception as error:
        raise ModelLoadError(f"{name}: the sizes of its values cannot be inferred: {one_line(str(error))}") from error
    for value in graph.value_info:
        sides = [side.dim_value or 1 for side in value.type.tensor_type.shape.dim]
        size = math.prod(sides) * FLOAT_BYTES
        if size > LARGEST:
            raise ModelLoadError(
                f"{name}: expected values of at most {LARGEST / 1e9:.1f} GB, got {size / 1e9:,.1f} GB for "
                f"{_text(value.name)!r}, {sides}"
            )


def _inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """The inputs without the weights, which old files list among them."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [one for one in model.graph.input if one.name not in weights]


def _check_ends(model: onnx.ModelProto, name: str, input_size: tuple[int, int, int]) -> int | None:
    """The size of the batches that the graph takes; None for any.

    Raises:
        ModelLoadError: there is not one input of float images and one output.
    """
    inputs, outputs = _inputs(model), list(model.graph.output)
    for what, values in (("input", inputs), ("output", outputs)):
        if len(values) != 1:
            names = one_line(", ".join(_text(value.name) for value in values))
            raise ModelLoadError(f"{name}: expected one {what}, got {len(values)}: {names}")
    tensor = inputs[0].type.tensor_type
    if tensor.elem_type != onnx.TensorProto.FLOAT:
        known = {number: kind.lower() for kind, number in onnx.TensorProto.DataType.items()}
        kind = known.get(tensor.elem_type, f"type {tensor.elem_type}")
        raise ModelLoadError(f"{name}: expected an input of float32, got {kind}: export the float32 network")
    shape = tuple(side.dim_value if side.HasField("dim_value") else None for side in tensor.shape.dim)
    check_input_size(name, shape, input_size)
    return shape[0]


def _session(model: onnx.ModelProto, name: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors derive from RuntimeError, Exception and others
        raise ModelLoadError(f"{name}: onnxruntime cannot read it: {first_line(error)}") from error


def _fold_constants(model: onnx.ModelProto, source: str, images: Tensor, name: str) -> None:
    """Replace what does not depend on the input by its value: the converter takes weights from initializers only."""
    graph = model.graph
    constant = {tensor.name for tensor in graph.initializer}
    folded: list[onnx.NodeProto] = []
    rest: list[onnx.NodeProto] = []
    for node in graph.node:
        needed = node.input[:1] if node.op_type == "CastLike" else node.input  # of the other it takes the type only
        (folded if all(given in constant or not given for given in needed) else rest).append(node)
        if folded and folded[-1] is node:
            constant.update(node.output)
    computed = {output for node in folded for output in node.output}
    used = {given for node in rest for given in node.input} | {output.name for output in graph.output}
    wanted = sorted(computed & used)
    if not wanted:
        return
    extended = onnx.ModelProto()
    extended.CopyFrom(model)
    del extended.graph.output[:]
    extended.graph.output.extend(onnx.helper.make_empty_tensor_value_info(one) for one in wanted)
    session = _session(extended, name)
    try:
        values = session.run(wanted, {source: images.numpy()})
    except Exception as error:
        raise ModelLoadError(f"{name}: its constants cannot be computed: {first_line(error)}") from error
    graph.initializer.extend(
        onnx.numpy_helper.from_array(value, one) for one, value in zip(wanted, values, strict=True)
    )
    del graph.node[:]
    graph.node.extend(rest)


def _convert(model: onnx.ModelProto, name: str) -> nn.Module:
    for node in model.graph.node:
        if node.op_type == "BatchNormalization":  # the converter takes no training_mode, even where it is off
            modes = [one for one in node.attribute if one.name == "training_mode"]
            if any(one.i for one in modes):
                raise ModelLoadError(f"{name}: exported in training mode: call model.eval() before the export")
            for mode in modes:
                node.attribute.remove(mode)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", RuntimeWarning)  # an operator that the converter would guess
            network: nn.Module = ConvertModel(model)
    except Exception as error:
        raise ModelLoadError(f"{name}: cannot be converted to torch: {first_line(error)}") from error
    for module in network.modules():
        if isinstance(module, nn.MaxPool1d | nn.MaxPool2d | nn.MaxPool3d):
            module.return_indices = False
            module.register_forward_hook(_as_tuple)
    del network.onnx_model.graph.initializer[:]  # type: ignore[union-attr, operator]  # copied into the modules
    return network.eval()


def _as_tuple(_: nn.Module, __: Any, pooled: Tensor) -> tuple[Tensor]:
    """The converter expects indices beside the result; they have no linear stand-in, and are not used."""
    return (pooled,)


class _Reads(dict[str, Tensor | None]):
    """A module's buffers that remember which of them were read."""

    def __init__(self, buffers: dict[str, Tensor | None]) -> None:
        super().__init__(buffers)
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> Tensor | None:
        self.names.add(name)
        return super().__getitem__(name)


def _tidy(network: nn.Module, image: Tensor) -> None:
    """Remove the weights that layers hold a second time, and make the matrices among the others trainable."""
    buffers = network._buffers
    reads = _Reads(buffers)
    network.__dict__["_buffers"] = reads
    try:
        with torch.no_grad():
            network(image)
    finally:
        network.__dict__["_buffers"] = buffers
    for name, tensor in list(buffers.items()):
        if name not in reads.names:
            del buffers[name]
        elif tensor is not None and tensor.is_floating_point() and sum(side > 1 for side in tensor.shape) > 1:
            del buffers[name]
            network.register_parameter(name, nn.Parameter(tensor))
