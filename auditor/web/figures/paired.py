"""The 2 x 2 table of two models on the same samples, and its tests."""

from collections.abc import Sequence
from dataclasses import dataclass

from auditor.records.comparisons import PairedAccuracy
from auditor.results.group_comparison import PairComparison
from auditor.text.numbers import DASH, MINUS, interval, p_value, percent, percent_number, points


@dataclass(frozen=True)
class PairCell:
    """A cell: its column and row, the number of samples, and their share from 0 to 1."""

    column: int
    row: int
    count: int
    share: float

    @property
    def percent(self) -> str:
        """The share as text."""
        return percent(self.share)


@dataclass(frozen=True)
class PairShare:
    """One line of the tests: correct under every attack, or correct without attack. All values are text."""

    name: str
    a: str
    b: str
    counts: tuple[str, str, str, str]
    difference: str
    p: str
    adjusted: str


@dataclass(frozen=True)
class PairTable:
    """Two models: which samples both, only the first, only the second and neither withstands; for corruptions no cells.

    ``adjusted``: whether there are several pairs, so that p-values are adjusted; ``verdict`` is a sentence.
    """

    a: str
    b: str
    n: int
    cells: tuple[PairCell, ...]
    shares: tuple[PairShare, ...]
    verdict: str
    adjusted: bool

    @property
    def label(self) -> str:
        """The table as a sentence."""
        both, only_a, only_b, neither = (cell.count for cell in self.cells)
        return (
            f"Of {self.n} samples, both withstand {both}, only {self.a} {only_a}, only {self.b} {only_b}, "
            f"and neither {neither}"
        )


def pair_table(pair: PairComparison, letters: Sequence[str], pairs: int) -> PairTable:
    """Draw a pair that could be compared; ``pairs`` is the number of all pairs."""
    assert pair.found is not None
    found, a, b = pair.found, letters[pair.first], letters[pair.second]
    counts, corrupted = found.robust.counts, found.robust.both is None
    places = ((0, 0), (1, 0), (0, 1), (1, 1))  # the columns are the second model's, the rows the first one's
    return PairTable(
        a=a,
        b=b,
        n=found.n,
        cells=tuple(
            PairCell(column, row, count, count / found.n)
            for (column, row), count in zip(places, counts, strict=True)
            if count is not None
        ),
        shares=tuple(
            _share(name, accuracy, pair.adjusted[key])
            for name, key, accuracy in (
                ("under corruptions, mean" if corrupted else "under every attack", "robust", found.robust),
                ("without attack", "clean", found.clean),
            )
        ),
        verdict=found.verdict,
        adjusted=pairs > 1,
    )


def _text(count: int | None) -> str:
    return DASH if count is None else str(count)


def _share(name: str, part: PairedAccuracy, adjusted: float) -> PairShare:
    def signed(value: float) -> str:
        return points(value, MINUS)

    both, only_a, only_b, neither = part.counts
    return PairShare(
        name=name,
        a=percent_number(part.a),
        b=percent_number(part.b),
        counts=(_text(both), _text(only_a), _text(only_b), _text(neither)),
        difference=f"{signed(part.difference)} ({interval(part.low, part.high, signed)})",
        p=p_value(part.p_value),
        adjusted=p_value(adjusted),
    )
