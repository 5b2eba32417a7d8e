"""Boosts from each source of models: the checkpoint loads again, holds what was trained, and can be deployed."""

import json
import os
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from click.testing import CliRunner
from onnx import helper
from torch import Tensor, nn

pytest.importorskip("transformers", reason="needs transformers: pip install 'auditor[hub]'")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # timm 1.0.9 uses what torch has since deprecated
    import timm  # noqa: F401

from auditor.boost.task import boost
from auditor.checkpoints import export_checkpoint
from auditor.cli import main
from auditor.config import settings
from auditor.errors import InputError, ModelLoadError, UsageError
from auditor.records import JobContext, ZooEntry
from auditor.records.boosts import BoostOutcome, BoostTask, Recipe
from auditor.zoo import Source, find_source
from auditor.zoo.local import LocalZoo
from auditor.zoo.normalized import inner_network
from tests.factories.checkpoint_rows import row
from tests.factories.graphs import node_model, write_onnx, write_program
from tests.factories.hub import save_vit
from tests.factories.sources import (
    CLASSES,
    local,
    onnx_folded,
    onnx_kept,
    pictures,
    program,
    timms_network,
    torchvision,
    transformers,
)

RECIPE = Recipe(method="at", eps=0.1, steps=1, step_size=0.1, epochs=1, batch_size=16, max_lr=0.05, beta=0.1, ema=0.0)


@dataclass(frozen=True)
class Boosted:
    """A boost that has ended, and what it started from."""

    source: Source
    entry: ZooEntry
    outcome: BoostOutcome
    checkpoints: Path
    before: dict[str, Tensor]


def boosted(make: Callable[[Path], tuple[Source, ZooEntry]], folder: Path, recipe: Recipe = RECIPE) -> Boosted:
    source, entry = make(folder)
    before = {key: tensor.clone() for key, tensor in inner_network(source.load(entry).model).state_dict().items()}
    size = entry.input_size[1]
    task = BoostTask(
        recipe=recipe, number=1, checkpoints=folder / "checkpoints", device="cpu", owner="test",
        training=pictures(folder, "train.npz", 1, 80, size), tests=pictures(folder, "test.npz", 2, 40, size),
        place=source.folder if isinstance(source, LocalZoo) else None,
    )  # fmt: skip
    return Boosted(source, entry, boost(source, entry, task, JobContext()), folder / "checkpoints", before)


MAKERS = (torchvision, transformers, timms_network, onnx_folded, onnx_kept, program)
FIXED = {onnx_folded: (), onnx_kept: (), program: ("1.running_mean", "1.running_var", "1.num_batches_tracked")}
"""What training must not change: a program's batch norm keeps its statistics."""


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")  # of torch's exporters
@pytest.mark.parametrize("make", MAKERS)
def test_a_checkpoint_holds_what_was_trained_and_its_card_deploys_it(
    make: Callable[[Path], tuple[Source, ZooEntry]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = boosted(make, tmp_path)
    entry, outcome, before = done.entry, done.outcome, done.before
    # the digests that the verdict is checked with are those that audits of both models find
    assert done.source.load(entry).weights_sha256 == outcome.parent_sha256
    zoo = find_source("checkpoint", done.checkpoints, trust_code=True)
    (checkpoint,) = zoo.entries()
    loaded = zoo.load(checkpoint)
    assert loaded.weights_sha256 == outcome.weights_sha256
    # all matrices were trained, and nothing was that an export froze
    after = inner_network(loaded.model).state_dict()
    assert after.keys() == before.keys()
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    matrices = {name for name, one in inner_network(loaded.model).named_parameters() if one.ndim > 1}
    assert matrices
    assert matrices <= changed
    assert not changed & set(FIXED.get(make, ()))
    # the card's own code makes the same network from the folder that is handed out, and from the original's file
    about = row(done.checkpoints / "1", weights_sha256=outcome.weights_sha256, model=entry.model)
    export_checkpoint(about, tmp_path / "out")
    for file in (*tmp_path.glob("net.onnx"), *tmp_path.glob("net.pt2")):
        (tmp_path / "out" / file.name).write_bytes(file.read_bytes())
    monkeypatch.chdir(tmp_path / "out")
    images = torch.rand(3, *entry.input_size)
    with torch.no_grad():
        logits = deployed(tmp_path / "out", images, entry)
        torch.testing.assert_close(logits, loaded.model(images), rtol=1e-4, atol=1e-5)


def deployed(folder: Path, images: Tensor, entry: ZooEntry) -> Tensor:
    """The logits of the network that the card's code makes, of normalized images."""
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    scope: dict[str, Any] = {}
    exec(code, scope)
    if (folder / "model.pt2").exists():  # a whole network is a model of a local zoo
        table = (folder.parent / "zoo.toml").read_text()
        (folder / "zoo.toml").write_text(table.replace('"net.pt2"', '"model.pt2"'))
        zoo = LocalZoo(folder, trust_code=True)
        return zoo.load(zoo.entries()[0]).model(images)
    mean, std = (torch.tensor(entry.preprocessing[part]).view(1, 3, 1, 1) for part in ("mean", "std"))
    logits = scope["model"]((images - mean) / std)
    return logits if isinstance(logits, Tensor) else logits.logits


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_a_checkpoint_of_an_onnx_file_refuses_another_graph(tmp_path: Path) -> None:
    """The same weights fit a graph with other operators, which would be another network under the same name."""
    done = boosted(onnx_folded, tmp_path)
    zoo = find_source("checkpoint", done.checkpoints)
    (checkpoint,) = zoo.entries()
    zoo.load(checkpoint)
    model = onnx.load(tmp_path / "net.onnx")
    (relu,) = (node for node in model.graph.node if node.op_type == "Relu")
    relu.op_type = "Tanh"
    onnx.save(model, tmp_path / "net.onnx")
    done.source.load(done.entry)  # on its own it is as good as any other file
    with pytest.raises(ModelLoadError, match=r"net\.onnx: expected SHA-256 .*: not the expected file"):
        zoo.load(checkpoint)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_a_checkpoint_of_a_checkpoint_knows_the_onnx_file(tmp_path: Path) -> None:
    done = boosted(onnx_folded, tmp_path)
    zoo = find_source("checkpoint", done.checkpoints)
    (entry,) = zoo.entries()
    task = BoostTask(
        recipe=RECIPE, number=2, checkpoints=done.checkpoints, device="cpu", owner="test", place=None,
        training=tmp_path / "train.npz", tests=tmp_path / "test.npz",
    )  # fmt: skip
    outcome = boost(zoo, entry, task, JobContext())
    assert outcome.parent_sha256 == done.outcome.weights_sha256
    again = zoo.entries()[1]
    assert again.architecture == entry.architecture
    assert zoo.load(again).weights_sha256 == outcome.weights_sha256


class Step(nn.Module):
    """A network whose middle stops the gradient; ``trained`` layers are behind it."""

    def __init__(self, *, trained: bool) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 8), nn.Linear(4, 4)
        self.trained = trained

    def forward(self, images: Tensor) -> Tensor:
        signs = self.first(images).flatten(1).sign()
        return self.last(signs) if self.trained else signs


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("write", [write_onnx, write_program])
@pytest.mark.parametrize(
    ("trained", "words"),
    [(False, "no gradient of the logits reaches the model's parameters"), (True, "have no gradient there")],
)
def test_a_network_without_gradients_is_refused(
    write: Callable[[nn.Module, Path], Path], trained: bool, words: str, tmp_path: Path
) -> None:
    def make(folder: Path) -> tuple[Source, ZooEntry]:
        path = write(Step(trained=trained).eval(), folder / f"net.{'onnx' if write is write_onnx else 'pt2'}")
        return local(folder, path.name)

    with pytest.raises(InputError, match=words):
        boosted(make, tmp_path, replace(RECIPE, beta=0.0))
    assert not (tmp_path / "checkpoints" / "1" / "model.safetensors").exists()


def test_an_onnx_file_without_weights_is_refused(tmp_path: Path) -> None:
    nodes = (helper.make_node("GlobalAveragePool", ["x0"], ["mean"]), helper.make_node("Flatten", ["mean"], ["y0"]))
    onnx.save(node_model(*nodes), tmp_path / "net.onnx")
    with pytest.raises(InputError, match="expected a model with parameters to train, got one without"):
        boosted(lambda folder: local(folder, "net.onnx"), tmp_path)


def test_classes_without_superclasses_are_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    def make(folder: Path) -> tuple[Source, ZooEntry]:
        zoo = find_source("hub", save_vit(folder / "vit", CLASSES))
        return zoo, zoo.entries()[0]

    with pytest.raises(UsageError, match=r"regularizer logits needs a superclass .* vit has none: add --regularizer"):
        boosted(make, tmp_path)
    done = boosted(make, tmp_path, replace(RECIPE, regularizer="none"))
    assert done.outcome.best_epoch == 1


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", [transformers, onnx_kept, program])
def test_auditor_boost_from_a_name_to_a_verdict(
    make: Callable[[Path], tuple[Source, ZooEntry]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUDITOR_CHECKPOINTS", str(tmp_path / "checkpoints"))
    settings.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source, entry = make(tmp_path)
    size = entry.input_size[1]
    train, test = pictures(tmp_path, "train.npz", 1, 240, size), pictures(tmp_path, "test.npz", 2, 40, size)
    words = ["boost", entry.model, "--zoo", tmp_path if isinstance(source, LocalZoo) else entry.place, "--data", train]
    words += ["--test-data", test, "--trust-code", "--regularizer", "none", "--epochs", 2, "--steps", 2, "--eps", 0.1]
    words += ["--batch-size", 16, "--lr", 0.05, "--protocol", "quick", "--samples", 40, "--format", "json"]
    result = CliRunner().invoke(main, [os.fspath(word) if isinstance(word, Path) else str(word) for word in words])
    assert result.exit_code == 0, result.output
    (found,) = json.loads(result.stdout)
    assert (found["state"], found["before"]["n"], found["after"]["n"]) == ("done", 40, 40)
    rows = json.loads(CliRunner().invoke(main, ["results", "list", "--format", "json"]).stdout)
    assert {one["model"]: one["weights_sha256"] for one in rows} == {
        entry.model: found["parent_sha256"],
        "checkpoint:1": found["weights_sha256"],
    }
    assert found["comparison"]["n"] == 40
