"""The front matter of a model card, in the format of the hub's tools."""

import json
from typing import Any

from auditor.checkpoints.origin import Origin
from auditor.checkpoints.wording import threat
from auditor.records import ZooEntry
from auditor.records.checkpoints import CheckpointRow
from auditor.text.numbers import counted

_DATASETS = {
    "fashion_mnist": ("zalando-datasets/fashion_mnist", "Fashion-MNIST"),
    "cifar10": ("uoft-cs/cifar10", "CIFAR-10"),
    "cifar100": ("uoft-cs/cifar100", "CIFAR-100"),
    "imagenet": ("ILSVRC/imagenet-1k", "ImageNet-1k"),
}
"""The hub's name and the usual name of each data set."""
_SPLITS = {"ILSVRC/imagenet-1k": "validation"}
"""The split on the hub that has a data set's test images, where it is not ``test``."""


def hub_dataset(entry: ZooEntry) -> str | None:
    """The data set's name on the hub; None if it has none there."""
    known = None if entry.own_data else _DATASETS.get(entry.dataset)
    return known[0] if known else None


def front_matter(row: CheckpointRow, entry: ZooEntry, origin: Origin) -> str:
    """The metadata as text."""
    return as_front_matter(metadata(row, entry, origin))


def as_front_matter(values: dict[str, Any]) -> str:
    """YAML between two lines of dashes; its values are JSON, which is YAML."""
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in values.items()]
    return "\n".join(["---", *lines, "---", ""])


def metadata(row: CheckpointRow, entry: ZooEntry, origin: Origin) -> dict[str, Any]:
    """The fields of ``huggingface_hub.ModelCardData`` that are known.

    Results of a flagged audit are left out, because leaderboards would show them without the flag.
    """
    known = {
        "license": origin.license or "unknown",
        "library_name": "timm" if "timm" in entry.architecture else None,
        "pipeline_tag": "image-classification",
        "base_model": origin.hub_id,
        "datasets": [name] if (name := hub_dataset(entry)) else None,
        "tags": tags(row, entry),
        "metrics": ["accuracy"],
        "model-index": _model_index(row, entry),
    }
    return {key: value for key, value in known.items() if value is not None}


def tags(row: CheckpointRow, entry: ZooEntry) -> list[str]:
    """Tags, including the verdict, for example ``no-significant-gain``."""
    own = ["timm"] if "timm" in entry.architecture else []
    return ["image-classification", *own, "adversarial-robustness", "auditor", row.verdict.replace(" ", "-")]


def dataset_name(entry: ZooEntry) -> str:
    known = None if entry.own_data else _DATASETS.get(entry.dataset)
    return known[1] if known else entry.dataset


def _model_index(row: CheckpointRow, entry: ZooEntry) -> list[dict[str, Any]] | None:
    after = row.after
    if after is None or after.flags or not after.n:
        return None
    images = counted(after.n, "image")
    robust = f"robust accuracy ({threat(row)}, protocol {row.protocol}, {images})"
    clean = f"clean accuracy ({images})"
    metrics = [
        {"type": "accuracy", "name": name, "value": round(value, 4)}
        for name, value in ((clean, after.clean_accuracy), (robust, after.robust_accuracy))
        if value is not None
    ]
    hub_id = hub_dataset(entry) or entry.dataset
    return model_index(model_name(row), hub_id, dataset_name(entry), metrics) if metrics else None


def model_index(name: str, hub_id: str, title: str, metrics: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The key ``model-index`` of a card, with the metrics of one model on a data set."""
    dataset = {"type": hub_id, "name": title, "split": _SPLITS.get(hub_id, "test")}
    task = {"type": "image-classification", "name": "Image Classification"}
    return [{"name": name, "results": [{"task": task, "dataset": dataset, "metrics": metrics}]}]


def model_name(row: CheckpointRow) -> str:
    """``checkpoint-7``, because the hub allows no colon in names."""
    return str(row.checkpoint).replace(":", "-")
