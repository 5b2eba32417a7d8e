"""ONNX files in local zoos: the same network as the original, and one line for whatever cannot be used."""

import hashlib
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save_file
from torch import nn

from auditor.errors import ModelLoadError, UsageError
from auditor.linear import implicit_weight
from auditor.zoo.local import LocalZoo, graphs, runs_code
from auditor.zoo.normalized import inner_network
from tests.factories.graphs import graph_zoo, node_model, small_network, write_onnx

MEAN, STD = torch.tensor([[0.5, 0.4, 0.3], [0.5, 0.6, 0.7]]).view(2, 1, 3, 1, 1)
LEGACY = {"dynamo": False, "training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False}
LEGACY |= {"dynamic_shapes": None, "dynamic_axes": {"x": [0]}, "input_names": ["x"]}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_onnx(small_network(), tmp_path_factory.mktemp("onnx") / "net.onnx")


def reason(zoo: LocalZoo) -> str:
    with pytest.raises(ModelLoadError) as caught:
        zoo.load(zoo.entries()[0])
    (line,) = str(caught.value).splitlines()
    return line


def test_the_originals_logits_gradients_and_digest(exported: Path, tmp_path: Path) -> None:
    shutil.copy(exported, tmp_path)
    zoo = graph_zoo(tmp_path, "net.onnx", trust_code=False)
    (entry,) = zoo.entries()
    assert entry.architecture.keys() == {"onnx", "version"}
    assert (entry.description, runs_code(entry)) == ("an ONNX file, net.onnx", False)
    loaded = zoo.load(entry)
    assert loaded.weights_sha256 == hashlib.sha256(exported.read_bytes()).hexdigest()
    assert "onnxruntime" in loaded.notes[0]
    images, original = torch.rand(5, 3, 8, 8, requires_grad=True), small_network()
    logits, expected = loaded.model(images), original((images - MEAN) / STD)
    torch.testing.assert_close(logits, expected)
    (got,), (want,) = (torch.autograd.grad(values.square().sum(), images) for values in (logits, expected))
    torch.testing.assert_close(got, want)
    assert not loaded.model.training
    assert sum(one.numel() for one in loaded.model.parameters()) == 3 * 4 * 9 + 4 + 36 * 3 + 3  # no weights twice


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("options", "treatment"), [({}, "fold"), ({"optimize": False}, "remove"), (LEGACY, "remove")])
def test_w_is_the_originals_where_the_export_kept_batch_norm_and_else_the_folded_one(
    tmp_path: Path, options: dict, treatment: str
) -> None:
    write_onnx(small_network(), tmp_path / "net.onnx", **options)
    zoo = graph_zoo(tmp_path, "net.onnx")
    loaded = zoo.load(zoo.entries()[0])
    network = inner_network(loaded.model)
    weight = implicit_weight(network, (3, 8, 8))
    torch.testing.assert_close(weight, implicit_weight(small_network(), (3, 8, 8), batch_norm=treatment))
    other = {"fold": "remove", "remove": "fold"}[treatment]
    assert not torch.allclose(weight, implicit_weight(small_network(), (3, 8, 8), batch_norm=other), rtol=0.01)
    assert any("--linearization fold" in note for note in loaded.notes) == (treatment == "fold")


def test_a_file_for_batches_of_one_is_used_where_it_takes_others(tmp_path: Path) -> None:
    pooled = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 6), nn.Flatten())
    write_onnx(pooled, tmp_path / "net.onnx", batch=1)
    flat = onnx.load(tmp_path / "net.onnx")
    zoo, images = graph_zoo(tmp_path, "net.onnx"), torch.rand(3, 3, 8, 8)
    if "Flatten" in {node.op_type for node in flat.graph.node}:
        torch.testing.assert_close(zoo.load(zoo.entries()[0]).model(images), pooled((images - MEAN) / STD))
    else:  # the exporter may write the batch into a Reshape
        assert "exported for batches of 1" in reason(zoo)
    weights = (numpy_helper.from_array(np.array([1, 192]), "shape"),)
    fixed = node_model(helper.make_node("Reshape", ["x0", "shape"], ["y0"]), shape=(1, 3, 8, 8), weights=weights)
    onnx.save(fixed, tmp_path / "net.onnx")
    assert re.search(r"exported for batches of 1 and does not work for others .*dynamic_shapes=", reason(zoo))
    onnx.save(node_model(shape=(1, 3, 8, 8)), tmp_path / "net.onnx")
    torch.testing.assert_close(zoo.load(zoo.entries()[0]).model(images), ((images - MEAN) / STD).flatten(1))


def test_a_conversion_that_differs_is_refused_with_the_difference(exported: Path, tmp_path: Path) -> None:
    shutil.copy(exported, tmp_path)
    zoo = graph_zoo(tmp_path, "net.onnx")
    with mock.patch("auditor.zoo.local.onnx_files.ConvertModel", lambda model: Bent(model)):
        line = reason(zoo)
    assert re.search(r"net\.onnx: .* differ from those of onnxruntime \S+ by up to 1\.0e-02 of the largest logit", line)
    assert "expected at most 0.0001" in line


class Bent(nn.Module):
    """A converted network whose largest logit is wrong by a hundredth."""

    def __init__(self, model: onnx.ModelProto) -> None:
        from onnx2pytorch import ConvertModel

        super().__init__()
        self.network, self.onnx_model = ConvertModel(model), model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = self.network(images)
        return torch.where(logits.abs() == logits.abs().max(), 1.01 * logits, logits)


ADD = helper.make_node("Add", ["x0", "x0"], ["sum"])
FLATTEN = helper.make_node("Flatten", ["sum"], ["y0"])
SECOND = helper.make_node("Identity", ["y0"], ["y1"])
IDENTITY = helper.make_node("Identity", ["x0"], ["sum"])
BRANCH = helper.make_graph([helper.make_node("Identity", ["x0"], ["z"])], "branch", [], [
    helper.make_tensor_value_info("z", TensorProto.FLOAT, None)])  # fmt: skip
CHOICE = helper.make_node("If", ["flag"], ["sum"], then_branch=BRANCH, else_branch=BRANCH)
FLAG = numpy_helper.from_array(np.array(True), "flag")
ROWS = (numpy_helper.from_array(np.ones((2, 192), np.float32), "rows"), numpy_helper.from_array(np.array(7), "seven"))
SUM = helper.make_node("Add", ["flat", "row"], ["y0"])
SEVENTH = helper.make_node("Gather", ["rows", "seven"], ["row"])
REFUSED = {
    "two inputs": (node_model(helper.make_node("Add", ["x0", "x1"], ["sum"]), FLATTEN, inputs=2),
                   "expected one input, got 2: x0, x1"),
    "two outputs": (node_model(IDENTITY, FLATTEN, SECOND, outputs=2), "expected one output, got 2: y0, y1"),
    "bytes": (node_model(kind=TensorProto.UINT8), "expected an input of float32, got uint8"),
    "half": (node_model(kind=TensorProto.FLOAT16), "expected an input of float32, got float16"),
    "no type": (node_model(kind=39), "expected an input of float32, got type 39"),
    "channels last": (node_model(shape=("n", 8, 8, 3)), "expected an input of [N, 3, 8, 8], got ['any', 8, 8, 3]"),
    "flat": (node_model(shape=("n", 192)), "expected an input of [N, 3, 8, 8], got ['any', 192]"),
    "foreign": (node_model(helper.make_node("load", ["x0"], ["y0"], domain="com.example"), domains=("com.example",)),
                "the operator com.example.load is not one of ONNX's own"),
    "unknown": (node_model(helper.make_node("Frobnicate", ["x0"], ["y0"])), "No Op registered for Frobnicate"),
    "no such constant": (node_model(SEVENTH, helper.make_node("Flatten", ["x0"], ["flat"]), SUM, weights=ROWS),
                         "its constants cannot be computed: "),
    "branch": (node_model(CHOICE, FLATTEN, weights=(FLAG,)), "the operator If branches while it runs"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_classifier_of_images_is_refused_by_name(tmp_path: Path, case: str) -> None:
    model, message = REFUSED[case]
    onnx.save(model, tmp_path / "net.onnx")
    assert f"net.onnx: {message}" in reason(graph_zoo(tmp_path, "net.onnx")).replace(
        "net.onnx is not a valid ONNX model: ", "net.onnx: "
    )


def test_batch_norm_that_trains_is_refused(tmp_path: Path) -> None:
    ones = [numpy_helper.from_array(np.ones(3, np.float32), name) for name in "abcd"]
    norm = helper.make_node("BatchNormalization", ["x0", *"abcd"], ["sum", "mean", "var"], training_mode=1)
    onnx.save(node_model(norm, FLATTEN, weights=tuple(ones)), tmp_path / "net.onnx")
    assert "exported in training mode" in reason(graph_zoo(tmp_path, "net.onnx"))


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


DAMAGES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "cut": (cut, "net.onnx is not "),
    "empty": (lambda _: b"", "net.onnx is not a valid ONNX model: "),
    "page": (lambda _: b"<html><title>Sign in</title>", "net.onnx is not an ONNX file: it is an HTML page"),
    "noise": (
        lambda content: bytes(byte ^ 0x55 for byte in content),
        "net.onnx is not an ONNX file: truncated or damaged",
    ),
    "text": (lambda _: b"version https://git-lfs.github.com/spec/v1\n", "it is a pointer of Git LFS"),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_a_damaged_file_is_one_line(exported: Path, tmp_path: Path, case: str) -> None:
    change, message = DAMAGES[case]
    (tmp_path / "net.onnx").write_bytes(change(exported.read_bytes()))
    assert message in reason(graph_zoo(tmp_path, "net.onnx"))


def test_a_missing_a_large_and_an_unexpected_file(exported: Path, tmp_path: Path) -> None:
    zoo = graph_zoo(tmp_path, "net.onnx")
    assert "No such file" in reason(zoo)
    with (tmp_path / "net.onnx").open("wb") as file:
        file.truncate(graphs.LARGEST + 1)  # sparse
    assert "net.onnx: expected at most 2.1 GB, got 2.1 GB" in reason(zoo)
    shutil.copy(exported, tmp_path / "net.onnx")
    assert "expected SHA-256 000000000000…" in reason(graph_zoo(tmp_path, "net.onnx", f'sha256 = "{"0" * 64}"'))


@pytest.fixture
def with_data(tmp_path: Path) -> Path:
    """A zoo folder with a file whose weights are beside it, in net.onnx.data."""
    folder = tmp_path / "zoo"
    folder.mkdir()
    write_onnx(small_network(), folder / "net.onnx", external_data=True)
    if not (folder / "net.onnx.data").exists():  # the exporter keeps small weights inside
        model = onnx.load(folder / "net.onnx")
        onnx.save(model, folder / "net.onnx", save_as_external_data=True, location="net.onnx.data", size_threshold=0)
    return folder


def test_external_data_is_read_and_part_of_the_digest(with_data: Path) -> None:
    zoo, images = graph_zoo(with_data, "net.onnx"), torch.rand(2, 3, 8, 8)
    before = zoo.load(zoo.entries()[0])
    torch.testing.assert_close(before.model(images), small_network()((images - MEAN) / STD))
    data = bytearray((with_data / "net.onnx.data").read_bytes())
    data[3] ^= 1
    (with_data / "net.onnx.data").write_bytes(data)
    assert zoo.load(zoo.entries()[0]).weights_sha256 != before.weights_sha256


def relocate(folder: Path, location: str, **values: str) -> None:
    model = onnx.load(folder / "net.onnx", load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            entry.value = location if entry.key == "location" else values.get(entry.key, entry.value)
    onnx.save(model, folder / "net.onnx")


@pytest.mark.parametrize(
    "location", ["../secret", "/etc/passwd", "folder/../../secret", "sub/data", "net.onnx.missing"]
)
def test_external_data_elsewhere_is_refused(with_data: Path, location: str) -> None:
    shutil.copy(with_data / "net.onnx.data", with_data.parent / "secret")
    (with_data / "sub").mkdir()
    shutil.copy(with_data / "net.onnx.data", with_data / "sub" / "data")
    relocate(with_data, location)
    assert "net.onnx: external data of " in reason(graph_zoo(with_data, "net.onnx"))


def test_external_data_that_is_a_link_or_short_is_refused(with_data: Path) -> None:
    zoo, data = graph_zoo(with_data, "net.onnx"), with_data / "net.onnx.data"
    secret = data.rename(with_data.parent / "secret")
    data.symlink_to(secret)
    assert "net.onnx: external data of " in reason(zoo)
    data.unlink()
    data.write_bytes(secret.read_bytes()[:8])
    assert "net.onnx: external data of " in reason(zoo)
    data.write_bytes(secret.read_bytes())
    relocate(with_data, "net.onnx.data", length=str(2**40))
    assert "expected at most 2.1 GB together" in reason(zoo)


def test_keys_that_belong_to_other_weights_are_refused(tmp_path: Path) -> None:
    zoo = graph_zoo(tmp_path, "net.onnx", 'architecture = { timm = "resnet18" }', 'key = "model"', 'prefix = "model."')
    with pytest.raises(UsageError) as caught:
        zoo.entries()
    lines = str(caught.value).splitlines()
    assert [line.partition(": ")[2].partition(":")[0] for line in lines] == [
        "models[0].architecture", "models[0].key", "models[0].prefix",
    ]  # fmt: skip
    assert all("leave it out, because an ONNX file holds" in line for line in lines)


def test_weights_of_another_suffix_still_need_an_architecture(tmp_path: Path) -> None:
    save_file({"weight": torch.ones(1)}, tmp_path / "net.safetensors")
    with pytest.raises(UsageError, match=r'models\[0\]\.architecture: missing: \{timm = "resnet18"\}'):
        graph_zoo(tmp_path, "net.safetensors").entries()
