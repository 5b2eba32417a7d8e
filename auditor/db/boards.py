"""Leaderboards in the database: the settings that have results, and the rows of one board in brief.

A board is the newest results of all models under one setting. Ranks, facets and the number of rows need all of them,
so they are read with few columns; the rows of a page are read in full.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Engine, func, literal_column, select
from sqlalchemy.orm import Session, aliased

from auditor.db import models as tables
from auditor.db.filters import (
    OF_CERTIFICATE,
    OF_SCREENING,
    OF_WEIGHTS,
    Filter,
    conditions_of,
    find_ids,
    has_id,
    json_text,
    order_by,
    parse_json,
)
from auditor.db.mismatches import Figures, claims_of, mismatches
from auditor.records.results import Setting

BoardKey = Setting
"""A board has all results of one setting."""


class BoardRow(NamedTuple):
    """A result in brief; ``claimed``: the published robust accuracy under the same threat model."""

    id: int
    model: str
    source: str
    architecture: Mapping[str, Any]
    training: Mapping[str, Any]
    robust_accuracy: float | None
    claimed: float | None
    flags: tuple[str, ...]
    started_at: datetime | None


class FailedRow(NamedTuple):
    """An audit that failed, and why."""

    id: int
    model: str
    reason: str | None


def count_boards(engine: Engine, filter: Filter) -> dict[BoardKey, int]:
    """Count the newest results under each setting that match a filter; its ``flagged`` and ``after`` do not count."""
    audit, model, setting = tables.Audit, tables.Model, setting_columns()
    with Session(engine) as session:
        query = select(*setting, func.count()).where(audit.latest_done.expression).group_by(*setting)
        if filter.source is not None:
            query = query.join(model, model.id == audit.model_id)
        query = query.where(*conditions_of(session, replace(filter, history=True)))
        return {tuple(key): count for *key, count in session.execute(query)}


def list_failed(engine: Engine, filter: Filter, limit: int) -> list[FailedRow]:
    """List the models whose newest audit failed and that match a filter, the newest first."""
    audit, model = tables.Audit, tables.Model
    with Session(engine) as session:
        ids = find_ids(session, replace(filter, status="failed"), "-started_at", limit)
        query = (
            select(audit.id, model.name, audit.reason)
            .where(has_id(ids))
            .join(model, model.id == audit.model_id)
            .order_by(audit.started_at.desc(), audit.id)
        )
        return [FailedRow(*found) for found in session.execute(query)]


def load_board(engine: Engine, key: BoardKey, sort: str) -> list[BoardRow]:
    """Load all rows of a board in an order of :data:`auditor.db.filters.SORTABLE`."""
    audit, model, weights = tables.Audit, tables.Model, aliased(tables.Clustering)
    with Session(engine) as session:
        published = tables.Published
        columns = (published.model, *(getattr(published, name) for name in Figures._fields))
        figures = {row.model: row for row in session.execute(select(*columns))}
        query = (
            select(
                audit.id, json_text(audit.flags), audit.started_at, audit.clean_accuracy, audit.robust_accuracy,
                audit.n, audit.norm, audit.eps, audit.protocol, model.name, model.source,
                json_text(model.architecture), json_text(model.training),
            )
            .join(model, model.id == audit.model_id)
            .where(audit.latest_done.expression, *_same(key))
            .order_by(*order_by(session, sort, weights))
        )  # fmt: skip
        name = sort.removeprefix("-")
        if name in OF_SCREENING:
            query = query.outerjoin(tables.Screening, tables.Screening.audit_id == audit.id)
        elif name in OF_CERTIFICATE:
            query = query.outerjoin(tables.Certificate, tables.Certificate.audit_id == audit.id)
        elif name in OF_WEIGHTS:
            query = query.outerjoin(weights, (weights.audit_id == audit.id) & (weights.kind == "weights"))
        return [_row(found, figures.get(found.name)) for found in session.execute(query)]


def list_certified(engine: Engine, key: BoardKey) -> set[str]:
    """The certified accuracies that a row of a board has, of :data:`auditor.db.filters.OF_CERTIFICATE`."""
    audit, certificate = tables.Audit, tables.Certificate
    accuracies = (func.max(getattr(certificate, name)).label(name) for name in OF_CERTIFICATE)
    with Session(engine) as session:
        query = select(*accuracies).join(audit, certificate.audit_id == audit.id)
        (found,) = session.execute(query.where(audit.latest_done.expression, *_same(key)))
        return {name for name in OF_CERTIFICATE if getattr(found, name) is not None}


def _row(found: Any, published: Any) -> BoardRow:
    claims = claims_of(found, published)
    flags = (*parse_json(found.flags), *(mismatches(found, claims) if published else ()))
    return BoardRow(
        found.id, found.name, found.source, parse_json(found.architecture), parse_json(found.training),
        found.robust_accuracy, claims.robust_accuracy, flags, found.started_at,
    )  # fmt: skip


def setting_columns() -> list[Any]:
    """The columns of a setting, in its order; an audit without images has 0."""
    audit = tables.Audit
    count = func.coalesce(audit.n, literal_column("0"))  # a parameter would differ between SELECT and GROUP BY
    setting = [audit.protocol, audit.dataset, audit.norm, audit.eps, count, audit.linearization, audit.sketch]
    return [*setting, audit.extra_attacks]


def _same(key: BoardKey) -> list[ColumnElement[bool]]:
    pairs = zip(setting_columns(), key, strict=True)
    return [column.is_(None) if value is None else column == value for column, value in pairs]
