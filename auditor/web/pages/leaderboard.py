"""The leaderboard page: one board at a time, filtered and sorted by the query, and the same rows as CSV and JSON."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import HTMLResponse
from sqlalchemy import Engine

from auditor.db.boards import BoardKey, BoardRow, FailedRow, count_boards, list_certified, list_failed, load_board
from auditor.db.filters import SORTABLE
from auditor.db.results import Filter, count_audits, list_results
from auditor.errors import UsageError
from auditor.records.results import ResultRow
from auditor.results.association import association_of_one_setting
from auditor.results.boards import (
    FLAGGED,
    UNFLAGGED,
    BoardFilter,
    BoardView,
    RowFilter,
    count_facets,
    name_boards,
    order_boards,
    view_board,
)
from auditor.results.ranking import UNRANKED_NOTE, order_of
from auditor.results.serialize import as_csv, keys_of, nan_to_none, serialize
from auditor.text.eps import parse_eps
from auditor.text.times import parse_time
from auditor.web.api.common import Database, check_query
from auditor.web.leaderboard import COLUMNS, Board, Column, build_board, choose_columns
from auditor.web.pages.common import PageAccess, render_page
from auditor.web.pages.forms import FormState
from auditor.web.paging import last_page

router = APIRouter(dependencies=[Depends(check_query)])
ROWS = 50
BY_RANK = "-robust_accuracy"
MOST_FAILED = 50
Sorting = Literal[tuple(name for column in SORTABLE for name in (column, f"-{column}"))]  # type: ignore[valid-type]
ColumnName = Literal[tuple(column.name for column in COLUMNS)]  # type: ignore[valid-type]
Text = Annotated[str, Query(max_length=200)]
_FLAG_NAMES = {UNFLAGGED: "unflagged", FLAGGED: "flagged"}


@dataclass(frozen=True)
class LeaderboardQuery:
    """The query of the page as it was typed; ``errors`` are those of its fields."""

    fields: dict[str, str]
    columns: tuple[str, ...]
    sort: str
    page: int
    boards: BoardFilter
    rows: RowFilter
    errors: dict[str, str]

    def link(self, **changes: str) -> str:
        """Link to the same page with other fields; an empty value leaves a field out."""
        used = {name: value for name, value in (self.fields | {"sort": self.sort} | changes).items() if value}
        if used["sort"] == BY_RANK:
            del used["sort"]
        return "?" + urlencode([*used.items(), *(("columns", name) for name in self.columns)])


def read_query(
    setting: Annotated[str, Query(max_length=300)] = "",
    match: Text = "",
    source: Text = "",
    dataset: Text = "",
    protocol: Text = "",
    norm: Text = "",
    eps: Text = "",
    architecture: Text = "",
    training: Text = "",
    flagged: Text = "",
    since: Text = "",
    until: Text = "",
    columns: Annotated[list[ColumnName] | None, Query(max_length=40)] = None,  # type: ignore[valid-type]
    sort: Sorting = BY_RANK,  # type: ignore[valid-type]
    page: Annotated[int, Query(ge=1, le=100_000)] = 1,
) -> LeaderboardQuery:
    """Read the query; a field that cannot be read has an error, and narrows nothing."""
    fields = {
        "setting": setting, "match": match, "source": source, "dataset": dataset, "protocol": protocol, "norm": norm,
        "eps": eps, "architecture": architecture, "training": training, "flagged": flagged, "since": since,
        "until": until,
    }  # fmt: skip
    errors: dict[str, str] = {}

    def read(name: str, parse: Any) -> Any:
        try:
            return parse(fields[name]) if fields[name] else None
        except ValueError as error:
            errors[name] = str(error)

    boards = BoardFilter(
        dataset=dataset or None, protocol=protocol or None, norm=norm or None, eps=read("eps", parse_eps)
    )
    pattern = match if set(match) & set("*?[") else f"*{match}*"
    rows = RowFilter(
        match=pattern if match else None,
        source=source or None,
        architecture=architecture or None,
        training=training or None,
        flagged=flagged or None,
        since=read("since", parse_time),
        until=read("until", parse_time),
    )
    return LeaderboardQuery(fields, tuple(columns or ()), sort, page, boards, rows, errors)


Asked = Annotated[LeaderboardQuery, Depends(read_query)]


@dataclass(frozen=True)
class Option:
    """A choice of a filter, and how many rows it would give."""

    value: str
    text: str
    count: int


@dataclass(frozen=True)
class ColumnChoice:
    """A column that can be shown, and whether it is."""

    column: Column
    chosen: bool


@dataclass(frozen=True)
class LeaderboardPage:
    """One board. ``first`` to ``last`` are the rows of this page, of ``total`` that match, of ``size`` in the board.

    ``settings``: the boards to choose from; ``facets``: the choices of each filter; ``active``: the filters in use,
    each with the address without it; ``elsewhere``: how many rows match in other boards.
    """

    query: LeaderboardQuery
    sort: str
    form: FormState
    board: Board | None
    settings: tuple[tuple[str, str], ...]
    facets: Mapping[str, tuple[Option, ...]]
    active: tuple[tuple[str, str], ...]
    columns: tuple[ColumnChoice, ...]
    total: int
    size: int
    first: int
    last: int
    pages: Mapping[str, str]
    failed: tuple[FailedRow, ...]
    more_failed: bool
    statements: tuple[str, ...]
    elsewhere: int
    stored: int

    def choices(self, facet: str) -> tuple[tuple[str, str], ...]:
        """The values of a facet and their texts, with the number of rows; any comes first."""
        return (("", "any"), *((option.value, f"{option.text} ({option.count:,})") for option in self.facets[facet]))

    def link(self, column: Column) -> str:
        """Link to the order by this column: descending first, ascending if it is descending now."""
        descending = f"-{column.sort}"
        return self.query.link(sort=str(column.sort) if self.sort == descending else descending)


@dataclass(frozen=True)
class _Selection:
    """The chosen board, its rows that match, and the counts of all boards; ``query``: with the chosen board.

    ``sort``: the order of the rows, which is by screening score instead of rank if the board has no ranks.
    """

    query: LeaderboardQuery
    sort: str
    key: BoardKey | None
    name: str
    view: BoardView
    counts: Mapping[BoardKey, int]
    named: Mapping[str, BoardKey]


@router.get("/", response_class=HTMLResponse)
def show_leaderboard(request: Request, engine: Database, _: PageAccess, query: Asked) -> HTMLResponse:
    selected = _select(engine, query)
    query, view = selected.query, selected.view
    page = last_page(query.page, len(view.rows), ROWS)
    shown = _load(engine, view.rows[(page - 1) * ROWS : page * ROWS])
    certified = list_certified(engine, selected.key) if selected.key else ()
    columns = choose_columns(query.columns, certified, claims=view.has_claims)
    if columns == choose_columns((), certified, claims=view.has_claims):
        query = replace(query, columns=())  # so that another board has its own default
    failed = _load_failed(engine, query)
    statements = tuple(association_of_one_setting(shown)) if len(shown) == view.size else ()
    if selected.sort != query.sort:
        statements = (UNRANKED_NOTE, *statements)
    context = LeaderboardPage(
        query=query,
        sort=selected.sort,
        form=FormState(query.fields | {"setting": selected.name}, query.errors),
        board=build_board(selected.name, shown, view.ranks, columns) if selected.key else None,
        settings=tuple(
            (name, f"{name} ({selected.counts.get(key, 0):,})") for name, key in selected.named.items()
        ),
        facets=_facets(selected, query),
        active=tuple(_active(query)),
        columns=tuple(ColumnChoice(column, column in columns) for column in COLUMNS),
        total=len(view.rows),
        size=view.size,
        first=(page - 1) * ROWS + 1,
        last=(page - 1) * ROWS + len(shown),
        pages=_page_links(query, page, len(view.rows)),
        failed=failed[:MOST_FAILED],
        more_failed=len(failed) > MOST_FAILED,
        statements=statements,
        elsewhere=sum(selected.counts.get(key, 0) for key in selected.named.values() if key != selected.key),
        stored=0 if shown else count_audits(engine),
    )  # fmt: skip
    return render_page(request, "leaderboard.html", context, 422 if query.errors else 200)


@router.get("/leaderboard.csv")
def download_csv(engine: Database, _: PageAccess, query: Asked) -> Response:
    return _download(
        as_csv(_ranked_rows(engine, query), ["rank", *keys_of(ResultRow)]), "text/csv; charset=utf-8", "csv"
    )


@router.get("/leaderboard.json")
def download_json(engine: Database, _: PageAccess, query: Asked) -> Response:
    rows = nan_to_none(_ranked_rows(engine, query))
    return _download(json.dumps(rows, ensure_ascii=False), "application/json", "json")


def _download(text: str, kind: str, suffix: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="leaderboard.{suffix}"'}
    return Response(text, media_type=kind, headers=headers)


def _ranked_rows(engine: Engine, query: LeaderboardQuery) -> list[dict[str, Any]]:
    """All rows that match, in the page's order, each with its rank in its board; flagged rows have none.

    Raises:
        UsageError: a field cannot be read, so that the rows would not be the requested ones.
    """
    selected = _select(engine, query)
    if errors := selected.query.errors:
        raise UsageError("; ".join(f"{name}: {text}" for name, text in errors.items()))
    view = selected.view
    ranks = {number: int(rank) if rank.isdigit() else None for number, rank in view.ranks.items()}
    return [{"rank": ranks[row.id], **serialize(row)} for row in _load(engine, view.rows)]


def _select(engine: Engine, query: LeaderboardQuery) -> _Selection:
    """Choose the requested board if it matches the filters, else the largest one that does."""
    conditions = {name: value for name, value in query.rows.given.items() if name != "flagged"}
    counts = count_boards(engine, Filter(**conditions))
    everything = counts if not conditions else count_boards(engine, Filter())
    known = name_boards(order_boards({key: counts.get(key, 0) for key in everything}))
    named = {name: key for name, key in known.items() if not query.boards.failures(key)}
    requested = query.fields["setting"]
    name = requested if requested in named else next(iter(named), "")
    if requested and requested not in known:
        query = replace(query, errors=query.errors | {"setting": f"there is no result under {requested!r}"})
    if len(named) > 1:  # else the address needs no board
        query = replace(query, fields=query.fields | {"setting": name})
    key = named.get(name)
    sort = order_of(key[0]) if key and query.sort == BY_RANK else query.sort
    rows = load_board(engine, key, sort) if key else []
    if query.sort == BY_RANK:
        rows.sort(key=lambda row: bool(row.flags))
    return _Selection(query, sort, key, name, view_board(rows, query.rows), counts, named)


def _load(engine: Engine, rows: Sequence[BoardRow]) -> list[ResultRow]:
    """Load rows in full, in their order."""
    ids = tuple(row.id for row in rows)
    found = {row.id: row for row in list_results(engine, Filter(ids=ids, history=True))} if ids else {}
    return [found[number] for number in ids if number in found]


def _load_failed(engine: Engine, query: LeaderboardQuery) -> tuple[FailedRow, ...]:
    """The models whose newest audit failed, among those that match the filters."""
    conditions = query.rows.given | query.boards.given
    if conditions.pop("flagged", None) is not None:
        return ()
    return tuple(list_failed(engine, Filter(**conditions), MOST_FAILED + 1))


def _facets(selected: _Selection, query: LeaderboardQuery) -> dict[str, tuple[Option, ...]]:
    counters = {**count_facets(selected.counts, query.boards), **selected.view.facets}
    return {name: tuple(_options(counter, query.fields[name])) for name, counter in counters.items()}


def _options(counter: Counter[str], given: str) -> list[Option]:
    """The values of a facet, those with most rows first; a given value is one of them, even if no row has it."""
    values = dict(counter) if not given or given in counter else {**counter, given: 0}
    ordered = sorted(values, key=lambda value: (-values[value], value))
    return [Option(value, _FLAG_NAMES.get(value, value), values[value]) for value in ordered]


def _active(query: LeaderboardQuery) -> list[tuple[str, str]]:
    """The filters in use, in words, each with the address without it."""
    titles = {
        "match": "model", "dataset": "data set", "eps": "ε", "flagged": "flags", "since": "since", "until": "until"
    }  # fmt: skip
    used = {name: value for name, value in query.fields.items() if value and name != "setting"}
    return [
        (f"{titles.get(name, name)}: {_FLAG_NAMES.get(value, value)}", query.link(**{name: ""}))
        for name, value in used.items()
    ]


def _page_links(query: LeaderboardQuery, page: int, count: int) -> dict[str, str]:
    """The addresses of other pages, by their names."""
    last = last_page(100_000, count, ROWS)
    targets = {"First": 1, "Previous": page - 1, "Next": page + 1, "Last": last}
    return {
        name: query.link(page=str(target)) for name, target in targets.items() if 1 <= target <= last and target != page
    }
