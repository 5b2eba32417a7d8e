"""Filters and sorts results in SQL, so that a list of twenty results reads twenty rows."""

import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

from sqlalchemy import ColumnElement, Integer, Select, String, bindparam, cast, select
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
    key = _key(session, sort, weights)
    return (key.desc() if sort.startswith("-") else key.asc()).nulls_last(), tables.Audit.id.asc()


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
    value = cursor.value
    if sort.removeprefix("-") == "started_at":  # result rows round it to seconds
        audit = aliased(tables.Audit)
        value = select(audit.started_at).where(audit.id == cursor.id).scalar_subquery()
    beyond: ColumnElement[bool] = key < value if sort.startswith("-") else key > value
    behind: ColumnElement[bool] = beyond | ((key == value) & later) | key.is_(None)
    return behind


def select_ids(session: Session, filter: Filter, sort: str, limit: int | None) -> Select[int]:
    """Select the ids of the matching audits with as few joins as possible; the caller applies ``flagged``."""
    audit, model, weights = tables.Audit, tables.Model, aliased(tables.Clustering)
    query = select(audit.id).where(*conditions_of(session, filter))
    name = sort.removeprefix("-")
    ordered = limit is not None or filter.after is not None
    if filter.source is not None or (ordered and name in _OF_MODEL):
        query = query.join(model, model.id == audit.model_id)
    if ordered and name in OF_WEIGHTS:
        query = query.outerjoin(weights, (weights.audit_id == audit.id) & (weights.kind == "weights"))
    if ordered and name in OF_SCREENING:
        query = query.outerjoin(tables.Screening, tables.Screening.audit_id == audit.id)
    if ordered and name in OF_CERTIFICATE:
        query = query.outerjoin(tables.Certificate, tables.Certificate.audit_id == audit.id)
    if filter.after is not None:
        query = query.where(_is_after(session, sort, weights, filter.after))
    if limit is None:
        return query
    # In the statement's text: SQLite plans a statement before it sees the parameters.
    known = bindparam("limit", limit, Integer, literal_execute=True)
    return query.order_by(*order_by(session, sort, weights)).limit(known)


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
    if filter.ids is not None:  # in the statement's text: databases limit the number of parameters
        yield audit.id.in_(bindparam("ids", list(filter.ids), expanding=True, literal_execute=True))
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
