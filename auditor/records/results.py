"""One result as lists, pages, plots and exports show it."""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

State = Literal["done", "failed", "cancelled", "queued", "running"]

Setting = tuple[str, str, str, float, int, str, int | None, str | None]
"""What two rows must share to be ranked together: protocol, data set, norm, eps, n, linearization, sketch, extra
attacks."""

Measure = Literal["gap", "screen_score", "margin", "local_gap", "certified_accuracy"]

MEASURES: dict[Measure, str] = {
    "gap": "gap of the linearized network (intra − inter)",
    "screen_score": "screening score",
    "margin": "first-order margin at probe images, in [0, 1] pixels",
    "local_gap": "gap of the local linear maps",
    "certified_accuracy": "certified accuracy (bounds)",
}
"""What a zoo plot can set against robust accuracy, and the title of its axis. All but the last need no data."""


@dataclass(frozen=True, kw_only=True)
class UnmetGate:
    """A gate that an audit did not meet: ``gate`` is the option that set it, ``message`` what was expected and got."""

    audit: int
    gate: str
    message: str


class PlotPoint(NamedTuple):
    """What a zoo plot draws of one model: a measure, and the robust accuracy with its 95 % interval."""

    x: float
    robust: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class PlotModel:
    """One model of a zoo plot: any two measures, and the 95 % interval of the robust accuracy if it is one of them.

    Attributes:
        id: the audit's.
        x_interval, y_interval: the ends of the interval; None for measures without one.
    """

    id: int
    model: str
    source: str
    architecture: str | None
    training: dict[str, Any]
    flags: list[str]
    x: float
    y: float
    x_interval: tuple[float, float] | None = None
    y_interval: tuple[float, float] | None = None

    @property
    def regularized(self) -> bool:
        """Whether the model was trained with the clustering regularizer."""
        return bool(self.training.get("beta"))


@dataclass(frozen=True, kw_only=True)
class ResultRow:
    """One audit: its model, its setting, what it measured, and what was published about the model.

    The fields are the keys of the JSON output, the CSV columns and the API, in this order. Accuracies are fractions
    from 0 to 1; None where nothing was measured.

    Attributes:
        id: the audit's.
        correlation: whether C is exact or estimated from ``sketch`` random images.
        extra_attacks: what ran beyond the protocol's attacks; None without any.
        gap_error: the standard error of a sketch's gap; None where C is exact.
        certified_accuracy: the share of samples that bounds certify, a lower bound of the robust accuracy; None if none
            were computed.
        smoothed_certified_accuracy: the share that randomized smoothing certifies for the smoothed model, which is no
            bound of this model's robust accuracy.
        screen_score, margin, local_gap, data_margin: as in :class:`auditor.records.screening.Screening`.
        flags: the audit's own flags, and those of accuracies that contradict the published ones.
        started_at, finished_at: ISO 8601, to the second.
    """

    id: int
    model: str
    source: str
    dataset: str
    status: State
    training: dict[str, Any]
    architecture: str | None
    threat_model: str
    norm: str
    eps: float
    protocol: str
    linearization: str
    sketch: int | None
    extra_attacks: str | None
    hierarchy: str | None
    not_measurable: list[str]
    clean_accuracy: float | None
    robust_accuracy: float | None
    robust_low: float | None
    robust_high: float | None
    n: int | None
    affinity_error: float | None
    flags: list[str]
    notes: list[str]
    seconds: float | None
    device: str
    batch_size: int | None
    seed: int
    weights_sha256: str | None
    images_sha256: str | None
    identity: str | None
    samples: int | None
    versions: dict[str, str]
    started_at: str | None
    finished_at: str | None
    reason: str | None
    correlation: Literal["exact", "sketch"]
    intra: float | None
    inter: float | None
    gap: float | None
    gap_error: float | None
    silhouette: float | None
    rand_index: float | None
    cophenetic: float | None
    p_value: float | None
    effective_rank: float | None
    gap_centred: float | None
    gap_deflated: float | None
    gap_features: float | None
    screen_score: float | None
    margin: float | None
    local_gap: float | None
    data_margin: float | None
    certified_accuracy: float | None
    smoothed_certified_accuracy: float | None
    claimed_clean_accuracy: float | None
    claimed_robust_accuracy: float | None
    claimed_unreliable: bool | None

    @property
    def robust_interval(self) -> tuple[float, float, float] | None:
        """The robust accuracy and the ends of its 95 % interval; None where nothing was attacked."""
        if self.robust_accuracy is None or self.robust_low is None or self.robust_high is None:
            return None
        return self.robust_accuracy, self.robust_low, self.robust_high

    def plot_model(self, x: str, y: str) -> PlotModel | None:
        """The row as a point of a zoo plot; None where one of the two measures is undefined."""
        values = getattr(self, x), getattr(self, y)
        if self.status != "done" or None in values:
            return None
        interval = self.robust_interval[1:] if self.robust_interval else None
        return PlotModel(
            id=self.id,
            model=self.model,
            source=self.source,
            architecture=self.architecture,
            training=self.training,
            flags=self.flags,
            x=values[0],
            y=values[1],
            x_interval=interval if x == "robust_accuracy" else None,
            y_interval=interval if y == "robust_accuracy" else None,
        )

    def point(self, measure: Measure = "gap") -> PlotPoint | None:
        """None where the measure is undefined, or nothing was attacked."""
        x: float | None = getattr(self, measure)
        if x is None or self.robust_interval is None:
            return None
        return PlotPoint(x, *self.robust_interval)
