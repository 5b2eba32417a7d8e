"""Made-up checkpoints, as :mod:`auditor.db.checkpoints` returns them."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from auditor.records import ZooEntry
from auditor.records.boosts import EpochScore, Recipe
from auditor.records.checkpoints import AuditSummary, CheckpointRow, Gain
from auditor.zoo.checkpoint import write_checkpoint
from auditor.zoo.digest import state_dict_digest

RECIPE = Recipe(method="at", eps=8 / 255, steps=10, step_size=2 / 255, beta=0.1, epochs=2, seed=5, ema=0.99)


def audit(number: int, robust: float, **changes: Any) -> AuditSummary:
    found = {
        "audit": number, "n": 1000, "clean_accuracy": 0.8, "robust_accuracy": robust, "robust_low": robust - 0.03,
        "robust_high": robust + 0.03, "gap": 0.25, "flags": [],
    }  # fmt: skip
    return AuditSummary(**found | changes)


def row(folder: Path, **changes: Any) -> CheckpointRow:
    """A checkpoint with a significant gain; ``folder`` holds its files."""
    nothing = float("nan")
    history = [
        EpochScore(number=0, loss=nothing, clean_accuracy=0.9, pgd_accuracy=0.4, gap=nothing, seconds=1.0),
        EpochScore(number=1, loss=1.5, clean_accuracy=0.8, pgd_accuracy=0.5, gap=0.2, seconds=2.0),
        EpochScore(number=2, loss=1.2, clean_accuracy=0.8, pgd_accuracy=0.45, gap=0.3, seconds=2.0),
    ]
    found = {
        "id": 7, "checkpoint": "checkpoint:7", "model": "demo:standard", "lineage": ["demo:standard"],
        "parent_sha256": "a" * 64, "weights_sha256": "b" * 64, "data_sha256": "c" * 64,
        "dataset": "fashion_mnist", "norm": "Linf", "eps": 8 / 255, "recipe": asdict(RECIPE),
        "protocol": "standard", "samples": 1000, "device": "cpu",
        "history": [asdict(epoch) for epoch in history], "best": 1, "stopped": None, "before": audit(3, 0.41),
        "after": audit(4, 0.47), "comparison": paired(40, 100), "verdict": "significant gain",
        "versions": {"torch": "2.10", "timm": "1.0.9"}, "seconds": 12.0, "created_at": "2026-01-02T03:04:05",
        "folder": str(folder),
    }  # fmt: skip
    return CheckpointRow(**found | changes)


def paired(only_before: int, only_after: int, **changes: Any) -> Gain:
    difference = (only_after - only_before) / 1000
    found = {
        "n": 1000, "only_before": only_before, "only_after": only_after, "difference": difference,
        "low": difference - 0.02, "high": difference + 0.02, "p_value": 1e-6,
    }  # fmt: skip
    return Gain(**found | changes)


NO_GAIN: dict[str, Any] = {
    "verdict": "no significant gain", "after": audit(4, 0.42), "comparison": paired(45, 55, p_value=0.368),
}  # fmt: skip
NOT_AUDITED: dict[str, Any] = {"verdict": "not audited", "before": None, "after": None, "comparison": None}


def written(
    folder: Path, state: dict[str, Tensor], origin: ZooEntry, place: Path | None = None, **changes: Any
) -> CheckpointRow:
    """Write the files of a checkpoint to ``folder/7`` and return its row."""
    write_checkpoint(folder, 7, state, origin, zoo_folder=place, description="fine-tuned", training={"method": "at"})
    own = {"weights_sha256": state_dict_digest(state), "model": origin.model, "lineage": [origin.model]}
    return row(folder / "7", **own | changes)
