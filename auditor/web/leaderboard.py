"""Leaderboards, one per setting: ranked rows first, then flagged rows without a rank."""

from collections.abc import Sequence
from dataclasses import dataclass

from auditor.records.results import ResultRow
from auditor.results.ranking import describe_setting, format_gap_error, has_doubtful_claim, rank_of, setting_of
from auditor.web.figures.bars import Bar, interval_bar


@dataclass(frozen=True)
class Place:
    """A row and its interval. ``rank`` is ``–`` for a flagged row, and empty if no rank is known."""

    row: ResultRow
    rank: str
    bar: Bar | None
    error: str
    doubtful: bool


@dataclass(frozen=True)
class Board:
    """The rows of one setting; ``claims`` says whether any of them has a published accuracy."""

    setting: str
    places: tuple[Place, ...]
    claims: bool

    @property
    def flagged(self) -> bool:
        """Whether any row is flagged."""
        return any(place.row.flags for place in self.places)


def build_boards(rows: Sequence[ResultRow], *, keep_order: bool = False, ranked: bool = True) -> tuple[Board, ...]:
    """Group finished rows by setting, and rank them among each other.

    Args:
        keep_order: keep the order of the rows instead of putting flagged rows last.
        ranked: whether ``rows`` contains every better row of each row, so that ranks are right.
    """
    done = [row for row in rows if row.status == "done"]
    return tuple(
        _board(describe_setting(setting), [row for row in done if setting_of(row) == setting], keep_order, ranked)
        for setting in dict.fromkeys(setting_of(row) for row in done)
    )


def _board(setting: str, group: Sequence[ResultRow], keep_order: bool, ranked: bool) -> Board:
    better = sorted((row.robust_accuracy or 0 for row in group if not row.flags), reverse=True)
    ordered = group if keep_order else sorted(group, key=lambda row: bool(row.flags))
    places = tuple(
        Place(
            row=row,
            rank="–" if row.flags else rank_of(row, better) if ranked else "",
            bar=interval_bar(row),
            error=format_gap_error(row),
            doubtful=has_doubtful_claim(row),
        )
        for row in ordered
    )
    return Board(setting, places, any(row.claimed_robust_accuracy is not None for row in group))
