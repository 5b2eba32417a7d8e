"""Checkpoints as lists, model cards, pages and the API show them."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class AuditSummary:
    """The result of the audit before or after a boost."""

    audit: int
    n: int | None
    clean_accuracy: float | None
    robust_accuracy: float | None
    robust_low: float | None
    robust_high: float | None
    gap: float | None
    flags: list[str]

    @property
    def robust_interval(self) -> tuple[float, float, float] | None:
        """The robust accuracy and the ends of its 95 % interval; None where nothing was attacked."""
        if self.robust_accuracy is None or self.robust_low is None or self.robust_high is None:
            return None
        return self.robust_accuracy, self.robust_low, self.robust_high


@dataclass(frozen=True, kw_only=True)
class Gain:
    """Robust accuracy after minus before on the images of both audits, its 95 % interval, and McNemar's p."""

    n: int
    only_before: int
    only_after: int
    difference: float
    p_value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class CheckpointRow:
    """The checkpoint of a boost, with the audits before and after; the fields are the keys of the JSON output.

    Attributes:
        model: the parent; ``lineage`` ends with it.
        recipe: as stored; see :class:`auditor.records.boosts.Recipe`.
        history: the epochs as stored; see :class:`auditor.records.boosts.EpochScore`. ``best`` is the kept epoch.
        created_at: ISO 8601, to the second.
        folder: the folder of its files on this machine; the API does not show it.
    """

    id: int
    checkpoint: str
    model: str
    lineage: list[str]
    parent_sha256: str
    weights_sha256: str
    data_sha256: str
    stopped: str | None
    verdict: str
    versions: dict[str, str]
    dataset: str
    norm: str
    eps: float
    recipe: dict[str, Any]
    protocol: str
    samples: int | None
    device: str
    history: list[dict[str, Any]]
    best: int
    before: AuditSummary | None
    after: AuditSummary | None
    comparison: Gain | None
    seconds: float | None
    created_at: str
    folder: str
