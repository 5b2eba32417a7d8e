"""The comparison of two results on the samples that they share."""

from dataclasses import dataclass

from auditor.records.results import ResultRow


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of two compared results."""

    model: str
    id: int
    n: int
    flags: list[str]
    weights_sha256: str | None
    linearization: str
    correlation: str
    sketch: int | None
    extra_attacks: str | None
    certified_accuracy: float | None
    smoothed_certified_accuracy: float | None
    gap_error: float | None
    gap: float | None
    gap_centred: float | None
    gap_deflated: float | None
    gap_features: float | None

    @property
    def name(self) -> str:
        """The model and the number of its audit, ``NAME@ID``."""
        return f"{self.model}@{self.id}"

    @classmethod
    def of(cls, row: ResultRow) -> "Side":
        """The side of a result."""
        return cls(**{name: getattr(row, name) for name in cls.__dataclass_fields__})


@dataclass(frozen=True, kw_only=True)
class PairedAccuracy:
    """The accuracies of two results on the same samples, and the paired test of their difference.

    Attributes:
        a, b: the accuracies; ``difference`` is a minus b, from ``low`` to ``high`` with 95 %.
        both, only_a, only_b, neither: the numbers of samples. None for a mean over corruptions, because an image is
            right under some of its corruptions.
        interval, test: the methods.
    """

    a: float
    b: float
    both: int | None
    only_a: int | None
    only_b: int | None
    neither: int | None
    difference: float
    low: float
    high: float
    interval: str
    mcnemar_p: float | None
    p_value: float
    test: str

    @property
    def counts(self) -> tuple[int | None, int | None, int | None, int | None]:
        """The 2 x 2 table: both, only a, only b, neither."""
        return self.both, self.only_a, self.only_b, self.neither


@dataclass(frozen=True, kw_only=True)
class CurveComparison:
    """Two curves on the n samples that both have, up to the radius ``largest`` where the shorter one ends.

    Attributes:
        larger_a, larger_b, ties: the samples with the larger size in a, in b, and in neither.
        p: of the two-sided sign test; a sample counts only if its sizes differ by 1 % or more.
        area_difference, low, high: of a minus b, with a 95 % interval from the paired standard error; of one sample,
            the interval is all that is possible.
        gap, gap_at: the largest difference of R, a minus b, and its radius.
    """

    n: int
    largest: float
    larger_a: int
    larger_b: int
    ties: int
    p: float
    area_difference: float
    low: float
    high: float
    gap: float
    gap_at: float


@dataclass(frozen=True, kw_only=True)
class OnlyOne:
    """The numbers of the samples that only one of two results withstands."""

    only_a: tuple[int, ...]
    only_b: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class ModelAt:
    """A result: its model and its number."""

    model: str
    id: int


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two results, compared.

    Attributes:
        n: the number of shared samples.
        robust, clean: under every attack (or the mean over corruptions), and without attack.
        curves: None if one has no curve, or if they are of different searches, which ``curves_obstacle`` says.
        more_robust: the more robust result, if the difference is significant and neither is flagged.
        verdict: the same as a sentence.
    """

    a: Side
    b: Side
    dataset: str
    protocol: str
    norm: str
    eps: float
    n: int
    robust: PairedAccuracy
    clean: PairedAccuracy
    curves: CurveComparison | None
    curves_obstacle: str | None
    samples: OnlyOne
    more_robust: ModelAt | None
    verdict: str
