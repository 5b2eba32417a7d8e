"""config.json: in timm's hub format for timm's networks, else a plain description."""

import json
import math
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditor.checkpoints.origin import classes_of, normalizes_itself
from auditor.records import Transform, ZooEntry
from auditor.records.checkpoints import CheckpointRow

if TYPE_CHECKING:
    from torch import nn

_PARENT_KEYS = ("tag", "label_offset", "label_names", "label_descriptions", "test_input_size", "test_crop_pct")
"""Keys of timm's pretrained_cfg that describe the parent's weights, and not these."""


def plain_config(row: CheckpointRow, entry: ZooEntry, original: ZooEntry) -> bytes:
    """JSON of architecture, classes and preprocessing."""
    classes = classes_of(entry)
    about = {
        "architecture": entry.architecture,
        "num_classes": classes and len(classes),
        "label_names": classes,
        "input_size": entry.input_size,
        "preprocessing": {
            "pixels": [0, 1],
            "inside_the_network": normalizes_itself(original),
            **entry.preprocessing,
            "transform": entry.transform and asdict(entry.transform),
        },
        "auditor": provenance(row),
    }
    return json.dumps(about, indent=2).encode()


def timm_config(row: CheckpointRow, entry: ZooEntry, network: "nn.Module") -> bytes:
    """What timm's helper writes for its ``network``, with the preprocessing of this entry.

    Replaces ``network.pretrained_cfg``.
    """
    from timm.models._hub import save_config_for_hf

    network.pretrained_cfg = _pretrained_cfg(entry, network)  # type: ignore[assignment]  # a dict, as timm leaves it
    classes = classes_of(entry)
    more: dict[str, Any] = {"auditor": provenance(row)}
    if classes and len(classes) == network.num_classes:
        more["label_names"] = list(classes)
    arguments = {key: value for key, value in entry.architecture.get("kwargs", {}).items() if key != "num_classes"}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.json"
        save_config_for_hf(network, path, model_config=more, model_args=arguments)
        return path.read_bytes()


def provenance(row: CheckpointRow) -> dict[str, Any]:
    """Identifies a checkpoint of auditor in its config.json, with its verdict."""
    return {key: getattr(row, key) for key in ("checkpoint", "model", "verdict", "weights_sha256", "parent_sha256")}


def _pretrained_cfg(entry: ZooEntry, network: "nn.Module") -> dict[str, Any]:
    found: dict[str, Any] = dict(network.pretrained_cfg)  # type: ignore[arg-type]
    theirs = {key: value for key, value in found.items() if key not in _PARENT_KEYS}
    channels, height, width = entry.input_size
    own = {
        "input_size": [channels, height, width],
        "num_classes": network.num_classes,
        "mean": entry.preprocessing["mean"],
        "std": entry.preprocessing["std"],
        "custom_load": False,
        **_crop(entry.transform, (height, width), float(found.get("crop_pct", 0))),
    }
    if channels != 3:
        own["first_conv"] = None  # or timm would convert the channels of its weights
    if tuple(found.get("input_size", ())) != entry.input_size:
        own["pool_size"] = None
    return theirs | own


def _crop(transform: Transform | None, size: tuple[int, int], usual: float) -> dict[str, Any]:
    """The evaluation transform in timm's terms; without a transform the pictures already have the input size."""
    if transform is None or transform.resize is None:
        interpolation = transform.interpolation if transform else "bilinear"
        return {"crop_pct": 1.0, "crop_mode": "center", "interpolation": interpolation}
    resize, squash = transform.resize, not isinstance(transform.resize, int)
    scaled = min(resize) if isinstance(resize, tuple) else resize
    return {
        "crop_pct": crop_fraction(min(size), scaled, usual),
        "crop_mode": "squash" if squash else "center",
        "interpolation": transform.interpolation,
    }


def crop_fraction(crop: int, resize: int, usual: float = 0) -> float:
    """A fraction for which timm's ``floor(crop / fraction)`` is ``resize``: the usual one, or one with few digits."""
    exact = crop / resize
    if usual > 0 and math.floor(crop / usual) == resize:
        return usual
    for digits in range(2, 10):
        fraction = round(exact, digits)
        if fraction > 0 and math.floor(crop / fraction) == resize:
            return fraction
    return crop / (resize + 0.5)
