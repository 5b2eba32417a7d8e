"""The front matter of a model card, in the format of the hub's tools."""

import json
from typing import Any

from auditor.checkpoints.origin import Origin
from auditor.checkpoints.wording import threat
from auditor.records import ZooEntry
from auditor.records.checkpoints import CheckpointRow

_DATASETS = {
    "fashion_mnist": ("zalando-datasets/fashion_mnist", "Fashion-MNIST"),
    "cifar10": ("uoft-cs/cifar10", "CIFAR-10"),
    "cifar100": ("uoft-cs/cifar100", "CIFAR-100"),
    "imagenet": ("ILSVRC/imagenet-1k", "ImageNet-1k"),
}
"""The hub's name and the usual name of each data set."""


def front_matter(row: CheckpointRow, entry: ZooEntry, origin: Origin) -> str:
    """YAML between two lines of dashes; its values are JSON, which is YAML."""
    lines = [f"{key}: {_value(value)}" for key, value in metadata(row, entry, origin).items()]
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
        "datasets": [_DATASETS[entry.dataset][0]] if entry.dataset in _DATASETS and not entry.own_data else None,
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
    robust = f"robust accuracy ({threat(row)}, protocol {row.protocol}, first {after.n} images)"
    clean = f"clean accuracy (first {after.n} images)"
    metrics = [
        {"type": "accuracy", "name": name, "value": round(value, 4)}
        for name, value in ((clean, after.clean_accuracy), (robust, after.robust_accuracy))
        if value is not None
    ]
    known = None if entry.own_data else _DATASETS.get(entry.dataset)
    dataset = {"type": known[0] if known else entry.dataset, "name": dataset_name(entry), "split": "test"}
    task = {"type": "image-classification", "name": "Image Classification"}
    result = {"task": task, "dataset": dataset, "metrics": metrics}
    return [{"name": model_name(row), "results": [result]}] if metrics else None


def model_name(row: CheckpointRow) -> str:
    """``checkpoint-7``, because the hub allows no colon in names."""
    return str(row.checkpoint).replace(":", "-")


def _value(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
