"""Settings and results of a reproduction: plain values, so that commands need no torch to list experiments."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from auditor.errors import UsageError

Verdict = Literal["reproduced", "not reproduced", "not decided"]
FAMILIES = ("resnet", "vgg", "alexnet", "densenet", "inception")
METHODS = ("standard", "at", "trades")
Kind = Literal["text", "count", "number", "percent", "points", "interval", "points interval"]
Cell = str | int | float | tuple[float, float]

ADAPTATION_DATA = {"fashion_mnist": "fashion_mnist", "cifar10": "cifar100", "cifar100": "cifar100"}
"""The data set whose classes the experiments on domain adaptation use, beside that of the other experiments."""
_EPS = {"fashion_mnist": 0.1}
_CIFAR_EPS, _SUBSET_EPS = 8 / 255, 2 / 255


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that a user chooses for a reproduction.

    Attributes:
        dataset: the data set of all experiments but those on domain adaptation, see ``ADAPTATION_DATA``.
        data: its folder; None for the default location.
        families: network families; the experiments after ``correlation`` and ``success`` use the first.
        seeds: the number of seeds, from 0.
        images, epochs: training images and epochs of each training.
        steps: PGD steps in training, each of ``2 eps / steps``.
        test_images: test images of each measurement.
        width: factor of all channel numbers.
        beta: weight of the clustering regularizer. The authors' script sums over the classes, with weight 0.1, which is
            about 1 on the scale of the paper's formula, a mean.
        shots: target images of each class for the authors' adaptation; ``few`` for this project's.
        queries: of the black-box attack Square.
    """

    dataset: str = "fashion_mnist"
    data: Path | None = None
    families: tuple[str, ...] = FAMILIES
    seeds: int = 2
    images: int = 6000
    epochs: int = 3
    steps: int = 3
    test_images: int = 500
    width: float = 1.0
    beta: float = 1.0
    shots: int = 100
    few: int = 1
    queries: int = 200

    @property
    def eps(self) -> float:
        """The Linf radius of training and attacks."""
        return _EPS.get(self.dataset, _CIFAR_EPS)

    @property
    def adaptation_eps(self) -> float:
        """The Linf radius of the experiments on domain adaptation; 2/255 on the subsets of CIFAR-100."""
        return _EPS.get(ADAPTATION_DATA.get(self.dataset, self.dataset), _SUBSET_EPS)

    def check(self) -> None:
        """Raises UsageError for values that make no sense."""
        unknown = [name for name in self.families if name not in FAMILIES]
        if unknown or not self.families:
            raise UsageError(f"no network family named {', '.join(unknown)!r}; expected one of: {', '.join(FAMILIES)}")
        if self.images < 128:
            raise UsageError(f"expected at least 128 training images, one batch, got {self.images}")


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number with its 95 % interval, NaN where it has none; ``over`` says what it varies over."""

    value: float
    low: float
    high: float
    over: str


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A claim of the paper, or one ascribed to it, its estimate and the verdict of the rule in ``rules``.

    Attributes:
        kind: how the estimate is written: a number, or percentage points.
    """

    text: str
    kind: Literal["number", "points"]
    estimate: Estimate
    verdict: Verdict
    because: str


@dataclass(frozen=True)
class Column:
    """A column of a table: its heading, and how its cells are written."""

    name: str
    kind: Kind = "text"


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of raw values."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True, kw_only=True)
class ExperimentResult:
    """The result of one experiment.

    Attributes:
        figures: paths of pictures in the work folder.
        missing: why the experiment could not be run; None if it was.
    """

    experiment: str
    dataset: str
    claims: tuple[Claim, ...] = ()
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()
    figures: tuple[str, ...] = ()
    missing: str | None = None
    seconds: float = 0.0
