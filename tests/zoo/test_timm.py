"""timm's zoo: what it lists, that weights come from the hub's cache, and what is said when they cannot."""

import json
import os
import socket
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # timm 1.0.9 uses what torch has since deprecated
    import timm

from huggingface_hub import constants
from PIL import Image
from safetensors.torch import load_file, save_file
from timm.data import create_transform, resolve_data_config

from auditor.data import CLASSES
from auditor.data.transforms import pipeline
from auditor.errors import ModelLoadError
from auditor.records import ZooEntry
from auditor.zoo import select
from auditor.zoo.timm import TimmZoo
from tests.factories.hub import fill_hub, weights_file

SMALL = "test_vit.r160_in1k"


@pytest.fixture(scope="module")
def entries() -> list[ZooEntry]:
    return TimmZoo().entries()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "hf" / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    return folder


def entry(entries: list[ZooEntry], name: str) -> ZooEntry:
    (found,) = select(entries, models=[name])
    return found


def test_it_lists_every_pretrained_tag_and_every_architecture(entries: list[ZooEntry]) -> None:
    names = {one.model.removeprefix("timm:") for one in entries}
    assert len(names) == len(entries)
    assert names == {*timm.list_models(), *timm.list_models(pretrained=True)}
    trained = [one for one in entries if one.training["pretrained"]]
    assert {one.model.removeprefix("timm:") for one in trained} == set(timm.list_models(pretrained=True))
    assert entries[: len(trained)] == trained
    assert all("random weights" in one.description for one in entries[len(trained) :])
    assert {(one.norm, one.eps) for one in entries} == {("Linf", 4 / 255)}


@pytest.mark.parametrize(
    ("name", "dataset"),
    [
        ("resnet18.a1_in1k", "imagenet"),
        ("resnet18", "imagenet"),
        ("convnext_nano.in12k", "imagenet12k"),
        ("tf_efficientnetv2_m.in21k", "imagenet21k"),
        ("resnet101_clip.openai", "features"),
        ("convnextv2_nano.fcmae", "features"),
    ],
)
def test_the_number_of_logits_names_the_data_set(entries: list[ZooEntry], name: str, dataset: str) -> None:
    assert entry(entries, name).dataset == dataset
    assert "imagenet" in CLASSES


@pytest.mark.parametrize(
    "name",
    ["resnet18.a1_in1k", "test_vit.r160_in1k", "tf_efficientnet_b0.ns_jft_in1k", "convnext_nano.in12k_ft_in1k",
     "vit_base_patch16_384.augreg_in21k_ft_in1k", "xcit_nano_12_p8_224.fb_in1k",
     "convnext_base.clip_laion2b_augreg_ft_in12k_in1k_384"],
)  # fmt: skip
def test_pictures_become_inputs_as_timm_itself_would_make_them(entries: list[ZooEntry], name: str) -> None:
    chosen, config = entry(entries, name), resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
    theirs = create_transform(**config, is_training=False)
    picture = Image.effect_noise((500, 375), 60).convert("RGB")
    mean, std = (torch.tensor(chosen.preprocessing[part]).view(3, 1, 1) for part in ("mean", "std"))
    ours = torch.from_numpy(np.array(pipeline(chosen.transform)(picture))).permute(2, 0, 1) / 255
    assert tuple(ours.shape) == chosen.input_size
    assert torch.allclose((ours - mean) / std, theirs(picture), atol=1e-6)


def test_weights_come_from_the_hubs_cache_and_normalization_is_inside(entries: list[ZooEntry], hub: Path) -> None:
    chosen, original = entry(entries, SMALL), fill_hub(hub, SMALL)
    assert TimmZoo().missing(chosen) is None
    loaded = TimmZoo().load(chosen)
    images = torch.rand(2, *chosen.input_size)
    mean, std = (torch.tensor(chosen.preprocessing[part]).view(1, 3, 1, 1) for part in ("mean", "std"))
    with torch.no_grad():
        assert torch.equal(loaded.model(images), original((images - mean) / std))
    assert not loaded.model.training
    assert (loaded.notes, loaded.flags) == ((), ())
    assert TimmZoo().load(chosen).weights_sha256 == loaded.weights_sha256


def test_random_weights_are_always_the_same_flagged_and_leave_the_generator_alone(entries: list[ZooEntry]) -> None:
    chosen, state = entry(entries, "test_vit"), torch.get_rng_state()
    first, second = TimmZoo().load(chosen), TimmZoo().load(chosen)
    assert first.weights_sha256 == second.weights_sha256
    assert first.flags == ("untrained",)
    assert "timm:test_vit.r160_in1k" in first.notes[0]
    assert torch.equal(torch.get_rng_state(), state)


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub that nobody answers for."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")


@pytest.mark.usefixtures("nowhere")
def test_without_a_way_to_the_hub_it_fails_at_once_and_says_so(entries: list[ZooEntry], hub: Path) -> None:
    chosen, started = entry(entries, SMALL), time.monotonic()
    assert TimmZoo().missing(chosen) == "timm/test_vit.r160_in1k"
    with pytest.raises(ModelLoadError, match=r"^download failed: .*is not in the cache .*cannot be reached"):
        TimmZoo().load(chosen)
    assert time.monotonic() - started < 60
    fill_hub(hub, SMALL)
    TimmZoo().load(chosen)


def test_the_hubs_offline_mode_is_honoured(entries: list[ZooEntry], hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelLoadError, match="HF_HUB_OFFLINE is set"):
        TimmZoo().load(entry(entries, SMALL))
    fill_hub(hub, SMALL)
    TimmZoo().load(entry(entries, SMALL))
    assert constants.HF_HUB_OFFLINE


def _cut(state: dict[str, torch.Tensor]) -> None:
    state.pop("head.bias")


def _add(state: dict[str, torch.Tensor]) -> None:
    state["surprise"] = torch.zeros(1)


def _bend(state: dict[str, torch.Tensor]) -> None:
    state["head.weight"] = state["head.weight"][:, :-1].contiguous()


@pytest.mark.parametrize(("damage", "words"), [(_cut, "head.bias"), (_add, "surprise"), (_bend, "size mismatch")])
def test_weights_that_do_not_fill_the_network_are_refused(
    damage, words: str, entries: list[ZooEntry], hub: Path
) -> None:
    fill_hub(hub, SMALL)
    file = weights_file(hub, "test_vit")
    state = load_file(file)
    damage(state)
    save_file(state, file)
    with pytest.raises(ModelLoadError, match=words) as caught:
        TimmZoo().load(entry(entries, SMALL))
    assert "\n" not in str(caught.value)


def test_a_damaged_file_in_the_cache_is_refused(entries: list[ZooEntry], hub: Path) -> None:
    fill_hub(hub, SMALL)
    weights_file(hub, "test_vit").write_text("<!DOCTYPE html><html>please log in</html>")
    with pytest.raises(ModelLoadError, match="timm cannot construct"):
        TimmZoo().load(entry(entries, SMALL))


def test_a_pickle_in_the_cache_runs_nothing(entries: list[ZooEntry], hub: Path, tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    fill_hub(hub, SMALL)
    file = weights_file(hub, "test_vit")
    file.unlink()
    torch.save({"head.weight": Payload()}, file.with_name("pytorch_model.bin"))
    with pytest.raises(ModelLoadError):
        TimmZoo().load(entry(entries, SMALL))
    assert not (tmp_path / "ran").exists()


@pytest.mark.long
@pytest.mark.parametrize("there", ["<!DOCTYPE html><title>Sign in</title>", "another network's weights", None])
def test_weights_from_an_address_are_checked_like_all_downloads(
    there: str | None, entries: list[ZooEntry], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    chosen = entry(entries, "legacy_seresnet18.in1k")
    file = tmp_path / "hub" / "checkpoints" / Path(timm.get_pretrained_cfg("legacy_seresnet18.in1k").url).name
    said = "download failed"
    if there:
        file.parent.mkdir(parents=True)
        file.write_text(there)
        said = "an HTML page" if "html" in there else "no checkpoint"
    if there and "html" not in there:
        torch.save({"weight": torch.zeros(1)}, file)
        said = "not the expected one"
    with pytest.raises(ModelLoadError, match=f"{said}.*|download failed") as caught:
        TimmZoo().load(chosen)
    assert said in str(caught.value)
    assert "download failed" in str(caught.value)


def test_features_are_no_logits(entries: list[ZooEntry]) -> None:
    with pytest.raises(ModelLoadError, match="gives features, not logits"):
        TimmZoo().load(entry(entries, "convnextv2_nano.fcmae"))


@pytest.mark.long
def test_from_the_command_to_the_stored_row_and_what_fails_does_not_end_the_scan(tmp_path: Path) -> None:
    fill_hub(tmp_path / "hub", SMALL)
    command = [
        sys.executable, "-m", "auditor", "scan", "timm", "--match", "test_[vb]*", "--pretrained-only",
        "--protocol", "screen", "--format", "json",
    ]  # fmt: skip
    environment = os.environ | {"HF_HOME": str(tmp_path), "HF_ENDPOINT": "http://127.0.0.1:9"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 1, result.stderr
    rows = {row["model"]: row for row in json.loads(result.stdout)}
    done, failed = rows["timm:test_vit.r160_in1k"], rows["timm:test_byobnet.r160_in1k"]
    assert (done["status"], done["hierarchy"], done["norm"], done["eps"]) == ("done", "imagenet", "Linf", 4 / 255)
    assert done["gap"] is not None
    assert failed["status"] == "failed"
    assert failed["reason"].startswith("download failed")
