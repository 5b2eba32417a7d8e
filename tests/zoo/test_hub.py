"""Models of the Hugging Face hub: which are listed, preprocessing as in the libraries, and weights that run nothing."""

import json
import logging
import os
import pickle
import shutil
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_sample_images

pytest.importorskip("transformers", reason="needs transformers: pip install 'auditor[hub]'")

import transformers
from huggingface_hub import constants

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # timm 1.0.9 uses what torch has since deprecated
    import timm  # noqa: F401

from timm.data import ImageNetInfo, create_transform, resolve_data_config

import auditor.zoo.hub
from auditor.data import CLASSES, has_hierarchy, hierarchy_of
from auditor.data.transforms import pipeline
from auditor.errors import EnvironmentUnusableError, ModelLoadError, NotFoundError
from auditor.linear import implicit_weight
from auditor.records import ZooEntry
from auditor.zoo import find_source
from auditor.zoo.checkpoint import write_checkpoint
from auditor.zoo.hub import HubZoo
from auditor.zoo.hub.labels import data_set_of, labels_of
from auditor.zoo.hub.processors import apply, check_processor, describe_processor, read_processor
from auditor.zoo.normalized import NormalizedOutputs, inner_network
from tests.factories.fake_hub import FakeHub, serve_hub
from tests.factories.hub import REVISION, fill_hub, put_into_cache, save_timm, save_vit

OTHER = "f" * 40
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
PLAIN = {"image_size": 32, "patch_size": 8} | SMALL


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "hf" / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    return folder


@pytest.fixture(scope="module")
def photographs() -> list[Image.Image]:
    return [Image.fromarray(pixels[:-1, :-2]) for pixels in load_sample_images().images]


def only(zoo: HubZoo) -> ZooEntry:
    (entry,) = zoo.entries()
    return entry


def change(folder: Path, **changes: object) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


def test_a_folder_is_one_snapshot_or_holds_several(tmp_path: Path) -> None:
    save_vit(tmp_path / "zoo" / "a")
    save_timm(tmp_path / "zoo" / "b", ["x", "y"])
    entry = only(HubZoo(tmp_path / "zoo" / "a"))
    assert (entry.model, entry.place, entry.input_size) == ("hub:a", str(tmp_path / "zoo" / "a"), (3, 32, 32))
    assert (entry.norm, entry.eps) == ("Linf", 4 / 255)
    assert [one.model for one in HubZoo(tmp_path / "zoo").entries()] == ["hub:a", "hub:b"]
    assert HubZoo(tmp_path / "zoo").entries()[0] == entry
    with pytest.raises(NotFoundError, match=r"expected a snapshot of the hub, with config\.json, in .*, got none"):
        HubZoo(tmp_path / "zoo" / "a" / "nothing").entries()


def test_the_cache_is_listed_by_branch_and_commit_and_other_repositories_are_left_out(
    hub: Path, tmp_path: Path
) -> None:
    with pytest.raises(NotFoundError, match="no image classifier in the hub's cache"):
        HubZoo().entries()
    vit = save_vit(tmp_path / "vit")
    put_into_cache(hub, "me/vit", vit)
    put_into_cache(hub, "me/vit", vit, OTHER, ref=None)
    put_into_cache(hub, "me/vit", vit, "e" * 40, ref="v2")
    put_into_cache(hub, "me/text", change(save_vit(tmp_path / "text"), architectures=["BertModel"]))
    entries = HubZoo().entries()
    assert [one.model for one in entries] == ["hub:me/vit", "hub:me/vit@v2", f"hub:me/vit@{OTHER}"]
    assert [one.architecture["revision"] for one in entries] == [REVISION, "e" * 40, OTHER]
    assert {one.place for one in entries} == {None}
    assert only(HubZoo(Path("me/vit@v2"))) == entries[1]
    with pytest.raises(
        ModelLoadError, match=r"me/text: expected an image classifier .*, got architectures 'BertModel'"
    ):
        HubZoo(Path("me/text")).entries()


def hide(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make imports of a library fail, as where its extra is not installed."""
    own = {"timm": "auditor.zoo.hub.timm_models", "transformers": "auditor.zoo.hub.transformers_models"}[library]
    monkeypatch.delitem(sys.modules, own, raising=False)
    monkeypatch.delattr(auditor.zoo.hub, own.rpartition(".")[2], raising=False)
    for name in [one for one in sys.modules if one == library or one.startswith(f"{library}.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)


@pytest.mark.parametrize(("library", "extra"), [("timm", "timm"), ("transformers", "hub")])
def test_without_one_library_the_cache_lists_what_the_other_reads(
    library: str,
    extra: str,
    hub: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    save_vit(tmp_path / "transformers")
    save_timm(tmp_path / "timm", ["x", "y"])
    for number in range(5):
        for name in ("transformers", "timm"):
            put_into_cache(hub, f"me/{name}{number}", tmp_path / name)
    other = {"timm": "transformers", "transformers": "timm"}[library]
    hide(library, monkeypatch)
    assert [one.model for one in HubZoo().entries()] == [f"hub:me/{other}{number}" for number in range(5)]
    (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    named = f"me/{library}0, me/{library}1, me/{library}2 and 2 more"
    assert line.startswith(f"left out of the hub's cache: {named}, because {library} cannot be imported")
    assert f"pip install 'auditor[{extra}]'" in line
    with pytest.raises(EnvironmentUnusableError, match=rf"pip install 'auditor\[{extra}\]'"):
        HubZoo(Path(f"me/{library}0")).entries()
    for number in range(5):
        shutil.rmtree(hub / f"models--me--{other}{number}")
    with pytest.raises(EnvironmentUnusableError, match=rf"{library} cannot be imported: pip install"):
        HubZoo().entries()


def test_labels_become_classes_of_a_known_data_set_or_of_the_models_own(tmp_path: Path) -> None:
    entry = only(HubZoo(save_vit(tmp_path / "vit", ["cat", "dog", "newt"])))
    assert entry.dataset == "vit"
    assert hierarchy_of(entry).classes == ("cat", "dog", "newt")
    cifar = only(HubZoo(save_vit(tmp_path / "cifar", [name.title() for name in CLASSES["cifar10"]])))
    assert (cifar.dataset, cifar.own_data) == ("cifar10", None)
    info = ImageNetInfo()
    synonyms = [info.index_to_description(number) for number in range(1000)]
    assert synonyms[0] == "tench, Tinca tinca"
    assert data_set_of("x", synonyms) == ("imagenet", None)
    assert data_set_of("x", synonyms[::-1])[0] == "x"
    assert data_set_of("x", ["a", "b", "a"])[1].classes == ("a (0)", "b", "a (2)")
    assert all(map(has_hierarchy, (entry, cifar)))
    assert labels_of({1: "b", "0": "a\n"}, "x") == ("a", "b")
    for wrong in ({}, {"0": "a"}, {"1": "a", "2": "b"}, {"0": "a", "1": None}, ["a", "b"]):
        with pytest.raises(ModelLoadError, match="expected id2label"):
            labels_of(wrong, "x")


def test_logits_are_those_of_the_library_with_its_own_image_processor(
    tmp_path: Path, photographs: list[Image.Image]
) -> None:
    folder = save_vit(tmp_path / "vit")
    entry = only(HubZoo(folder))
    loaded = HubZoo(folder).load(entry)
    theirs = transformers.AutoModelForImageClassification.from_pretrained(folder).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    pixels = np.stack([np.asarray(pipeline(entry.transform)(one)).transpose(2, 0, 1) for one in photographs])
    with torch.no_grad():
        expected = theirs(**processor(images=photographs, return_tensors="pt")).logits
        got = loaded.model(torch.from_numpy(pixels) / 255)
    assert torch.allclose(got, expected, atol=1e-5)
    assert expected.std() > 0.01
    assert not loaded.model.training
    assert loaded.weights_sha256 == HubZoo(folder).load(entry).weights_sha256
    same = HubZoo(folder).construct(entry)
    inner_network(same).load_state_dict(inner_network(loaded.model).state_dict())
    with torch.no_grad():
        assert torch.equal(same.eval()(torch.from_numpy(pixels) / 255), got)


PROCESSORS = {
    "Beit": {}, "Bit": {}, "CLIP": {}, "ConvNext": {"size": {"shortest_edge": 224}}, "DeiT": {}, "EfficientNet": {},
    "Levit": {}, "MobileNetV1": {}, "MobileNetV2": {}, "MobileViT": {}, "PoolFormer": {}, "Pvt": {}, "Segformer": {},
    "Siglip": {}, "ViT": {}, "Large": {}, "Old": {},
}  # fmt: skip


@pytest.mark.parametrize("kind", PROCESSORS)
def test_photographs_become_inputs_as_image_processors_of_transformers_make_them(
    kind: str, tmp_path: Path, photographs: list[Image.Image]
) -> None:
    name = {"Large": "ConvNext", "Old": "EfficientNet"}.get(kind, kind)
    options = PROCESSORS[kind] | ({"rescale_offset": True, "include_top": True} if kind == "Old" else {})
    getattr(transformers, f"{name}ImageProcessorPil")(**options).save_pretrained(tmp_path)
    processor = read_processor(tmp_path)
    found = describe_processor(processor, 3, "x")
    check_processor(processor, found, 3, "x")
    tensors = getattr(transformers, f"{name}ImageProcessor").from_pretrained(tmp_path)
    level = 1 / (255 * min(found.std))
    for photograph in photographs:
        ours = apply(found, photograph)
        exactly = np.asarray(processor(images=photograph, return_tensors="np")["pixel_values"][0])
        nearly = np.asarray(tensors(images=photograph, return_tensors="np")["pixel_values"][0])
        assert np.abs(ours - exactly).max() < 1e-5
        assert np.abs(ours - nearly).max() < 2.01 * level  # that variant rounds in other places
        assert np.abs(ours - nearly).mean() < 0.05 * level


def test_a_processor_that_does_more_is_refused(tmp_path: Path) -> None:
    folder = save_vit(tmp_path / "vit")
    transformers.DonutImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    entry = only(HubZoo(folder))
    with pytest.raises(ModelLoadError, match="DonutImageProcessorPil does more than resize, crop and normalize"):
        HubZoo(folder).load(entry)
    transformers.ViTImageProcessorPil(size={"shortest_edge": 32}).save_pretrained(folder)
    with pytest.raises(ModelLoadError, match="keeps the shape of pictures, so inputs have no one size"):
        HubZoo(folder).entries()
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(ModelLoadError, match="no image processor of transformers"):
        HubZoo(folder).entries()


REFUSED = [
    ({"auto_map": {"AutoModelForImageClassification": "code.Net"}}, "names Python code of the repository"),
    ({"architectures": ["ViTModel"]}, "expected an image classifier .*, got architectures 'ViTModel'"),
    ({"architectures": None}, "got architectures None"),
    ({"architectures": [["x"]]}, "expected an image classifier"),
    ({"quantization_config": {"quant_method": "gptq"}}, "quantized weights are not supported"),
    ({"problem_type": "multi_label_classification"}, "expected one class for each picture"),
    ({"model_type": "no_such_type"}, "is refused by transformers"),
    ({"id2label": {"0": "one"}}, "expected id2label"),
]


@pytest.mark.parametrize(("changes", "words"), REFUSED)
def test_what_is_no_image_classifier_of_the_library_is_refused_in_one_line(
    changes: dict[str, object], words: str, tmp_path: Path
) -> None:
    folder = change(save_vit(tmp_path / "vit"), **changes)
    with pytest.raises(ModelLoadError, match=words) as caught:
        HubZoo(folder).entries()
    assert "\n" not in str(caught.value)


def test_code_of_a_repository_is_never_run(tmp_path: Path) -> None:
    folder, mark = save_vit(tmp_path / "vit"), tmp_path / "ran"
    (folder / "code.py").write_text(f"open({str(mark)!r}, 'w')\nclass Net: pass\nclass Processor: pass\n")
    for name in ("preprocessor_config.json", "config.json"):
        path = folder / name
        kinds = ("AutoConfig", "AutoModelForImageClassification", "AutoImageProcessor")
        map_ = {"auto_map": dict.fromkeys(kinds, "code.Net")}
        before = path.read_text()
        path.write_text(json.dumps(json.loads(before) | map_))
        with pytest.raises(ModelLoadError, match=f"{name} names Python code of the repository"):
            HubZoo(folder).entries()
        path.write_text(before)
    assert not mark.exists()
    assert HubZoo(folder).entries()


def test_safetensors_are_preferred_and_pickles_are_read_as_data_only(tmp_path: Path) -> None:
    folder, mark = save_vit(tmp_path / "vit"), tmp_path / "ran"
    entry, state = only(HubZoo(folder)), load_file(tmp_path / "vit" / "model.safetensors")
    expected = HubZoo(folder).load(entry).weights_sha256

    class Payload:
        def __reduce__(self):
            return (Path.touch, (mark,))

    torch.save(state | {"classifier.bias": Payload()}, folder / "pytorch_model.bin")
    assert HubZoo(folder).load(entry).weights_sha256 == expected
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelLoadError, match="none of its code was run"):
        HubZoo(folder).load(entry)
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Payload()))
    with pytest.raises(ModelLoadError, match="pickle"):
        HubZoo(folder).load(entry)
    assert not mark.exists()
    torch.save(state, folder / "pytorch_model.bin")
    assert HubZoo(folder).load(entry).weights_sha256 == expected
    (folder / "pytorch_model.bin").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ModelLoadError, match="a pointer of Git LFS"):
        HubZoo(folder).load(entry)
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(ModelLoadError, match="no weights in"):
        HubZoo(folder).load(entry)


def test_shards_are_read_together(tmp_path: Path, hub: Path) -> None:
    folder = save_vit(tmp_path / "vit")
    expected = HubZoo(folder).load(only(HubZoo(folder))).weights_sha256
    transformers.ViTForImageClassification.from_pretrained(folder).save_pretrained(folder, max_shard_size="20KB")
    (folder / "model.safetensors").unlink(missing_ok=True)
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    assert HubZoo(folder).load(only(HubZoo(folder))).weights_sha256 == expected
    snapshot = put_into_cache(hub, "me/vit", folder)
    for shard in snapshot.glob("model-*"):  # as the cache keeps them
        shard.rename(blob := snapshot.parent.parent / shard.name)
        shard.symlink_to(blob)
    assert HubZoo().load(only(HubZoo())).weights_sha256 == expected
    index = folder / "model.safetensors.index.json"
    index.write_text(index.read_text().replace("model-00001", "../model-00001"))
    with pytest.raises(ModelLoadError, match="expected a weight_map from names to files beside it"):
        HubZoo(folder).load(only(HubZoo(folder)))


@pytest.mark.parametrize("damage", ["cut", "added", "bent", "infinite"])
def test_weights_that_do_not_fill_the_network_are_refused(damage: str, tmp_path: Path) -> None:
    folder = save_vit(tmp_path / "vit")
    state = load_file(folder / "model.safetensors")
    words = {
        "cut": "missing keys.*classifier.bias",
        "added": "unexpected keys.*surprise",
        "bent": "mismatched keys.*classifier.bias",
        "infinite": "classifier.bias holds values that are not finite",
    }[damage]
    if damage == "cut":
        del state["classifier.bias"]
    elif damage == "added":
        state["surprise"] = torch.zeros(1)
    else:
        state["classifier.bias"] = torch.zeros(7) if damage == "bent" else torch.full((3,), torch.inf)
    save_file(state, folder / "model.safetensors")
    with pytest.raises(ModelLoadError, match=words) as caught:
        HubZoo(folder).load(only(HubZoo(folder)))
    assert "\n" not in str(caught.value)


def test_half_precision_weights_are_audited_in_single_precision(tmp_path: Path) -> None:
    folder = change(save_vit(tmp_path / "vit"), dtype="float16", torch_dtype="float16")
    state = load_file(folder / "model.safetensors")
    save_file({name: tensor.half() for name, tensor in state.items()}, folder / "model.safetensors")
    model = HubZoo(folder).load(only(HubZoo(folder))).model
    assert {tensor.dtype for tensor in model.state_dict().values() if tensor.is_floating_point()} == {torch.float32}


@pytest.mark.parametrize("cached", [True, False])
def test_networks_of_timm_are_those_of_timm(
    cached: bool, tmp_path: Path, hub: Path, photographs: list[Image.Image]
) -> None:
    original = save_timm(tmp_path / "net", ["a", "b", "c"])
    zoo = HubZoo(None if cached else tmp_path / "net")
    if cached:
        put_into_cache(hub, "me/net", tmp_path / "net")
    entry = only(zoo)
    assert (entry.dataset, hierarchy_of(entry).classes) == (entry.model.removeprefix("hub:"), ("a", "b", "c"))
    assert zoo.missing(entry) is None
    assert zoo.weight_bytes([entry]) == (tmp_path / "net" / "model.safetensors").stat().st_size
    theirs = create_transform(**resolve_data_config(model=original), is_training=False)
    pixels = np.stack([np.asarray(pipeline(entry.transform)(one)).transpose(2, 0, 1) for one in photographs])
    with torch.no_grad():
        expected = original(torch.stack([theirs(one) for one in photographs]))
        for model in (zoo.load(entry).model, zoo.construct(entry).eval()):
            inner_network(model).load_state_dict(original.state_dict())
            assert torch.allclose(model(torch.from_numpy(pixels) / 255), expected, atol=1e-5)
        assert torch.equal(
            inner_network(zoo.load(entry).model)(torch.ones(1, *entry.input_size)),
            original(torch.ones(1, *entry.input_size)),
        )


def test_timms_own_repositories_have_imagenets_classes(hub: Path) -> None:
    fill_hub(hub, "test_vit.r160_in1k")
    (snapshot,) = hub.glob("models--*/snapshots/*")
    settings = {"input_size": [3, 160, 160], "fixed_input_size": True}
    config = {"architecture": "test_vit", "num_classes": 1000, "pretrained_cfg": settings}
    (snapshot / "config.json").write_text(json.dumps(config))
    entry = only(HubZoo())
    assert (entry.model, entry.dataset) == ("hub:timm/test_vit.r160_in1k", "imagenet")
    loaded, constructed = HubZoo().load(entry).model, HubZoo().construct(entry)
    constructed.load_state_dict(loaded.state_dict())
    assert loaded(torch.rand(1, 3, 160, 160)).shape == (1, 1000)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architecture": "no_such_net"}, "has no architecture 'no_such_net'"),
        ({"architecture": 7}, "expected architecture, pretrained_cfg and model_args"),
        ({"model_args": {"checkpoint_path": "/etc/passwd"}}, "may not hold 'checkpoint_path'"),
        ({"model_args": {"device": "meta"}}, "may not hold 'device'"),
        ({"num_classes": "many"}, r"is not one of timm's"),
    ],
)
def test_configurations_that_timm_cannot_use_are_refused(
    changes: dict[str, object], words: str, tmp_path: Path
) -> None:
    save_timm(tmp_path / "net")
    with pytest.raises(ModelLoadError, match=words):
        HubZoo(change(tmp_path / "net", **changes)).entries()


def test_files_that_timms_configuration_names_are_not_read(tmp_path: Path) -> None:
    original = save_timm(tmp_path / "net")
    torch.save({"head.bias": torch.ones(10)}, tmp_path / "other.pth")
    config = json.loads((tmp_path / "net" / "config.json").read_text())
    config["pretrained_cfg"] |= {"file": str(tmp_path / "other.pth"), "url": "http://127.0.0.1:1/x", "source": "hf-hub"}
    change(tmp_path / "net", **config)
    model = HubZoo(tmp_path / "net").load(only(HubZoo(tmp_path / "net"))).model
    assert torch.equal(inner_network(model).head.bias, original.head.bias)


STAGES = {"hidden_sizes": [8, 16, 16, 32], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 2, 2, 4]}
SWIN = {"image_size": 32, "patch_size": 2, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4}
STEPS = {"hidden_sizes": [8, 16], "depths": [1, 1]}
ARCHITECTURES: dict[str, tuple[int, dict[str, object]]] = {
    "ViT": (32, PLAIN), "DeiT": (32, PLAIN), "Beit": (32, PLAIN), "Data2VecVision": (32, PLAIN), "Dinov2": (32, PLAIN),
    "Dinov2WithRegisters": (32, PLAIN), "ViTMSN": (32, PLAIN), "IJepa": (32, PLAIN), "Swin": (32, SWIN),
    "Swinv2": (32, SWIN), "CLIP": (32, {"vision_config": PLAIN}), "Siglip": (32, {"vision_config": PLAIN}),
    "ConvNext": (32, STEPS | {"num_stages": 2}), "ConvNextV2": (32, STEPS | {"num_stages": 2}),
    "ResNet": (32, STEPS | {"embedding_size": 8, "layer_type": "basic"}),
    "RegNet": (32, {"embedding_size": 8, "hidden_sizes": [16, 32], "depths": [1, 1], "groups_width": 8}),
    "FocalNet": (32, {"image_size": 32, "patch_size": 2, "embed_dim": 16, "depths": [1, 1], "focal_levels": [2, 2],
                      "focal_windows": [3, 3]}),
    "Hiera": (64, {"image_size": [64, 64], "embed_dim": 16, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 2, 4]}),
    "Levit": (64, {"image_size": 64, "hidden_sizes": [16, 24, 32], "num_attention_heads": [1, 2, 2],
                   "depths": [1, 1, 1]}),
    "MobileNetV1": (64, {"depth_multiplier": 0.25}),
    "MobileViT": (64, {"image_size": 64, "hidden_sizes": [16, 24, 32],
                       "neck_hidden_sizes": [8, 8, 16, 16, 24, 32, 64]}),
    "PoolFormer": (64, {"hidden_sizes": [8, 16, 16, 32], "depths": [1, 1, 1, 1]}),
    "Pvt": (64, STAGES | {"image_size": 64}), "PvtV2": (64, STAGES), "Segformer": (64, STAGES),
    "SwiftFormer": (64, {"image_size": 64, "depths": [1, 1, 1, 1], "embed_dims": [8, 16, 16, 32]}),
}  # fmt: skip
WIDE = ("MobileNetV1", "MobileViT")
"""Their templates vanish if their weights are as small as the others'."""


@pytest.mark.long
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_networks_of_transformers_are_linearized(kind: str) -> None:
    torch.manual_seed(0)
    side, settings = ARCHITECTURES[kind]
    config = getattr(transformers, f"{kind}Config")(**settings, num_labels=5)
    model = getattr(transformers, f"{kind}ForImageClassification")(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_((0.3 if kind in WIDE else 0.05) * torch.randn_like(parameter))
    model = NormalizedOutputs(model, (0.5,) * 3, (0.5,) * 3)
    weight = implicit_weight(model, (3, side, side))  # which checks that it is affine
    assert weight.shape == (5, 3, side, side)
    assert weight.norm() > 0


def test_a_network_may_take_bgr(tmp_path: Path) -> None:
    folder = save_vit(tmp_path / "vit")
    size = {"height": 32, "width": 32}
    transformers.MobileViTImageProcessorPil(size=size, do_center_crop=False).save_pretrained(folder)
    entry = only(HubZoo(folder))
    assert entry.preprocessing == {"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0], "flip": True}
    model, images = HubZoo(folder).load(entry).model, torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(model(images), inner_network(model)(images.flip(1)).logits)


def test_a_checkpoint_of_such_a_model_needs_no_file_of_the_model(tmp_path: Path) -> None:
    folder = save_vit(tmp_path / "vit")
    origin = only(HubZoo(folder))
    model = HubZoo(folder).load(origin).model
    with torch.no_grad():
        inner_network(model).classifier.bias.add_(1)
    written = write_checkpoint(
        tmp_path / "kept", 7, inner_network(model).state_dict(), origin, zoo_folder=folder, description="", training={}
    )
    (folder / "model.safetensors").unlink()
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        again = find_source("checkpoint", tmp_path / "kept").load(written).model
        assert torch.equal(again(images), model(images))


def test_without_a_way_to_the_hub_it_fails_at_once_and_names_what_it_looked_for(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_into_cache(hub, "me/vit", save_vit(tmp_path / "vit"))
    entry = only(HubZoo())
    assert HubZoo().missing(entry) is None
    (hub / "models--me--vit" / "snapshots" / REVISION / "model.safetensors").unlink()
    assert HubZoo().missing(entry) == f"me/vit, revision {REVISION}"
    assert HubZoo().weight_bytes([entry]) is None
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    started = time.monotonic()
    with pytest.raises(ModelLoadError, match=r"^download failed: \S+/me/vit is not in the cache .* cannot be reached"):
        HubZoo().load(entry)
    with pytest.raises(EnvironmentUnusableError, match=r"/me/new is not in the cache .* cannot be reached"):
        HubZoo().fetch_descriptions(["hub:me/new"])
    assert time.monotonic() - started < 10
    HubZoo().fetch_descriptions(["hub:me/vit"])  # is there
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(EnvironmentUnusableError, match=r"/me/new is not in the cache .* HF_HUB_OFFLINE is set"):
        HubZoo(Path("me/new")).fetch_descriptions()


@pytest.fixture
def served(tmp_path: Path) -> FakeHub:
    save_vit(tmp_path / "there" / "me" / "vit")
    with serve_hub(tmp_path / "there") as server:
        yield server


@pytest.mark.long
def test_what_is_not_in_the_cache_is_downloaded_and_audited_under_its_revision(served: FakeHub, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 3, 40, 50), dtype=np.uint8)
    np.savez(tmp_path / "d.npz", images=images, labels=np.arange(4) % 3)
    cache = {"HF_HOME": str(tmp_path / "home")}

    def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "auditor", *words]
        return subprocess.run(command, env=os.environ | cache | environment, capture_output=True, text=True)

    scan = ("scan", "hub", "me/vit", "--protocol", "quick", "--data", str(tmp_path / "d.npz"), "--format", "json")
    offline = run(*scan, HF_HUB_OFFLINE="1")
    assert (offline.returncode, offline.stderr.count("\n")) == (3, 1)
    assert "https://huggingface.co/me/vit is not in the cache" in offline.stderr
    assert run("zoo", "list", "hub", "me/other", HF_ENDPOINT=served.url).returncode == 2
    online = run(*scan, HF_ENDPOINT=served.url)
    assert online.returncode == 0, online.stderr
    (row,) = json.loads(online.stdout)
    assert (row["model"], row["status"], row["n"], row["affinity_error"] < 1e-3) == ("hub:me/vit", "done", 4, True)
    listed = json.loads(run("zoo", "list", "hub", "--format", "json", HF_HUB_OFFLINE="1").stdout)
    assert [(one["model"], one["architecture"]["revision"]) for one in listed] == [("hub:me/vit", served.revision)]
    again = json.loads(run(*scan, HF_HUB_OFFLINE="1").stdout)
    assert again[0]["id"] == row["id"]


def test_the_entry_is_complete_json(tmp_path: Path) -> None:
    from auditor.records.entries import entry_from, entry_to

    entry = only(HubZoo(save_vit(tmp_path / "vit")))
    assert entry_from(json.loads(json.dumps(entry_to(entry)))) == entry
    assert replace(entry, place=None) != entry
