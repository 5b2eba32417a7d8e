"""Text files: zoo.toml, published figures, entries of checkpoints, configurations of the hub."""

import functools
import json
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from auditor.records.entries import entry_to
from auditor.zoo.checkpoint import read_description
from auditor.zoo.hub import HubZoo
from auditor.zoo.local.zoo_file import find_model_lines, read_zoo
from auditor.zoo.robustbench.published import read_published
from tests.factories.local_zoo import CODE, HEAD, MODEL, changed
from tests.factories.records import entry
from tests.fuzz.contract import Target

GOOD = {"link": "https://arxiv.org/abs/1", "name": "A paper", "venue": "ICLR 2023", "architecture": "WRN-28-10",
        "eps": "8/255", "clean_acc": "93.1", "autoattack_acc": "70.5", "external": "70",
        "unreliable": False}  # fmt: skip


def zoo_toml(data: bytes, folder: Path) -> None:
    (folder / "nets.py").write_text(CODE)
    (folder / "zoo.toml").write_bytes(data)
    find_model_lines(folder)
    read_zoo(folder)


def zoo_seeds() -> Sequence[bytes]:
    texts = [
        HEAD + MODEL,
        changed(sha256=f'"{"a" * 64}"', key='"state_dict"', prefix='"module."', description='"犬"'),
        changed(input_size="[3, 8, 8]", resize="[9, 9]", crop="8", interpolation='"bicubic"', channels='"rgb"'),
        changed(dataset='{ path = "pets", classes = ["a", "b"], superclasses = { s = ["a", "b"] } }'),
        changed(dataset='"cifar10"', weights='"net.onnx"', architecture=None),
        changed(architecture='{ timm = "resnet18", kwargs = { depth = 2 } }', eps="0.5", norm='"L2"'),
    ]
    return [text.encode() for text in texts] + [HEAD.encode("utf-16")]


def published(data: bytes, folder: Path) -> None:
    path = folder / "cifar10" / "Linf" / "Name.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    read_published(path)


def published_seeds() -> Sequence[bytes]:
    return [json.dumps(values).encode() for values in (GOOD, GOOD | {"eps": None, "external": 12.5}, {"clean_acc": 1})]


def checkpoint(data: bytes, folder: Path) -> None:
    (folder / "entry.json").write_bytes(data)
    read_description(folder)


def checkpoint_seeds() -> Sequence[bytes]:
    made = entry_to(replace(entry("7"), source="checkpoint", model="checkpoint:7"))
    both = {"entry": made, "origin": entry_to(entry())}
    return [json.dumps(both | {"place": place}).encode() for place in (None, "/srv/zoo")]


def hub(data: bytes, folder: Path) -> None:
    """The first letter says which file of a snapshot the rest is: ``c`` config.json, ``p`` preprocessor_config.json."""
    snapshot = folder / "model"
    snapshot.mkdir()
    (config, processor) = (json.dumps(values).encode() for values in (VIT, PROCESSOR))
    (snapshot / "config.json").write_bytes(data[1:] if data[:1] == b"c" else config)
    (snapshot / "preprocessor_config.json").write_bytes(data[1:] if data[:1] == b"p" else processor)
    _import_libraries()
    HubZoo(snapshot).entries()


@functools.cache
def _import_libraries() -> None:
    with warnings.catch_warnings(action="ignore"):  # of timm's own, about torch
        from auditor.zoo.hub import timm_models, transformers_models  # noqa: F401


VIT = {"architectures": ["ViTForImageClassification"], "model_type": "vit", "hidden_size": 32, "num_hidden_layers": 2,
       "num_attention_heads": 4, "intermediate_size": 64, "image_size": 32, "patch_size": 8,
       "id2label": {"0": "cat", "1": "dog"}}  # fmt: skip
PROCESSOR = {"image_processor_type": "ViTImageProcessor", "do_normalize": True, "do_rescale": True, "do_resize": True,
             "image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4], "resample": 2, "rescale_factor": 1 / 255,
             "size": {"height": 32, "width": 32}}  # fmt: skip
TIMM = {"architecture": "test_vit", "num_classes": 2, "label_names": ["a", "b"], "pretrained_cfg": {
        "input_size": [3, 32, 32], "crop_pct": 0.9, "interpolation": "bicubic", "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5]}}  # fmt: skip


def hub_seeds() -> Sequence[bytes]:
    return [b"c" + json.dumps(VIT).encode(), b"p" + json.dumps(PROCESSOR).encode(), b"c" + json.dumps(TIMM).encode()]


TARGETS = (
    Target("zoo-toml", zoo_toml, zoo_seeds, ("tomllib._parser",)),
    Target("published", published, published_seeds, ("json.decoder",), length=1024),
    Target("checkpoint-entry", checkpoint, checkpoint_seeds, ("json.decoder",)),
    Target("hub-snapshot", hub, hub_seeds, ("json.decoder",), length=2048),
)
