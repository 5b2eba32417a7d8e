"""Checkpoints are models of a zoo: what is written is loaded, elsewhere too, and nothing half written passes."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from auditor.cli import main
from auditor.config import settings
from auditor.errors import AuditorError, EnvironmentUnusableError, ModelLoadError, UsageError
from auditor.records import ZooEntry
from auditor.zoo import checkpoint as module
from auditor.zoo import find_source
from auditor.zoo.checkpoint import FILE, WEIGHTS, write_checkpoint
from auditor.zoo.normalized import inner_network
from auditor.zoo.timm import import_timm

WORDS: dict[str, Any] = {"description": "fine-tuned", "training": {"method": "at"}}
TOML = """
[[models]]
name = "small"
weights = "small.safetensors"
dataset = "cifar10"
norm = "Linf"
eps = "8/255"
mean = [0.5, 0.4, 0.3]
std = [0.2, 0.3, 0.4]
architecture = {ARCHITECTURE}
"""
CODE = "from torch import nn\ndef make():\n    return nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))\n"


def _demo(name: str = "standard") -> tuple[ZooEntry, torch.nn.Module]:
    source = find_source("demo")
    entry = next(entry for entry in source.entries() if entry.model == f"demo:{name}")
    return entry, source.load(entry).model


def _moved(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Other weights for the same network."""
    generator = torch.Generator().manual_seed(1)
    return {
        name: tensor + 0.01 * torch.rand(tensor.shape, generator=generator) if tensor.is_floating_point() else tensor
        for name, tensor in inner_network(model).state_dict().items()
    }


def _logits(model: torch.nn.Module, state: dict[str, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    inner_network(model).load_state_dict(state)
    with torch.no_grad():
        logits: torch.Tensor = model.eval()(images)
    return logits


def test_a_demo_models_checkpoint(tmp_path: Path) -> None:
    origin, model = _demo()
    state = _moved(model)
    written = write_checkpoint(tmp_path, 7, state, origin, zoo_folder=None, **WORDS)
    zoo = find_source("checkpoint", tmp_path)
    assert zoo.entries() == [written]
    assert (written.model, written.source, written.dataset) == ("checkpoint:7", "checkpoint", "fashion_mnist")
    assert zoo.missing(written) is None
    loaded = zoo.load(written)
    images = torch.rand(4, 1, 28, 28)
    assert torch.equal(loaded.model(images), _logits(model, state, images))
    assert loaded.weights_sha256 != find_source("demo").load(origin).weights_sha256
    assert not loaded.model.training


def _local(folder: Path, architecture: str, network: torch.nn.Module) -> ZooEntry:
    folder.mkdir()
    (folder / "zoo.toml").write_text(TOML.replace("{ARCHITECTURE}", architecture))
    (folder / "make.py").write_text(CODE)
    save_file(network.state_dict(), folder / "small.safetensors")
    (entry,) = find_source("local", folder).entries()
    return entry


@pytest.mark.long
def test_a_timm_architectures_checkpoint_loads_in_timm_by_strict_keys(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = import_timm().create_model("resnet18", num_classes=10)
    origin = _local(tmp_path / "zoo", '{timm = "resnet18", kwargs = {num_classes = 10}}', network)
    model = find_source("local", tmp_path / "zoo").load(origin).model
    state = _moved(model)
    written = write_checkpoint(tmp_path / "kept", 1, state, origin, zoo_folder=tmp_path / "zoo", **WORDS)
    images = torch.rand(2, 3, 32, 32)
    expected = _logits(model, state, images)
    (tmp_path / "zoo" / "small.safetensors").unlink()  # a checkpoint brings its own weights
    assert torch.equal(find_source("checkpoint", tmp_path / "kept").load(written).model(images), expected)
    elsewhere = (
        import_timm()
        .create_model("resnet18", num_classes=10, checkpoint_path=str(tmp_path / "kept" / "1" / WEIGHTS))
        .eval()
    )
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in ((0.5, 0.4, 0.3), (0.2, 0.3, 0.4)))
    torch.testing.assert_close(elsewhere((images - mean) / std), expected)


def test_a_folders_code_runs_only_where_it_is_trusted(tmp_path: Path) -> None:
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 10))
    origin = _local(tmp_path / "zoo", '{python = "make.py:make"}', network)
    written = write_checkpoint(tmp_path, 1, network.state_dict(), origin, zoo_folder=tmp_path / "zoo", **WORDS)
    with pytest.raises(UsageError, match="--trust-code"):
        find_source("checkpoint", tmp_path).load(written)
    loaded = find_source("checkpoint", tmp_path, trust_code=True).load(written)
    assert loaded.model(torch.rand(2, 3, 32, 32)).shape == (2, 10)


def _other_weights(folder: Path) -> None:
    state = load_file(folder / WEIGHTS)
    save_file({name: tensor + 1 for name, tensor in state.items()}, folder / WEIGHTS)


def _lost_key(folder: Path) -> None:
    state = load_file(folder / WEIGHTS)
    state.pop("head.bias")
    save_file(state, folder / WEIGHTS)


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (_other_weights, ModelLoadError, "SHA-256|sha256|digest"),
        (_lost_key, ModelLoadError, "SHA-256|sha256|digest"),
        (lambda folder: (folder / WEIGHTS).unlink(), ModelLoadError, WEIGHTS),
        (lambda folder: (folder / WEIGHTS).write_bytes(b"<html>"), ModelLoadError, WEIGHTS),
        (lambda folder: (folder / FILE).unlink(), ModelLoadError, "set AUDITOR_CHECKPOINTS to the folder"),
        (lambda folder: (folder / FILE).write_text("{"), EnvironmentUnusableError, "cannot read the checkpoint's"),
        (lambda folder: (folder / FILE).write_text('{"entry": 1}'), EnvironmentUnusableError, "cannot read"),
    ],
    ids=["other weights", "lost key", "no weights", "html", "no entry", "half an entry", "no entry in it"],
)
def test_damage_is_found(tmp_path: Path, damage: Any, error: type[AuditorError], message: str) -> None:
    origin, model = _demo()
    written = write_checkpoint(tmp_path, 7, model.state_dict(), origin, zoo_folder=None, **WORDS)
    damage(tmp_path / "7")
    with pytest.raises(error, match=message):
        find_source("checkpoint", tmp_path).load(written)


def test_weights_that_do_not_fit_their_architecture(tmp_path: Path) -> None:
    origin, model = _demo()
    state = {name: tensor for name, tensor in model.state_dict().items() if name != "head.bias"}
    written = write_checkpoint(tmp_path, 7, state, origin, zoo_folder=None, **WORDS)
    with pytest.raises(ModelLoadError, match=r"head\.bias"):
        find_source("checkpoint", tmp_path).load(written)


def test_half_written_is_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process ends between the weights and what says what they are; and a disk that is full at the second try."""
    origin, model = _demo()
    first = write_checkpoint(tmp_path, 7, model.state_dict(), origin, zoo_folder=None, **WORDS)
    write_atomically = module.write_atomically

    def interrupted(path: Path) -> Any:
        if path.name == FILE:
            raise OSError(28, "No space left on device")
        return write_atomically(path)

    monkeypatch.setattr(module, "write_atomically", interrupted)
    with pytest.raises(EnvironmentUnusableError, match=r"cannot write the checkpoint .*8: .*No space left"):
        write_checkpoint(tmp_path, 8, model.state_dict(), origin, zoo_folder=None, **WORDS)
    zoo = find_source("checkpoint", tmp_path)
    assert zoo.entries() == [first]
    assert zoo.load(first).model(torch.rand(1, 1, 28, 28)).shape == (1, 10)


def test_numbers_are_in_their_order_and_other_folders_are_none(tmp_path: Path) -> None:
    origin, model = _demo()
    for number in (10, 9, 2):
        write_checkpoint(tmp_path, number, model.state_dict(), origin, zoo_folder=None, **WORDS)
    (tmp_path / "notes").mkdir()
    (tmp_path / "11").mkdir()
    names = [entry.model for entry in find_source("checkpoint", tmp_path).entries()]
    assert names == ["checkpoint:2", "checkpoint:9", "checkpoint:10"]


@pytest.mark.long
def test_it_is_scanned_like_any_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    origin, model = _demo("at-eps0.10")
    monkeypatch.setenv("AUDITOR_CHECKPOINTS", str(tmp_path / "kept"))
    settings.cache_clear()
    empty = CliRunner().invoke(main, ["scan", "checkpoint", "--protocol", "screen"])
    assert (empty.exit_code, empty.stderr.splitlines()[-1][:29]) == (2, "error: there is no checkpoint")
    write_checkpoint(tmp_path / "kept", 3, model.state_dict(), origin, zoo_folder=None, **WORDS)
    listed = CliRunner().invoke(main, ["zoo", "list", "checkpoint", "--format", "json"])
    assert [row["model"] for row in json.loads(listed.stdout)] == ["checkpoint:3"]
    scans = [["demo", "--model", "at-eps0.10"], ["checkpoint"], ["checkpoint", str(tmp_path / "kept"), "--force"]]
    gaps = []
    for words in scans:
        done = CliRunner().invoke(main, ["scan", *words, "--protocol", "screen", "--format", "json"])
        assert done.exit_code == 0, done.output
        gaps.append(json.loads(done.stdout)[0]["gap"])
    assert gaps[0] == pytest.approx(gaps[1])
    assert gaps[0] == pytest.approx(gaps[2])


def test_the_entry_of_another_threat_model(tmp_path: Path) -> None:
    origin, model = _demo()
    written = write_checkpoint(tmp_path, 7, model.state_dict(), replace(origin, eps=0.05), zoo_folder=None, **WORDS)
    assert written.eps == 0.05
