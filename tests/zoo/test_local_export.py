"""Programs of torch.export in local zoos: read only where code is trusted, and the same network as the original."""

import contextlib
import hashlib
import io
import pickle
import re
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from auditor.errors import ModelLoadError, UsageError
from auditor.linear import implicit_weight
from auditor.zoo.local import LocalZoo, runs_code
from auditor.zoo.normalized import inner_network
from tests.factories.graphs import graph_zoo, small_network, write_program

MEAN, STD = torch.tensor([[0.5, 0.4, 0.3], [0.5, 0.6, 0.7]]).view(2, 1, 3, 1, 1)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_program(small_network(), tmp_path_factory.mktemp("export") / "net.pt2")


def reason(zoo: LocalZoo) -> str:
    with pytest.raises(ModelLoadError) as caught:
        zoo.load(zoo.entries()[0])
    (line,) = str(caught.value).splitlines()
    return line


def test_the_originals_logits_gradients_w_and_names(exported: Path, tmp_path: Path) -> None:
    shutil.copy(exported, tmp_path)
    zoo = graph_zoo(tmp_path, "net.pt2")
    (entry,) = zoo.entries()
    digest = hashlib.sha256(exported.read_bytes()).hexdigest()
    assert entry.architecture == {"export": "net.pt2", "sha256": digest}
    loaded, original = zoo.load(entry), small_network()
    assert (loaded.weights_sha256, loaded.notes) == (digest, ())
    images = torch.rand(5, 3, 8, 8, requires_grad=True)
    logits, expected = loaded.model(images), original((images - MEAN) / STD)
    torch.testing.assert_close(logits, expected)
    (got,), (want,) = (torch.autograd.grad(values.square().sum(), images) for values in (logits, expected))
    torch.testing.assert_close(got, want)
    network = inner_network(loaded.model)
    assert network.state_dict().keys() == original.state_dict().keys()
    assert not network.train().eval().training  # the program itself refuses both
    for treatment in ("remove", "fold"):
        torch.testing.assert_close(
            implicit_weight(network, (3, 8, 8), batch_norm=treatment),
            implicit_weight(original, (3, 8, 8), batch_norm=treatment),
        )


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def poison(path: Path, code: object) -> None:
    """Replace the example inputs of a program by a pickle that runs code."""
    content = io.BytesIO()
    torch.save(code, content)
    with zipfile.ZipFile(path) as old:
        parts = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as new:
        for name, part in parts.items():
            new.writestr(name, content.getvalue() if "sample_inputs" in name else part)


def test_reading_can_run_code_so_nothing_is_read_without_trust(exported: Path, tmp_path: Path) -> None:
    shutil.copy(exported, tmp_path)
    poison(tmp_path / "net.pt2", Touch(tmp_path / "ran"))
    zoo = graph_zoo(tmp_path, "net.pt2", trust_code=False)
    (entry,) = zoo.entries()
    assert runs_code(entry)
    for attempt in (lambda: zoo.check([entry]), lambda: zoo.load(entry), lambda: zoo.construct(entry)):
        with pytest.raises(
            UsageError, match=r"local:net: loading can run code from programs of torch\.export.*--trust"
        ):
            attempt()
    assert not (tmp_path / "ran").exists()
    with contextlib.suppress(
        ModelLoadError
    ):  # with trust it runs; whether the rest is then a program is torch's matter
        LocalZoo(tmp_path, trust_code=True).load(entry)
    assert (tmp_path / "ran").exists()


def test_a_program_that_changed_since_the_scan_began_is_not_read(exported: Path, tmp_path: Path) -> None:
    shutil.copy(exported, tmp_path)
    zoo = graph_zoo(tmp_path, "net.pt2")
    (entry,) = zoo.entries()
    poison(tmp_path / "net.pt2", Touch(tmp_path / "ran"))
    with pytest.raises(ModelLoadError, match="has changed since the scan began"):
        zoo.load(entry)
    with pytest.raises(ModelLoadError, match="expected SHA-256"):
        zoo.construct(entry)
    assert not (tmp_path / "ran").exists()


class Fixed(nn.Module):
    """Writes the size of its batches into the graph."""

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], 192) if x.shape[0] != 1 else x.reshape(1, 192)


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.flatten(1), x


class Named(nn.Module):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"logits": x.flatten(1)}


def test_a_program_for_batches_of_one_is_used_where_it_takes_others(tmp_path: Path) -> None:
    zoo, images = graph_zoo(tmp_path, "net.pt2"), torch.rand(3, 3, 8, 8)
    write_program(small_network(), tmp_path / "net.pt2", batch=1)
    loaded = zoo.load(zoo.entries()[0])
    torch.testing.assert_close(loaded.model(images), small_network()((images - MEAN) / STD))
    assert "made for batches of 1" in loaded.notes[0]
    write_program(Fixed(), tmp_path / "net.pt2", batch=1)
    assert re.search(r"exported for batches of 1 and does not work for others .*dynamic_shapes=", reason(zoo))


REFUSED = {
    "outputs": (Pair(), "expected one output, got 2"),
    "named": (Named(), "expected logits (N, K) as one tensor, got dict"),
    "batch norm": (nn.Sequential(nn.BatchNorm2d(3), nn.Flatten()).train(), "exported in training mode"),
    "dropout": (nn.Sequential(nn.Flatten(), nn.Dropout()).train(), "exported in training mode"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_classifier_is_refused_by_name(tmp_path: Path, case: str) -> None:
    model, message = REFUSED[case]
    write_program(model, tmp_path / "net.pt2")
    assert f"net.pt2: {message}" in reason(graph_zoo(tmp_path, "net.pt2")).replace(
        "the program itself cannot run it: ModelLoadError: ", ""
    )


def test_another_size_is_refused(tmp_path: Path) -> None:
    write_program(nn.Flatten(), tmp_path / "net.pt2", size=(3, 9, 9))
    assert "expected an input of [N, 3, 8, 8], got ['any', 3, 9, 9]" in reason(graph_zoo(tmp_path, "net.pt2"))


@pytest.mark.parametrize("case", ["cut", "empty", "page", "weights", "pickle"])
def test_a_damaged_file_is_one_line(exported: Path, tmp_path: Path, case: str) -> None:
    path = tmp_path / "net.pt2"
    if case == "weights":
        torch.save(small_network().state_dict(), path)
    else:
        content = exported.read_bytes()
        path.write_bytes(
            {"cut": content[: len(content) // 2], "empty": b"", "page": b"<html>", "pickle": pickle.dumps(1)}[case]
        )
    assert "net.pt2 is not a program of torch.export" in reason(graph_zoo(tmp_path, "net.pt2"))
