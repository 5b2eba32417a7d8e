"""Files that hold a whole network: ONNX files, programs of torch.export, and the graph inside of such a program."""

import functools
import io
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from auditor.zoo.local.graphs import Kind, load_graph
from tests.factories.graphs import node_model, small_network, write_program
from tests.fuzz.contract import BrokenPromiseError, Target

SIZE = (3, 8, 8)
UNPICKLES = ("pickle.find_class",)
"""torch unpickles parts of a program, which is why one is only read with --trust-code."""
PROGRAM = "models/model.json"
"""Ends the name of the member that holds the graph."""


def _read(kind: Kind, path: Path) -> None:
    graph = load_graph(kind, path, SIZE, {})
    logits = graph.network(torch.rand(2, *SIZE))
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != 2:
        raise BrokenPromiseError(
            f"a network gives {getattr(logits, 'shape', type(logits).__name__)}, not logits (2, K)"
        )


def read_onnx(data: bytes, folder: Path) -> None:
    path = folder / "net.onnx"
    path.write_bytes(data)
    _read("onnx", path)


def read_program(data: bytes, folder: Path) -> None:
    path = folder / "net.pt2"
    path.write_bytes(data)
    _read("export", path)


def read_program_graph(data: bytes, folder: Path) -> None:
    """The bytes as the graph of an otherwise sound program."""
    path = folder / "net.pt2"
    with zipfile.ZipFile(io.BytesIO(_program())) as whole, zipfile.ZipFile(path, "w") as archive:
        for name in whole.namelist():
            archive.writestr(name, data if name.endswith(PROGRAM) else whole.read(name))
    _read("export", path)


def onnx_seeds() -> Sequence[bytes]:
    weights = {"w": torch.full((2, 3, 3, 3), 0.1), "v": torch.full((72, 3), 0.1), "b": torch.zeros(3)}
    layers = (
        helper.make_node("Conv", ["x0", "w"], ["c"]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Flatten", ["r"], ["f"]),
        helper.make_node("Gemm", ["f", "v", "b"], ["y0"]),
    )
    network = node_model(
        *layers, weights=tuple(numpy_helper.from_array(one.numpy(), name) for name, one in weights.items())
    )
    outside = onnx.ModelProto()
    outside.CopyFrom(network)
    for tensor in outside.graph.initializer:
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="net.onnx")
    models = (network, node_model(), node_model(inputs=2), outside)
    return [model.SerializeToString() for model in models]


@functools.cache
def _program(whole: bool = True) -> bytes:
    """A saved program: of a small convolutional network, or of a smaller one."""
    network = small_network() if whole else nn.Sequential(nn.Flatten(), nn.Linear(192, 2)).eval()
    with tempfile.TemporaryDirectory() as folder:
        return write_program(network, Path(folder) / "net.pt2").read_bytes()


def program_seeds() -> Sequence[bytes]:
    return [_program(), _program(whole=False)]


def program_graph_seeds() -> Sequence[bytes]:
    def inner(whole: bytes) -> bytes:
        with zipfile.ZipFile(io.BytesIO(whole)) as archive:
            return archive.read(next(name for name in archive.namelist() if name.endswith(PROGRAM)))

    return [inner(data) for data in program_seeds()]


TARGETS = (
    Target("onnx", read_onnx, onnx_seeds, ("onnx2pytorch.convert.model", "onnx2pytorch.convert.operations")),
    Target("torch-export", read_program, program_seeds, length=32_768, allowed=UNPICKLES),
    Target(
        "torch-export-graph",
        read_program_graph,
        program_graph_seeds,
        ("torch._export.serde.serialize",),
        length=16_384,
        allowed=UNPICKLES,
    ),
)
