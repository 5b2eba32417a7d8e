"""Filters and sorts results in SQL, so that a list of twenty results reads twenty rows."""

import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

from sqlalchemy import ColumnElement, Integer, Select, String, bindparam, cast, false, literal_column, select
from sqlalchemy.orm import Session, aliased

from auditor.db import models as tables
from auditor.db.base import as_python_sorts
from auditor.errors import UsageError

_OF_MODEL = {"model": tables.Model.name, "source": tables.Model.source}
OF_WEIGHTS = ("intra", "inter", "gap", "silhouette", "p_value", "effective_rank")
OF_SCREENING = ("screen_score", "margin", "local_gap", "data_margin")
OF_CERTIFICATE = ("certified_accuracy", "smoothed_certified_accuracy")
SORTABLE = (
    "model", "source", "dataset", "protocol", "eps", "clean_accuracy", "robust_accuracy", "n", "intra", "inter", "gap",
    "silhouette", "p_value", "effective_rank", "screen_score", "margin", "local_gap", "data_margin",
    "certified_accuracy", "smoothed_certified_accuracy", "seconds", "started_at",
)  # fmt: skip
NEVER_NULL = ("model", "source", "dataset", "protocol", "eps")
"""The sortable columns that every audit has a value of."""
EPS_TOLERANCE = 1e-3
STATES = ("done", "failed", "cancelled", "queued", "running")


@dataclass(frozen=True)
class Cursor:
    """A row's place in an order: its value of the sorted column, and its id."""

    value: Any
    id: int


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Conditions on results: every field that is not None narrows the list. ``history`` includes older results.

    ``ids`` lists audits by ID. ``eps`` matches radii that differ by less than a thousandth. ``architecture`` and
    ``training`` match a part of any value of the model's description of them, whatever the case. ``since`` and
    ``until`` limit when the audit started; ``until`` itself is left out. ``correlation``: ``exact`` or ``sketch``.
    ``status``: without ``history``, ``failed`` lists the models whose newest audit failed. ``after``: only rows behind
    this one in the requested order; so new rows between two pages neither repeat nor hide a row.
    """

    id: int | None = None
    ids: Sequence[int] | None = None
    scan: int | None = None
    model: str | None = None
    match: str | None = None
    source: str | None = None
    dataset: str | None = None
    protocol: str | None = None
    norm: str | None = None
    eps: float | None = None
    architecture: str | None = None
    training: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    linearization: str | None = None
    correlation: str | None = None
    status: str | None = None
    flagged: bool | None = None
    history: bool = False
    after: "Cursor | None" = None


def check_filter(filter: Filter, sort: str) -> None:
    """Raises UsageError if the column cannot be sorted by, or the state does not exist."""
    if sort.removeprefix("-") not in SORTABLE:
        raise UsageError(f"cannot sort by {sort.removeprefix('-')!r}; choose from {', '.join(SORTABLE)}")
    if filter.status is not None and filter.status not in STATES:
        raise UsageError(f"no status {filter.status!r}; choose from {', '.join(STATES)}")


def order_by(session: Session, sort: str, weights: Any) -> tuple[ColumnElement[Any], ColumnElement[int]]:
    """Order by a column, largest first with ``-`` in front; rows without a value come last, equal rows by id."""
    return _direction(_key(session, sort, weights), sort).nulls_last(), tables.Audit.id.asc()


def _direction(key: ColumnElement[Any], sort: str) -> ColumnElement[Any]:
    return key.desc() if sort.startswith("-") else key.asc()


def _key(session: Session, sort: str, weights: Any) -> ColumnElement[Any]:
    name = sort.removeprefix("-")
    if name in _OF_MODEL:
        return as_python_sorts(session, _OF_MODEL[name].expression)
    homes = {
        **dict.fromkeys(OF_WEIGHTS, weights),
        **dict.fromkeys(OF_SCREENING, tables.Screening),
        **dict.fromkeys(OF_CERTIFICATE, tables.Certificate),
    }
    home = homes.get(name, tables.Audit)
    column = getattr(home, name)
    return as_python_sorts(session, column.expression)


def _is_after(session: Session, sort: str, weights: Any, cursor: Cursor) -> ColumnElement[bool]:
    """The rows behind the cursor in this order; rows without a value come last."""
    key, later = _key(session, sort, weights), tables.Audit.id > cursor.id
    if cursor.value is None:
        return key.is_(None) & later
    value = _cursor_value(sort, cursor)
    beyond: ColumnElement[bool] = key < value if sort.startswith("-") else key > value
    behind: ColumnElement[bool] = beyond | ((key == value) & later) | key.is_(None)
    return behind


def _not_before(sort: str, key: ColumnElement[Any], cursor: Cursor) -> ColumnElement[bool]:
    """A range of the sorted column that an index starts at; :func:`_is_after` decides about equal values."""
    if cursor.value is None:
        return false()
    value = _cursor_value(sort, cursor)
    range_: ColumnElement[bool] = key <= value if sort.startswith("-") else key >= value
    return range_


def _cursor_value(sort: str, cursor: Cursor) -> Any:
    if sort.removeprefix("-") != "started_at":
        return cursor.value
    audit = aliased(tables.Audit)  # result rows round the time to seconds
    return select(audit.started_at).where(audit.id == cursor.id).scalar_subquery()


def find_ids(session: Session, filter: Filter, sort: str, limit: int) -> list[int]:
    """The ids of the first matching audits, in order; the caller applies ``flagged``.

    Audits with a value come from one statement and those without from another, because no index has an order that
    goes both ways with NULL at the end.
    """
    found = list(session.scalars(_select_part(session, filter, sort, limit, with_value=True)))
    if len(found) < limit and sort.removeprefix("-") not in NEVER_NULL:
        rest = _select_part(session, filter, sort, limit - len(found), with_value=False)
        found += session.scalars(rest)
    return found


def select_ids(session: Session, filter: Filter, sort: str) -> Select[int]:
    """Select the ids of all matching audits, in any order; the caller applies ``flagged``."""
    return _join_key(session, filter, sort if filter.after is not None else None)


def _select_part(session: Session, filter: Filter, sort: str, limit: int, *, with_value: bool) -> Select[int]:
    """Select the first ids of the audits that have a value to sort by, or of those that have none."""
    weights = aliased(tables.Clustering)
    key, audit_id = _key(session, sort, weights), tables.Audit.id.asc()
    query = _join_key(session, filter, sort, weights, inner=with_value)
    # In the statement's text: SQLite plans a statement before it sees the parameters.
    known = bindparam("limit", limit, Integer, literal_execute=True)
    if not with_value:
        return query.where(key.is_(None)).order_by(audit_id).limit(known)
    if filter.after is not None:
        query = query.where(_not_before(sort, key, filter.after))
    return query.where(key.is_not(None)).order_by(_direction(key, sort), audit_id).limit(known)


def _join_key(
    session: Session, filter: Filter, sort: str | None, weights: Any = tables.Clustering, *, inner: bool = False
) -> Select[int]:
    """Select the ids of the matching audits with few joins: what the filter and the sorted column need.

    ``sort``: None for any order. ``inner``: leave out audits without a row to sort by.
    """
    audit, model = tables.Audit, tables.Model
    query = select(audit.id).where(*conditions_of(session, filter))
    name = (sort or "").removeprefix("-")
    if filter.source is not None or name in _OF_MODEL:
        query = query.join(model, model.id == audit.model_id)
    if name in OF_WEIGHTS:  # in the statement's text: the condition of partial indices
        is_weights = weights.kind == literal_column("'weights'")
        query = query.join(weights, (weights.audit_id == audit.id) & is_weights, isouter=not inner)
    for table, names in ((tables.Screening, OF_SCREENING), (tables.Certificate, OF_CERTIFICATE)):
        if name in names:
            query = query.join(table, table.audit_id == audit.id, isouter=not inner)
    if sort is not None and filter.after is not None:
        query = query.where(_is_after(session, sort, weights, filter.after))
    return query


def conditions_of(session: Session, filter: Filter) -> Iterator[ColumnElement[bool]]:
    """The conditions on audits; those on a source need the audit's model in the query."""
    audit = tables.Audit
    for column, value in (
        (audit.id, filter.id),
        (tables.Model.source, filter.source),
        (audit.dataset, filter.dataset),
        (audit.protocol, filter.protocol),
        (audit.norm, filter.norm),
        (audit.linearization, filter.linearization),
        (audit.state, filter.status),
    ):
        if value is not None:
            yield column == value
    if filter.ids is not None:
        yield has_id(filter.ids)
    if filter.correlation is not None:
        yield audit.sketch.is_(None) if filter.correlation == "exact" else audit.sketch.is_not(None)
    if filter.eps is not None:
        yield audit.eps.between(filter.eps * (1 - EPS_TOLERANCE), filter.eps * (1 + EPS_TOLERANCE))
    if filter.since is not None:
        yield audit.started_at >= filter.since
    if filter.until is not None:
        yield audit.started_at < filter.until
    if any(one is not None for one in (filter.model, filter.match, filter.architecture, filter.training)):
        # In the statement's text: databases limit the number of parameters.
        yield audit.model_id.in_(
            bindparam("models", _matching_models(session, filter), expanding=True, literal_execute=True)
        )
    if filter.scan is not None:
        yield audit.id.in_(select(tables.ScanAudit.audit_id).where(tables.ScanAudit.scan_id == filter.scan))
    elif not filter.history and filter.status in (None, "done", "failed"):
        yield (audit.latest_done if filter.status == "done" else audit.latest).expression


def has_id(ids: Sequence[int]) -> ColumnElement[bool]:
    """Whether an audit is one of these; in the statement's text, because databases limit the number of parameters."""
    return tables.Audit.id.in_(bindparam("ids", list(ids), expanding=True, literal_execute=True))


def _matching_models(session: Session, filter: Filter) -> list[int]:
    """The ids of the models that match a name, with or without its source, a pattern, and their descriptions."""
    model = tables.Model
    descriptions = {"architecture": filter.architecture, "training": filter.training}
    searched = {name: words for name, words in descriptions.items() if words is not None}
    found = []
    for number, full_name, *facts in session.execute(
        select(model.id, model.name, *(json_text(getattr(model, name)) for name in searched))
    ):
        names = (full_name, full_name.partition(":")[2])
        if (
            filter.model in (None, *names)
            and (filter.match is None or any(fnmatchcase(name, filter.match) for name in names))
            and all(mentions(parse_json(text), words) for text, words in zip(facts, searched.values(), strict=True))
        ):
            found.append(number)
    return found


def json_text(column: Any) -> Any:
    """A JSON column as text, for :func:`parse_json`."""
    return cast(column, String).label(column.key)


@functools.lru_cache(5000)
def parse_json(text: str) -> Any:
    """Parse JSON that many rows share, such as descriptions of models; do not change the result."""
    return json.loads(text)


def mentions(facts: Mapping[str, Any], words: str) -> bool:
    """Whether any value of a model's description contains the words, whatever the case."""
    return any(words.casefold() in str(value).casefold() for value in facts.values())
