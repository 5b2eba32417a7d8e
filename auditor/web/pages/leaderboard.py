"""The leaderboard page: the newest results, filtered and sorted by the query."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from auditor.db.filters import SORTABLE
from auditor.db.results import Filter, count_audits, list_results
from auditor.errors import UsageError
from auditor.records.protocols import ProtocolName
from auditor.records.results import ResultRow
from auditor.results.association import association_of_one_setting
from auditor.text.eps import parse_eps
from auditor.web.api.common import Database
from auditor.web.leaderboard import Board, build_boards
from auditor.web.pages.common import PageAccess, render_page
from auditor.web.paging import decode_cursor, encode_cursor

router = APIRouter()
ROWS = 100
Sorting = Literal[tuple(name for column in SORTABLE for name in (column, f"-{column}"))]  # type: ignore[valid-type]
Text = Annotated[str, Query(max_length=200)]


@dataclass(frozen=True)
class Sort:
    """The present order, and the links to other orders."""

    current: str
    filters: dict[str, str]

    def link(self, name: str) -> str:
        """Link to the order by this column: descending first, ascending if it is descending now."""
        order = name if self.current == f"-{name}" else f"-{name}"
        return "?" + urlencode(self.filters | {"sort": order})


@dataclass(frozen=True)
class LeaderboardPage:
    """``ranked`` says whether ranks are known: on a part of a list in another order, better rows may be missing."""

    boards: tuple[Board, ...]
    sort: Sort
    filters: dict[str, str]
    failed: tuple[ResultRow, ...]
    statements: tuple[str, ...]
    next: str | None
    ranked: bool
    stored: int


@router.get("/", response_class=HTMLResponse)
def show_leaderboard(
    request: Request,
    engine: Database,
    _: PageAccess,
    match: Text = "",
    source: Text = "",
    dataset: Text = "",
    protocol: Literal["", ProtocolName] = "",
    norm: Literal["", "Linf", "L2"] = "",
    eps: Text = "",
    architecture: Text = "",
    training: Text = "",
    flagged: Literal["", "true", "false"] = "",
    sort: Sorting = "-robust_accuracy",  # type: ignore[valid-type]
    cursor: Annotated[str | None, Query(max_length=1000)] = None,
) -> HTMLResponse:
    fields = {
        "match": match, "source": source, "dataset": dataset, "protocol": protocol, "norm": norm, "eps": eps,
        "architecture": architecture, "training": training, "flagged": flagged,
    }  # fmt: skip
    selection: dict[str, Any] = {name: value or None for name, value in fields.items() if name != "flagged"}
    selection["match"] = f"*{match}*" if match and not set(match) & set("*?[") else match or None
    selection["eps"] = _radius(eps) if eps else None
    selection["flagged"] = {"true": True, "false": False}.get(flagged)
    rows = list_results(engine, Filter(**selection, after=decode_cursor(cursor, sort)), sort=sort, limit=ROWS + 1)
    more, rows = len(rows) > ROWS, rows[:ROWS]
    used = {name: value for name, value in fields.items() if value}
    complete = cursor is None and not more
    ranked = complete or (cursor is None and sort == "-robust_accuracy")
    context = LeaderboardPage(
        boards=build_boards(rows, keep_order=sort != "-robust_accuracy", ranked=ranked),
        sort=Sort(sort, used),
        filters=fields,
        failed=tuple(row for row in rows if row.status != "done"),
        statements=tuple(association_of_one_setting(rows)) if complete else (),
        next="?" + urlencode(used | {"sort": sort, "cursor": encode_cursor(rows[-1], sort)}) if more else None,
        ranked=ranked,
        stored=0 if rows else count_audits(engine),
    )
    return render_page(request, "leaderboard.html", context)


def _radius(text: str) -> float:
    try:
        return parse_eps(text)
    except ValueError as error:
        raise UsageError(f"eps: {error}") from error
