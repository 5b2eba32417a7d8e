"""torchvision's zoo: what it lists, its transforms, and weights that are checked before torchvision loads them."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import nn
from torchvision import models

from auditor.data import CLASSES
from auditor.data.transforms import pipeline
from auditor.errors import ModelLoadError
from auditor.records import ZooEntry
from auditor.zoo import select
from auditor.zoo import torchvision as source
from auditor.zoo.torchvision import TorchvisionZoo
from auditor.zoo.weight_files import WeightFile


@pytest.fixture(scope="module")
def entries() -> list[ZooEntry]:
    return TorchvisionZoo().entries()


def entry(entries: list[ZooEntry], name: str) -> ZooEntry:
    (found,) = select(entries, models=[name])
    return found


def test_it_lists_every_registered_classifier_and_all_its_weights(entries: list[ZooEntry]) -> None:
    names = models.list_models(module=models)
    tagged = {f"{name}.{weights.name}" for name in names for weights in models.get_model_weights(name)}
    listed = [one.model.removeprefix("torchvision:") for one in entries]
    assert len(set(listed)) == len(listed)
    assert set(listed) == {*names, *tagged - {"vgg16.IMAGENET1K_FEATURES"}}  # which has no classifier
    others = set(models.list_models()) - set(names)
    assert {"quantized_resnet50", "fasterrcnn_resnet50_fpn", "fcn_resnet50"} <= others
    assert others.isdisjoint(listed)
    assert {one.training["pretrained"] for one in entries if "." in one.model} == {True}
    assert {one.training["pretrained"] for one in entries if "." not in one.model} == {False}


def test_all_have_imagenets_classes_in_auditors_order() -> None:
    plain = [name.partition(" (")[0] for name in CLASSES["imagenet"]]
    theirs = models.ResNet50_Weights.DEFAULT.meta["categories"]
    different = [pair for pair in zip(theirs, plain, strict=True) if pair[0] != pair[1]]
    assert different == [("crane bird", "crane"), ("maillot tank suit", "maillot")]


@pytest.mark.long
def test_photographs_become_inputs_as_torchvisions_own_transforms_make_them(entries: list[ZooEntry]) -> None:
    photographs = [Image.fromarray(pixels[:-1, :-2]) for pixels in load_sample_images().images]
    compared = set()
    for one in entries:
        if not one.training["pretrained"]:
            continue
        name, _, tag = one.model.removeprefix("torchvision:").partition(".")
        theirs = models.get_model_weights(name)[tag].transforms()
        if repr(theirs) in compared:
            continue
        compared.add(repr(theirs))
        mean, std = (torch.tensor(one.preprocessing[part]).view(3, 1, 1) for part in ("mean", "std"))
        for photograph in photographs:
            ours = torch.from_numpy(np.array(pipeline(one.transform)(photograph))).permute(2, 0, 1) / 255
            assert tuple(ours.shape) == one.input_size
            assert torch.allclose((ours - mean) / std, theirs(photograph), atol=1e-6), one.model
    assert len(compared) > 20


def test_an_architecture_is_constructed_for_the_smallest_input_of_its_weights(entries: list[ZooEntry]) -> None:
    sizes = {name: entry(entries, name).input_size[1] for name in ("vit_h_14", "inception_v3", "efficientnet_b7")}
    assert sizes == {"vit_h_14": 224, "inception_v3": 299, "efficientnet_b7": 600}
    assert entry(entries, "vit_h_14.IMAGENET1K_SWAG_E2E_V1").input_size == (3, 518, 518)


def test_random_weights_are_always_the_same_flagged_and_leave_the_generator_alone(entries: list[ZooEntry]) -> None:
    chosen, state = entry(entries, "squeezenet1_1"), torch.get_rng_state()
    first, second = TorchvisionZoo().load(chosen), TorchvisionZoo().load(chosen)
    assert first.weights_sha256 == second.weights_sha256
    assert first.flags == ("untrained",)
    assert "torchvision:squeezenet1_1.IMAGENET1K_V1" in first.notes[0]
    assert torch.equal(torch.get_rng_state(), state)
    assert select(entries, models=["squeezenet1_1.IMAGENET1K_V1"], pretrained_only=True)


def moved(model: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def published(monkeypatch: pytest.MonkeyPatch, path: Path, content: object) -> None:
    """Torchvision's weights are in a file whose name has no digest, because these are not the published ones."""
    torch.save(content, path)
    monkeypatch.setattr(source, "hub_weight_file", lambda url: WeightFile(path, url, url))


def old_name(name: str) -> str:
    """The name of a weight in the published files of DenseNet, which are older than its code and count no batches."""
    return re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)", r"\1.\2", name)


@pytest.mark.long
@pytest.mark.parametrize("name", ["squeezenet1_1", "densenet121"])
def test_weights_come_from_the_cache_and_normalization_is_inside(
    name: str, entries: list[ZooEntry], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = moved(models.get_model(name))
    state = {key: tensor for key, tensor in original.state_dict().items() if "num_batches" not in key}
    content = {old_name(key): tensor for key, tensor in state.items()}
    assert (content.keys() != state.keys()) == (name == "densenet121")
    published(monkeypatch, tmp_path / "weights.pth", content)
    chosen = entry(entries, f"{name}.IMAGENET1K_V1")
    assert TorchvisionZoo().missing(chosen) is None
    assert TorchvisionZoo().weight_bytes([chosen]) == (tmp_path / "weights.pth").stat().st_size
    loaded = TorchvisionZoo().load(chosen)
    images = torch.rand(2, 3, 224, 224)
    mean, std = (torch.tensor(chosen.preprocessing[part]).view(1, 3, 1, 1) for part in ("mean", "std"))
    with torch.no_grad():
        assert torch.equal(loaded.model(images), original((images - mean) / std))
    assert (loaded.notes, loaded.flags, loaded.model.training) == ((), (), False)


@pytest.mark.long
@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_networks_with_auxiliary_heads_give_one_output_in_training_too(
    name: str, entries: list[ZooEntry], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = moved(models.get_model(name, init_weights=False, aux_logits=True, transform_input=True))
    published(monkeypatch, tmp_path / "weights.pth", original.state_dict())
    chosen = entry(entries, f"{name}.IMAGENET1K_V1")
    loaded, constructed = TorchvisionZoo().load(chosen).model, TorchvisionZoo().construct(chosen)
    constructed.load_state_dict(loaded.state_dict())
    images = torch.rand(2, *chosen.input_size)
    mean, std = (torch.tensor(chosen.preprocessing[part]).view(1, 3, 1, 1) for part in ("mean", "std"))
    with torch.no_grad():
        expected = original((images - mean) / std)
        for model in (loaded, constructed.eval()):
            assert torch.equal(model(images), expected)
    assert constructed.train()(images).shape == (2, 1000)


def _cut(state: dict[str, torch.Tensor]) -> None:
    state.pop("classifier.1.bias")


def _add(state: dict[str, torch.Tensor]) -> None:
    state["surprise"] = torch.zeros(1)


def _bend(state: dict[str, torch.Tensor]) -> None:
    state["classifier.1.bias"] = torch.zeros(10)


@pytest.mark.parametrize(
    ("damage", "words"), [(_cut, "classifier.1.bias"), (_add, "surprise"), (_bend, "size mismatch")]
)
def test_weights_that_do_not_fill_the_network_are_refused(
    damage, words: str, entries: list[ZooEntry], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = models.get_model("squeezenet1_1").state_dict()
    damage(state)
    published(monkeypatch, tmp_path / "weights.pth", state)
    with pytest.raises(ModelLoadError, match="torchvision cannot construct it") as caught:
        TorchvisionZoo().load(entry(entries, "squeezenet1_1.IMAGENET1K_V1"))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.long
@pytest.mark.parametrize("there", ["<!DOCTYPE html><title>Sign in</title>", "another network's weights", None])
def test_files_in_the_cache_and_downloads_are_checked(
    there: str | None, entries: list[ZooEntry], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    file = tmp_path / "hub" / "checkpoints" / "squeezenet1_1-b8a52dc0.pth"
    said = "download failed"
    if there:
        file.parent.mkdir(parents=True)
        file.write_text(there)
        said = "an HTML page"
    if there and "html" not in there:
        torch.save({"weight": torch.zeros(1)}, file)
        said = "not the expected one"
    chosen, started = entry(entries, "squeezenet1_1.IMAGENET1K_V1"), time.monotonic()
    assert (TorchvisionZoo().missing(chosen) is None) == bool(there)
    with pytest.raises(ModelLoadError, match="download failed") as caught:
        TorchvisionZoo().load(chosen)
    assert said in str(caught.value)
    assert file.name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert time.monotonic() - started < 30


@pytest.mark.long
def test_from_the_command_to_the_stored_row_and_what_fails_does_not_end_the_scan(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    np.savez(tmp_path / "d.npz", images=random.integers(0, 256, (4, 3, 250, 240), dtype=np.uint8), labels=np.arange(4))
    command = [
        sys.executable, "-m", "auditor", "scan", "torchvision", "--match", "squeezenet1_1*", "--protocol", "quick",
        "--samples", "4", "--data", str(tmp_path / "d.npz"), "--sketch", "8", "--format", "json",
    ]  # fmt: skip
    environment = os.environ | {"TORCH_HOME": str(tmp_path), "HTTPS_PROXY": "http://127.0.0.1:1"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 1, result.stderr
    rows = {row["model"]: row for row in json.loads(result.stdout)}
    done, failed = rows["torchvision:squeezenet1_1"], rows["torchvision:squeezenet1_1.IMAGENET1K_V1"]
    assert (done["status"], done["hierarchy"], done["norm"], done["eps"], done["n"]) == (
        "done", "imagenet", "Linf", 4 / 255, 4,
    )  # fmt: skip
    assert "untrained" in done["flags"]
    assert done["affinity_error"] < 1e-3
    assert failed["status"] == "failed"
    assert failed["reason"].startswith("download failed")
