"""Which rows may be ranked together, their ranks, and the notes under a ranking."""

from bisect import bisect_left
from collections.abc import Sequence

from auditor.records.results import ResultRow, Setting
from auditor.text.eps import format_threat
from auditor.text.numbers import plus_minus

GAP_NOTE = "The gap is evidence, not proof: robustness is what survives the attacks."
SKETCH_NOTE = "± is the standard error of a gap that was estimated from random images (--sketch)."
SCREEN_NOTE = "screen: not evidence of robustness. No model was attacked."
UNRANKED_NOTE = "Results of the protocol screen have no ranks: they are sorted by their screening score."


def setting_of(row: ResultRow) -> Setting:
    """What two rows must share to be ranked together: everything of the setting but the seed."""
    conditions = row.protocol, row.dataset, row.norm, row.eps
    return *conditions, row.n or 0, row.linearization, row.sketch, row.extra_attacks


def describe_setting(setting: Setting) -> str:
    """A setting as text: ``quick, fashion_mnist, Linf 0.1, n = 256``.

    Also extra attacks, a folded batch norm, and a sketch of C.
    """
    protocol, dataset, norm, eps, n, linearization, sketch, extra = setting
    attacked = f", {format_threat(norm, eps)}, n = {n}" if n else ""
    folded = ", batch norm folded" if linearization == "fold" else ""
    attacked += "" if extra is None else f", with {extra}"
    return f"{protocol}, {dataset}{attacked}{folded}{'' if sketch is None else f', C a sketch of {sketch} probes'}"


def order_of(protocol: str) -> str:
    """The column by which the results of a protocol are best first; ``screen`` attacks nothing, so it has no ranks."""
    return "-screen_score" if protocol == "screen" else "-robust_accuracy"


def best_first(rows: Sequence[ResultRow]) -> list[ResultRow]:
    """Sort rows of one setting that have the order of robust accuracy: under ``screen`` by score; flagged ones last."""

    def place(row: ResultRow) -> tuple[bool, bool, float]:
        score = row.screen_score if row.protocol == "screen" else 0
        return bool(row.flags), score is None, -(score or 0)

    return sorted(rows, key=place)


def rank_of(row: ResultRow, best_first: Sequence[float]) -> str:
    """The rank by robust accuracy; equal accuracies share a rank. Empty if nothing was attacked."""
    return rank_among(row.robust_accuracy, best_first)


def rank_among(accuracy: float | None, best_first: Sequence[float]) -> str:
    """The rank of a robust accuracy among those of unflagged rows; equal accuracies share a rank; empty for None."""
    return "" if accuracy is None else str(1 + bisect_left(best_first, -accuracy, key=lambda other: -other))


def has_doubtful_claim(row: ResultRow) -> bool:
    """Whether the row shows a published accuracy that its publisher marked unreliable."""
    return bool(row.claimed_unreliable) and row.claimed_robust_accuracy is not None


def format_gap_error(row: ResultRow) -> str:
    """``±0.01``, the standard error of a sketch's gap; nothing for an exact one."""
    return plus_minus(row.gap_error)
