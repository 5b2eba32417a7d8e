"""The leaderboard: the newest results, filtered and sorted as the address says."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from auditor.db.filters import SORTABLE
from auditor.db.results import Filter, count_audits, list_results
from auditor.records.results import ResultRow
from auditor.results.association import association_of_one_setting
from auditor.web.api.common import Database
from auditor.web.leaderboard import Board, boards
from auditor.web.pages.common import Looking, page
from auditor.web.paging import cursor_after, read_cursor

router = APIRouter()
ROWS = 100
Sorting = Literal[tuple(name for column in SORTABLE for name in (column, f"-{column}"))]  # type: ignore[valid-type]
Word = Annotated[str, Query(max_length=200)]


@dataclass(frozen=True)
class Sort:
    """The order now, and the addresses of others."""

    now: str
    asked: dict[str, str]

    def link(self, name: str) -> str:
        """By this column, largest first; again: smallest first."""
        order = name if self.now == f"-{name}" else f"-{name}"
        return "?" + urlencode(self.asked | {"sort": order})


@dataclass(frozen=True)
class Leaderboard:
    """``ranked``: whether ranks can be told: a page of a longer list in another order does not hold all better rows."""

    boards: tuple[Board, ...]
    sort: Sort
    asked: dict[str, str]
    failed: tuple[ResultRow, ...]
    statements: tuple[str, ...]
    next: str | None
    ranked: bool
    stored: int


@router.get("/", response_class=HTMLResponse)
def leaderboard(
    request: Request,
    engine: Database,
    _: Looking,
    match: Word = "",
    source: Word = "",
    dataset: Word = "",
    protocol: Literal["", "screen", "quick", "standard", "full"] = "",
    flagged: Literal["", "true", "false"] = "",
    sort: Sorting = "-robust_accuracy",  # type: ignore[valid-type]
    cursor: Annotated[str | None, Query(max_length=1000)] = None,
) -> HTMLResponse:
    asked = {"match": match, "source": source, "dataset": dataset, "protocol": protocol, "flagged": flagged}
    filters: dict[str, Any] = {name: value or None for name, value in asked.items() if name != "flagged"}
    filters["match"] = f"*{match}*" if match and not set(match) & set("*?[") else match or None
    filters["flagged"] = {"true": True, "false": False}.get(flagged)
    rows = list_results(engine, Filter(**filters, after=read_cursor(cursor, sort)), sort=sort, limit=ROWS + 1)
    more, rows = len(rows) > ROWS, rows[:ROWS]
    kept = {name: value for name, value in asked.items() if value}
    whole = cursor is None and not more
    ranked = whole or (cursor is None and sort == "-robust_accuracy")
    context = Leaderboard(
        boards=boards(rows, keep_order=sort != "-robust_accuracy", ranked=ranked),
        sort=Sort(sort, kept),
        asked=asked,
        failed=tuple(row for row in rows if row.status != "done"),
        statements=tuple(association_of_one_setting(rows)) if whole else (),
        next="?" + urlencode(kept | {"sort": sort, "cursor": cursor_after(rows[-1], sort)}) if more else None,
        ranked=ranked,
        stored=0 if rows else count_audits(engine),
    )
    return page(request, "leaderboard.html", context)
