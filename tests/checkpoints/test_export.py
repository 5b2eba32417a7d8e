"""The folder that is handed out: timm and the hub's tools load it, and nothing is ever lost by writing it."""

import errno
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from auditor.checkpoints import export, export_checkpoint
from auditor.errors import AuditorError, EnvironmentUnusableError, ModelLoadError, UsageError
from auditor.records import Transform, ZooEntry
from auditor.records.checkpoints import CheckpointRow
from auditor.zoo import find_source
from auditor.zoo.normalized import inner_network
from auditor.zoo.timm import import_timm
from tests.factories.checkpoint_rows import NO_GAIN, written

REVISION = "0" * 40
FILES = ["README.md", "config.json", "model.safetensors"]
MEAN, STD = (0.5, 0.4, 0.3, 0.2), (0.2, 0.3, 0.4, 0.5)


def moved(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        name: tensor + 0.01 * torch.rand(tensor.shape, generator=generator) if tensor.is_floating_point() else tensor
        for name, tensor in inner_network(network).state_dict().items()
    }


@pytest.fixture
def demo(tmp_path: Path) -> CheckpointRow:
    origin = next(entry for entry in find_source("demo").entries() if entry.model == "demo:standard")
    return written(tmp_path / "kept", moved(find_source("demo").load(origin).model), origin)


def of_timm(name: str, channels: int = 3, **kwargs: Any) -> ZooEntry:
    """A local zoo's entry of one of timm's networks, ten classes."""
    size = 160 if name.startswith("test_vit") else 32
    return ZooEntry(
        model="local:small", source="local", description="", dataset="cifar10", threat_model="Linf", norm="Linf",
        architecture={"timm": name, "version": None, "kwargs": {"num_classes": 10, "in_chans": channels, **kwargs}},
        preprocessing={"mean": list(MEAN[:channels]), "std": list(STD[:channels])}, eps=8 / 255,
        input_size=(channels, size, size), transform=Transform(resize=size + 4, crop=(size, size)),
    )  # fmt: skip


def normalized(images: torch.Tensor, config: dict[str, Any]) -> torch.Tensor:
    mean, std = (torch.tensor(config["pretrained_cfg"][part]).view(1, -1, 1, 1) for part in ("mean", "std"))
    return (images - mean) / std


def logits(model: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(images)
    return found


def in_the_hubs_cache(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The folder where a download of ``someone/robust`` would have put it; nobody is asked."""
    repository = cache / "models--someone--robust"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(REVISION)
    (repository / "snapshots").mkdir()
    (repository / "snapshots" / REVISION).symlink_to(folder, target_is_directory=True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return "hf-hub:someone/robust"


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "channels", "kwargs"),
    [
        ("resnet18", 3, {}),
        ("resnet18", 2, {"global_pool": "max"}),
        ("test_vit.r160_in1k", 3, {}),
        ("test_vit.r160_in1k", 1, {"drop_rate": 0.1}),
    ],
)
def test_timm_gives_the_same_logits_from_the_file_and_from_the_hub(
    name: str, channels: int, kwargs: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin = of_timm(name, channels, **kwargs)
    state = moved(find_source("local", tmp_path).construct(origin))
    row = written(tmp_path / "kept", state, origin, tmp_path)
    images = torch.rand(2, *origin.input_size)
    zoo = find_source("checkpoint", tmp_path / "kept")
    (entry,) = zoo.entries()
    expected = logits(zoo.load(entry).model, images)
    out = tmp_path / "out"
    assert sorted(path.name for path in export_checkpoint(row, out)) == FILES
    config = json.loads((out / "config.json").read_text())
    inputs = normalized(images, config)
    arguments = origin.architecture["kwargs"]
    loaded = import_timm().create_model(name, checkpoint_path=str(out / "model.safetensors"), **arguments)
    torch.testing.assert_close(logits(loaded, inputs), expected)
    assert loaded.state_dict().keys() == load_file(out / "model.safetensors").keys()
    address = in_the_hubs_cache(out, tmp_path / "cache", monkeypatch)
    from_hub = import_timm().create_model(address, pretrained=True)
    torch.testing.assert_close(logits(from_hub, inputs), expected)
    assert (config["num_classes"], len(config["label_names"])) == (10, 10)
    assert config["pretrained_cfg"]["input_size"] == list(origin.input_size)


@pytest.mark.long
def test_a_local_folder_as_newer_versions_of_timm_name_it(tmp_path: Path) -> None:
    """Where timm has ``local-dir:``; older ones refuse the name."""
    origin = of_timm("resnet18")
    row = written(tmp_path / "kept", moved(find_source("local", tmp_path).construct(origin)), origin, tmp_path)
    export_checkpoint(row, tmp_path / "out")
    from timm.models._factory import parse_model_name

    try:
        parse_model_name(f"local-dir:{tmp_path / 'out'}")
    except AssertionError:
        return
    images = torch.rand(2, 3, 32, 32)
    file = str(tmp_path / "out" / "model.safetensors")
    expected = import_timm().create_model("resnet18", num_classes=10, checkpoint_path=file)
    found = import_timm().create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True)
    assert torch.equal(logits(found, images), logits(expected, images))


def test_a_checkpoint_of_timms_own_model_and_timm_resizes_pictures_as_the_audit_did(tmp_path: Path) -> None:
    origin = next(entry for entry in find_source("timm").entries() if entry.model == "timm:test_vit.r160_in1k")
    row = written(tmp_path / "kept", moved(find_source("timm").construct(origin)), origin)
    export_checkpoint(row, tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    theirs = import_timm().get_pretrained_cfg("test_vit.r160_in1k")
    cfg = config["pretrained_cfg"]
    assert (cfg["crop_pct"], cfg["interpolation"]) == (theirs.crop_pct, theirs.interpolation)
    assert (config["architecture"], config["num_classes"]) == ("test_vit", 1000)
    assert not {"tag", "url", "hf_hub_id", "test_input_size"} & cfg.keys()
    card = (tmp_path / "out" / "README.md").read_text()
    assert 'base_model: "timm/test_vit.r160_in1k"' in card
    assert "timm.create_model('test_vit.r160_in1k', checkpoint_path" in card


def test_a_network_that_is_not_timms(demo: CheckpointRow, tmp_path: Path) -> None:
    export_checkpoint(replace(demo, **NO_GAIN), tmp_path / "a" / "b")
    config = json.loads((tmp_path / "a" / "b" / "config.json").read_text())
    assert config["architecture"] == {"name": "small_resnet"}
    assert (config["num_classes"], len(config["label_names"])) == (10, 10)
    assert config["preprocessing"]["inside_the_network"]
    assert config["auditor"]["verdict"] == "no significant gain"
    assert config["auditor"]["checkpoint"] == "checkpoint:7"


def test_again_into_the_same_folder_changes_nothing(demo: CheckpointRow, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    export_checkpoint(demo, out)
    (out / "config.json").unlink()  # as if the first had been killed
    (out / "model.safetensors.123.part").write_text("half")
    export_checkpoint(demo, out)
    assert sorted(path.name for path in out.iterdir() if path.suffix != ".part") == FILES


def _note(out: Path) -> None:
    (out / "notes.txt").write_text("mine")


def _edited_card(out: Path) -> None:
    (out / "README.md").write_text("mine")


def _other_weights(out: Path) -> None:
    (out / "model.safetensors").write_text("mine")


@pytest.mark.parametrize("there", [_note, _edited_card, _other_weights])
def test_what_is_there_already_is_never_lost(there: Any, demo: CheckpointRow, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    there(out)
    (kept,) = out.iterdir()
    with pytest.raises(UsageError, match="choose an empty folder"):
        export_checkpoint(demo, out)
    assert [(path, path.read_text()) for path in out.iterdir()] == [(kept, "mine")]


def test_a_file_in_the_folders_place(demo: CheckpointRow, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(UsageError, match="expected a folder to write to, got the file"):
        export_checkpoint(demo, tmp_path / "out")


def _shifted(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    save_file({name: tensor + 1 for name, tensor in state.items()}, folder / "model.safetensors")


def _shifted_with_its_digest(folder: Path) -> None:
    import hashlib

    _shifted(folder)
    about = json.loads((folder / "entry.json").read_text())
    about["entry"]["file_sha256"] = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    (folder / "entry.json").write_text(json.dumps(about))


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (_shifted, ModelLoadError, "checkpoint:7: model.safetensors: expected SHA-256"),
        (_shifted_with_its_digest, ModelLoadError, "checkpoint:7: expected weights with SHA-256 .* as in the database"),
        (lambda folder: (folder / "model.safetensors").unlink(), ModelLoadError, "checkpoint:7: cannot read"),
        (lambda folder: (folder / "entry.json").unlink(), EnvironmentUnusableError, "cannot read the checkpoint's"),
    ],
    ids=["other weights", "another checkpoint's", "no weights", "no entry"],
)
def test_damage_is_one_line_and_nothing_is_written(
    damage: Any, error: type[AuditorError], message: str, demo: CheckpointRow, tmp_path: Path
) -> None:
    damage(Path(demo.folder))
    with pytest.raises(error, match=message) as caught:
        export_checkpoint(demo, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_weights_that_timms_network_does_not_take(tmp_path: Path) -> None:
    origin = of_timm("resnet18")
    state = moved(find_source("local", tmp_path).construct(replace(origin)))
    row = written(tmp_path / "kept", {f"model.{name}": tensor for name, tensor in state.items()}, origin, tmp_path)
    with pytest.raises(ModelLoadError, match=r"checkpoint:7: model\.safetensors does not fit resnet18"):
        export_checkpoint(row, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("full_at", FILES)
@pytest.mark.parametrize("folder_there", [True, False])
def test_a_full_disk_leaves_nothing_half_done(
    full_at: str, folder_there: bool, demo: CheckpointRow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_atomically, out = export.write_atomically, tmp_path / "out"

    def full(path: Path) -> Any:
        if path.name == full_at:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_atomically(path)

    if folder_there:
        out.mkdir()
    monkeypatch.setattr(export, "write_atomically", full)
    with pytest.raises(EnvironmentUnusableError, match=r"cannot write .*No space left on device; no file was written"):
        export_checkpoint(demo, out)
    assert (list(out.iterdir()) if folder_there else out.exists()) == ([] if folder_there else False)
    monkeypatch.undo()
    export_checkpoint(demo, out)


def test_an_interruption_leaves_nothing_half_done(
    demo: CheckpointRow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_atomically = export.write_atomically

    def interrupted(path: Path) -> Any:
        if path.name == "README.md":
            raise KeyboardInterrupt
        return write_atomically(path)

    monkeypatch.setattr(export, "write_atomically", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export_checkpoint(demo, tmp_path / "out")
    assert not (tmp_path / "out").exists()
