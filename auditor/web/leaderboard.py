"""Leaderboards of pages and reports, one per setting, with the columns that a reader picks."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from auditor.records.certificates import NO_BOUND
from auditor.records.results import ResultRow
from auditor.results.certificates import NOT_THE_MODEL
from auditor.results.ranking import (
    best_first,
    describe_setting,
    format_gap_error,
    has_doubtful_claim,
    rank_of,
    setting_of,
)
from auditor.web.figures.bars import Bar, interval_bar


@dataclass(frozen=True)
class Column:
    """A column beside rank and model. ``term``: its anchor on the help page; ``sort``: what it sorts by, if it does."""

    name: str
    title: str
    sort: str | None = None
    term: str | None = None
    numeric: bool = True


COLUMNS = tuple(
    Column(*parts)
    for parts in (
        ("robust", "robust %", "robust_accuracy", "robust-accuracy"),
        ("interval", "95 % interval", None, "interval", False),
        ("published", "published %", None, "published"),
        ("clean", "clean %", "clean_accuracy", "clean-accuracy"),
        ("certified", "certified %", "certified_accuracy", "certified-accuracy"),
        ("smoothed", "smoothed certified %", "smoothed_certified_accuracy", "smoothed-certified-accuracy"),
        ("screen", "screen", "screen_score", "screening-score"),
        ("gap", "gap", "gap", "gap"),
        ("p", "p", "p_value", "p-value"),
        ("rank", "effective rank", "effective_rank", "effective-rank"),
        ("intra", "intra", "intra", "gap"),
        ("inter", "inter", "inter", "gap"),
        ("silhouette", "silhouette", "silhouette"),
        ("margin", "margin", "margin"),
        ("local_gap", "local gap", "local_gap"),
        ("source", "source", "source", None, False),
        ("architecture", "architecture", None, None, False),
        ("training", "training", None, None, False),
        ("seconds", "duration", "seconds"),
        ("started", "audited", "started_at", None, False),
        ("flags", "flags", None, "flag", False),
    )
)
DEFAULT_COLUMNS = ("robust", "interval", "published", "clean", "screen", "gap", "p", "flags")
_CERTIFIED = {"certified": "certified_accuracy", "smoothed": "smoothed_certified_accuracy"}


@dataclass(frozen=True)
class Place:
    """A row and its interval. ``rank`` is ``–`` for a flagged row, and empty if nothing was attacked."""

    row: ResultRow
    rank: str
    bar: Bar | None
    error: str
    doubtful: bool


@dataclass(frozen=True)
class Board:
    """Rows of one setting and their columns."""

    setting: str
    places: tuple[Place, ...]
    columns: tuple[Column, ...]

    @property
    def flagged(self) -> bool:
        """Whether any row is flagged."""
        return any(place.row.flags for place in self.places)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a reader of the certified accuracies has to know."""
        shown = {column.name for column in self.columns}
        return certified_remarks([place.row for place in self.places], shown)


def certified_remarks(
    rows: Sequence[ResultRow], columns: Collection[str] = ("certified", "smoothed")
) -> tuple[str, ...]:
    """Say that a bound is 0, and what the figures of smoothed models are about."""
    remarks = []
    if "certified" in columns and any(row.certified_accuracy == 0 for row in rows):
        remarks.append(f"certified 0: {NO_BOUND}.")
    if "smoothed" in columns and any(row.smoothed_certified_accuracy is not None for row in rows):
        remarks.append(f"smoothed certified: {NOT_THE_MODEL}.")
    return tuple(remarks)


def choose_columns(names: Sequence[str], certified: Collection[str], *, claims: bool) -> tuple[Column, ...]:
    """Return the columns of these names in their usual order.

    No names: the default, published figures only with ``claims``, and of the certified accuracies those in
    ``certified``, which a row of the board has.
    """
    own = [name for name, key in _CERTIFIED.items() if key in certified]
    chosen = names or [*(name for name in DEFAULT_COLUMNS if claims or name != "published"), *own]
    return tuple(column for column in COLUMNS if column.name in chosen)


def build_board(
    setting: str, rows: Sequence[ResultRow], ranks: Mapping[int, str], columns: tuple[Column, ...]
) -> Board:
    """Build a board from its rows in their order."""
    places = tuple(
        Place(
            row=row,
            rank=ranks[row.id],
            bar=interval_bar(row),
            error=format_gap_error(row),
            doubtful=has_doubtful_claim(row),
        )
        for row in rows
    )
    return Board(setting, places, columns)


def build_boards(rows: Sequence[ResultRow]) -> tuple[Board, ...]:
    """Group finished rows by setting, rank them among each other, and put flagged rows last."""
    done = [row for row in rows if row.status == "done"]
    settings = dict.fromkeys(setting_of(row) for row in done)
    groups = {setting: [row for row in done if setting_of(row) == setting] for setting in settings}
    return tuple(_board(describe_setting(setting), group) for setting, group in groups.items())


def _board(setting: str, group: Sequence[ResultRow]) -> Board:
    better = sorted((row.robust_accuracy or 0 for row in group if not row.flags), reverse=True)
    ranks = {row.id: "–" if row.flags else rank_of(row, better) for row in group}
    claims = any(row.claimed_robust_accuracy is not None for row in group)
    certified = {key for key in _CERTIFIED.values() if any(getattr(row, key) is not None for row in group)}
    return build_board(setting, best_first(group), ranks, choose_columns((), certified, claims=claims))
