"""Text files: zoo.toml, published figures, entries of checkpoints, configurations of the hub."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from auditor.records.entries import entry_to
from auditor.zoo.checkpoint import read_description
from auditor.zoo.hub.snapshots import read_json
from auditor.zoo.local.reading import find_model_lines, read_zoo
from auditor.zoo.model_info import read_published
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


def hub_config(data: bytes, folder: Path) -> None:
    path = folder / "config.json"
    path.write_bytes(data)
    read_json(path)


def hub_seeds() -> Sequence[bytes]:
    return [json.dumps({"architectures": ["ResNetForImageClassification"], "id2label": {"0": "cat"}}).encode()]


TARGETS = (
    Target("zoo-toml", zoo_toml, zoo_seeds, ("tomllib._parser",)),
    Target("published", published, published_seeds, ("json.decoder",), length=1024),
    Target("checkpoint-entry", checkpoint, checkpoint_seeds, ("json.decoder",)),
    Target("hub-config", hub_config, hub_seeds, ("json.decoder",), length=1024),
)
