"""A leaderboard as a reader narrows it: which rows match, what each other choice would give, and everybody's rank."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

from auditor.db.boards import BoardKey, BoardRow
from auditor.db.filters import EPS_TOLERANCE, mentions
from auditor.records import STOPPED_EARLY
from auditor.results.ranking import describe_setting, rank_among
from auditor.text.eps import format_eps

PROTOCOLS = ("full", "strong", "standard", "quick", "screen")
"""The strongest first."""
UNFLAGGED, FLAGGED = "false", "true"


def _given(filter: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(filter).items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class BoardFilter:
    """Conditions on boards: every field that is not None narrows the choice."""

    dataset: str | None = None
    protocol: str | None = None
    norm: str | None = None
    eps: float | None = None

    @property
    def given(self) -> dict[str, Any]:
        """The conditions that are set."""
        return _given(self)

    def failures(self, key: BoardKey) -> set[str]:
        """The fields that a board does not match."""
        protocol, dataset, norm, eps, *_ = key
        found = {"dataset": dataset, "protocol": protocol, "norm": norm}
        failed = {name for name, value in found.items() if getattr(self, name) not in (None, value)}
        return failed | ({"eps"} if self.eps is not None and abs(eps - self.eps) > EPS_TOLERANCE * self.eps else set())


@dataclass(frozen=True, kw_only=True)
class RowFilter:
    """Conditions on the rows of a board: every field that is not None narrows the list.

    ``match``: a pattern of names, with or without the source. ``architecture`` and ``training``: a part of any value
    of the model's description of them. ``flagged``: ``true``, ``false``, or the name of a flag. ``since``, ``until``:
    when the audit started.
    """

    match: str | None = None
    source: str | None = None
    architecture: str | None = None
    training: str | None = None
    flagged: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def failures(self, row: BoardRow) -> set[str]:
        """The fields that a row does not match."""
        return {name for name, value in self.given.items() if not _MATCHES[name](row, value)}

    @property
    def given(self) -> dict[str, Any]:
        """The conditions that are set."""
        return _given(self)


def _has_name(row: BoardRow, pattern: str) -> bool:
    return fnmatchcase(row.model, pattern) or fnmatchcase(row.model.partition(":")[2], pattern)


def _has_flag(row: BoardRow, flag: str) -> bool:
    return bool(row.flags) == (flag == FLAGGED) if flag in (FLAGGED, UNFLAGGED) else flag in row.flags


_MATCHES: dict[str, Callable[[BoardRow, Any], bool]] = {
    "match": _has_name,
    "source": lambda row, source: row.source == source,
    "architecture": lambda row, words: mentions(row.architecture, words),
    "training": lambda row, words: mentions(row.training, words),
    "flagged": _has_flag,
    "since": lambda row, time: row.started_at is not None and row.started_at >= time,
    "until": lambda row, time: row.started_at is not None and row.started_at < time,
}


@dataclass(frozen=True)
class BoardView:
    """The matching rows in their order, and all ranks of the board: filters and pages do not change a rank.

    ``facets``: for each field, how many rows each value would give under the other conditions. ``size``: of the board.
    """

    rows: tuple[BoardRow, ...]
    ranks: Mapping[int, str]
    facets: Mapping[str, Counter[str]]
    size: int
    has_claims: bool


def view_board(rows: Sequence[BoardRow], filter: RowFilter) -> BoardView:
    """Rank all rows of a board, and select those that match a filter.

    Of several rows of a model, which some had from a smaller data set or an early stop, the newest complete one counts.
    """
    newest: dict[str, BoardRow] = {}
    for row in sorted(rows, key=lambda row: (STOPPED_EARLY not in row.flags, row.id)):
        newest[row.model] = row
    rows = [row for row in rows if newest[row.model] is row]
    better = sorted((row.robust_accuracy or 0 for row in rows if not row.flags), reverse=True)
    conditions = bool(filter.given)
    matching = []
    facets: dict[str, Counter[str]] = {name: Counter() for name in _VALUES}
    for row in rows:
        failed = filter.failures(row) if conditions else set()
        if not failed:
            matching.append(row)
        if len(failed) <= 1:
            for name, values in _VALUES.items():
                if failed <= {name}:
                    facets[name].update(values(row))
    return BoardView(
        rows=tuple(matching),
        ranks={row.id: "–" if row.flags else rank_among(row.robust_accuracy, better) for row in rows},
        facets=facets,
        size=len(rows),
        has_claims=any(row.claimed is not None for row in rows),
    )


_VALUES: dict[str, Callable[[BoardRow], Iterable[str]]] = {
    "source": lambda row: [row.source],
    "architecture": lambda row: [str(row.architecture["name"])] if row.architecture.get("name") else [],
    "training": lambda row: [str(row.training["method"])] if row.training.get("method") else [],
    "flagged": lambda row: (FLAGGED, *row.flags) if row.flags else (UNFLAGGED,),
}


def order_boards(counts: Mapping[BoardKey, int]) -> list[BoardKey]:
    """Boards with most rows first; of equal ones, those under the stronger protocol."""

    def place(key: BoardKey) -> tuple[int, int, str]:
        protocol = PROTOCOLS.index(key[0]) if key[0] in PROTOCOLS else len(PROTOCOLS)
        return -counts[key], protocol, describe_setting(key)

    return sorted(counts, key=place)


def name_boards(keys: Iterable[BoardKey]) -> dict[str, BoardKey]:
    """Name each board by its setting; two whose texts are equal, because of a rounded ε, get the exact one, too."""
    named: dict[str, BoardKey] = {}
    for key in keys:
        text = describe_setting(key)
        named[text if text not in named else f"{text}, ε = {key[3]!r}"] = key
    return named


def count_facets(counts: Mapping[BoardKey, int], filter: BoardFilter) -> dict[str, Counter[str]]:
    """For each field of a board's setting, how many rows each value would give under the other conditions."""
    facets: dict[str, Counter[str]] = {name: Counter() for name in ("protocol", "dataset", "norm", "eps")}
    for key, count in counts.items():
        failed = filter.failures(key)
        for name, value in zip(facets, (*key[:3], format_eps(key[3])), strict=True):
            if failed <= {name} and (name, key[3]) != ("eps", 0):  # corruptions have no radius to choose
                facets[name][value] += count
    return facets
