"""Networks as ONNX files and programs of torch.export, and local zoos of them."""

import warnings
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import TensorProto, helper
from torch import nn

from auditor.zoo.local import LocalZoo

BATCH = ({0: torch.export.Dim("batch")},)


def small_network(classes: int = 3) -> nn.Module:
    """Convolution, batch norm with statistics, max pooling and a head: ``(N, 3, 8, 8)`` to ``(N, 3)``."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        norm = nn.BatchNorm2d(4)
        with torch.no_grad():
            for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
                assert tensor is not None
                tensor.uniform_(0.5, 1.5)
        layers = (nn.Conv2d(3, 4, 3, bias=False), norm, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
        return nn.Sequential(*layers, nn.Linear(36, classes)).eval()


def write_onnx(
    model: nn.Module, path: Path, *, size: tuple[int, ...] = (3, 8, 8), batch: int | None = None, **options: Any
) -> Path:
    """Export with torch.onnx, for batches of one size or of any."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's own deprecations
        shapes = {} if batch else {"dynamic_shapes": BATCH}
        options = {"external_data": False, "verbose": False, **shapes, **options}
        torch.onnx.export(model, (torch.rand(batch or 2, *size),), path, **options)
    return path


def write_program(model: nn.Module, path: Path, *, size: tuple[int, ...] = (3, 8, 8), batch: int | None = None) -> Path:
    """Save what torch.export makes of a model, for batches of one size or of any."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = torch.rand(batch or 2, *size)
        torch.export.save(torch.export.export(model, (image,), dynamic_shapes=None if batch else BATCH), path)
    return path


def graph_zoo(folder: Path, weights: str, *lines: str, trust_code: bool = True) -> LocalZoo:
    """A zoo of one model, whose network is in the file of weights."""
    table = [
        '[datasets.pets]\nclasses = ["cat", "dog", "cow"]\ninput_size = [3, 8, 8]',
        f'[[models]]\nname = "net"\nweights = "{weights}"\ndataset = "pets"\nnorm = "Linf"\neps = "8/255"',
        "mean = [0.5, 0.4, 0.3]\nstd = [0.5, 0.6, 0.7]",
        *lines,
    ]
    (folder / "zoo.toml").write_text("\n".join(table) + "\n")
    return LocalZoo(folder, trust_code)


def node_model(
    *nodes: onnx.NodeProto,
    inputs: int = 1,
    outputs: int = 1,
    kind: int = TensorProto.FLOAT,
    shape: tuple[Any, ...] = ("n", 3, 8, 8),
    weights: tuple[onnx.TensorProto, ...] = (),
    domains: tuple[str, ...] = (),
) -> onnx.ModelProto:
    """A model of these nodes, from x0, x1, … to y0, y1, …; by default one that flattens its images."""
    given = [helper.make_tensor_value_info(f"x{number}", kind, list(shape)) for number in range(inputs)]
    made = [helper.make_tensor_value_info(f"y{number}", kind, ["n", "k"]) for number in range(outputs)]
    flatten = helper.make_node("Flatten", ["x0"], ["y0"])
    graph = helper.make_graph(list(nodes) or [flatten], "graph", given, made, initializer=list(weights))
    opsets = [helper.make_opsetid("", 20), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)
