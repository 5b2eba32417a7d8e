"""Requests and results of domain adaptations: plain values, so that commands need no torch."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from auditor.errors import InputError, UsageError, one_line
from auditor.records.assignments import FASHION_MNIST, Assignment
from auditor.records.boosts import Recipe
from auditor.records.json import T, from_json, to_json
from auditor.records.norms import TRAINING_NORM_NAMES
from auditor.text.validation import describe_first

_AT: dict[str, Any] = {"method": "at", "eps": 0.1, "steps": 5, "step_size": 0.04}
_SHORT: dict[str, Any] = {"epochs": 3, "max_lr": 0.2}

RECIPES: dict[str, Recipe] = {
    "standard": Recipe(**_SHORT),
    "robust": Recipe(**_AT, **_SHORT),
    "robust+clustered": Recipe(**_AT, **_SHORT, beta=1.0),
    "standard+clustered": Recipe(**_SHORT, beta=1.0),
}
"""Recipes for source models; the regularizer's weight is the paper's for its subsets of CIFAR-100."""


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """Fine-tuning on the target images: SGD on cross-entropy plus ``beta`` times MSE(logits, class centre).

    Attributes:
        layers: ``head`` trains only the new head, ``all`` all layers; batch norm keeps its running statistics.
        head: ``sources`` starts with the mean of the source subclasses' templates, ``fresh`` with random ones.
        beta: the weight of the centres' term, 0 for none.
        steps: steps of SGD with momentum 0.9, each on ``batch_size`` images, or on all if there are fewer.
    """

    layers: Literal["head", "all"] = "head"
    head: Literal["sources", "fresh"] = "sources"
    beta: float = 0.1
    steps: int = 100
    batch_size: int = 64
    lr: float = 0.01

    def check(self) -> None:
        """Raises InputError for invalid values."""
        if self.layers not in ("head", "all") or self.head not in ("sources", "fresh"):
            raise InputError(
                f"expected layers head or all, and a head from sources or fresh, got {self.layers!r} and {self.head!r}"
            )
        ranges = {"beta": (0, 1e6), "steps": (1, 100_000), "batch_size": (1, 2**20), "lr": (1e-9, 1e3)}
        for name, (low, high) in ranges.items():
            _check_range(name, getattr(self, name), low, high)


@dataclass(frozen=True, kw_only=True)
class AdaptRequest:
    """Everything that determines an adaptation's numbers, except the data and the weights of a given model.

    Attributes:
        start: the source model: a recipe's name (see ``RECIPES``), or a model's, ``source:id``.
        recipe: a changed recipe for the source model; None for the recipe that ``start`` names.
        source_images: the maximum number of training images, in equal shares of the source classes; None for all.
        shots: numbers of images of each target class; 0 measures the initial head.
        seeds: each seed trains a source model and draws target images.
        held_out: the maximum number of test images, in equal shares of the superclasses.
        norm, eps: the norm ball of the attacks, in [0, 1] pixels.
        protocol: ``adapt`` is PGD-20, then APGD-CE with 100 iterations; or a protocol of audits.
    """

    assignment: Assignment = FASHION_MNIST
    start: str = "robust"
    recipe: Recipe | None = None
    source_images: int | None = 20_000
    tuning: Tuning = field(default_factory=Tuning)
    shots: tuple[int, ...] = (1, 5, 20, 100)
    seeds: tuple[int, ...] = (0,)
    held_out: int = 1000
    norm: str = "Linf"
    eps: float = 0.1
    protocol: str = "adapt"

    @property
    def trains(self) -> bool:
        """Whether the source model is trained for this request, only on source classes."""
        return ":" not in self.start

    @property
    def training(self) -> Recipe:
        """The recipe of the source model.

        Raises:
            UsageError: the name of the recipe is unknown.
        """
        if self.recipe is not None:
            return self.recipe
        if self.start not in RECIPES:
            raise UsageError(
                f"no recipe named {self.start!r}; expected one of: {', '.join(RECIPES)}, or a model's name, source:id"
            )
        return RECIPES[self.start]

    def to_command(self) -> list[str]:
        """Return the arguments of ``auditor`` that start the same adaptation.

        Settings that only Python can change are left out: a recipe's details, and the tuning's batch size.
        """
        groups, assignment, tuning = self.assignment.superclasses, self.assignment, self.tuning
        options = {
            "dataset": assignment.dataset,
            "superclasses": " | ".join(assignment.names),
            "source": " | ".join(", ".join(group.sources) for group in groups),
            "target": " | ".join(", ".join(group.targets) for group in groups),
            "shots": ",".join(map(str, self.shots)),
            "seeds": ",".join(map(str, self.seeds)),
            "layers": tuning.layers,
            "head": tuning.head,
            "beta": tuning.beta,
            "lr": tuning.lr,
            "tuning-steps": tuning.steps,
            "source-images": 2**31 - 1 if self.source_images is None else self.source_images,
            "epochs": self.recipe and self.recipe.epochs,
            "held-out": self.held_out,
            "norm": self.norm,
            "eps": self.eps,
            "protocol": self.protocol,
        }
        used = [f"--{name}={value}" for name, value in options.items() if value is not None]
        return ["adapt", self.start, *used]

    def check(self) -> None:
        """Raises UsageError or InputError for values that are invalid for any data."""
        if self.trains:
            self.training.check()
        self.tuning.check()
        for name, values in (("shots", self.shots), ("seeds", self.seeds)):
            if not values or len(set(values)) < len(values):
                raise InputError(f"expected {name} that differ, at least one, got {list(values)}")
            for value in values:
                _check_range(name, value, 0, 2**31 - 1)
        if 0 in self.shots and self.tuning.head == "fresh":
            raise InputError("a fresh head is random before it is tuned: leave out 0 shots")
        _check_range("held_out", self.held_out, len(self.assignment.targets), 2**31)
        if self.source_images is not None:
            _check_range("source_images", self.source_images, len(self.assignment.sources), 2**31)
        if self.norm not in TRAINING_NORM_NAMES:
            raise InputError(f"expected the norm Linf or L2, got {self.norm!r}")
        _check_range("eps", self.eps, 1e-9, 1 if self.norm == "Linf" else 1e6)


@dataclass(frozen=True, kw_only=True)
class AdaptTask:
    """The task of a child process; ``data``: the location of the data set, None for the default."""

    adapt: AdaptRequest
    data: Path | None
    device: str


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Fractions of ``n`` test images, 0 to 1; ``low`` and ``high`` are the 95 % Wilson interval of ``robust``."""

    clean: float
    robust: float
    low: float
    high: float
    n: int
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class AdaptScore:
    """One adapted model: superclass accuracy on held-out target images.

    ``baseline`` is the accuracy of the nearest mean of pixels, for the same shots and attacks; None for 0 shots.
    """

    seed: int
    shots: int
    adapted: Accuracy
    baseline: Accuracy | None


@dataclass(frozen=True, kw_only=True)
class SourceScore:
    """The source model: subclass accuracy on held-out source images, and the digest of its weights."""

    seed: int
    accuracy: Accuracy
    weights_sha256: str


@dataclass(frozen=True, kw_only=True)
class AdaptResult:
    """The result of an adaptation: a score for each seed and number of shots, and one for each source model.

    Attributes:
        sources: one for each seed; only one, with the first seed, for a given model.
        data_sha256: digests of the training and the test data.
        notes: other information for readers.
    """

    request: AdaptRequest
    scores: tuple[AdaptScore, ...]
    sources: tuple[SourceScore, ...]
    data_sha256: tuple[str, str]
    notes: tuple[str, ...] = ()
    seconds: float = 0.0


def request_from(stored: dict[str, Any]) -> AdaptRequest:
    """Raises UsageError if the stored JSON is no request of this version."""
    return _read(AdaptRequest, stored)


def result_to(result: AdaptResult) -> dict[str, Any]:
    """A result as JSON, including its request."""
    return to_json(result)


def result_from(stored: dict[str, Any]) -> AdaptResult:
    """Raises UsageError if the stored JSON is no result of this version."""
    return _read(AdaptResult, stored)


def _read(kind: type[T], stored: dict[str, Any]) -> T:
    try:
        return from_json(kind, stored)
    except ValidationError as error:
        raise UsageError(f"not a stored {kind.__name__}: {one_line(describe_first(error.errors()))}") from error


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high or not math.isfinite(value):
        raise InputError(f"expected {name} from {low:g} to {high:g}, got {value:g}")
