"""Reads the models of a zoo plot: two measures of each, without the rest of their rows, because zoos are large."""

from typing import Any

from sqlalchemy import ColumnElement, Engine, Select, and_, case, func, or_, select
from sqlalchemy.orm import aliased

from auditor.db import models as tables
from auditor.db.boards import setting_columns
from auditor.db.filters import OF_CERTIFICATE
from auditor.db.mismatches import Figures, claims_of, mismatches
from auditor.records.corruptions import PUBLISHED
from auditor.records.matrices import GAP_FIELDS
from auditor.records.results import PlotModel, Setting

_KINDS = {name: kind for kind, name in GAP_FIELDS.items()}
_CLAIMS = {"claimed_clean_accuracy": "clean_accuracy", "claimed_robust_accuracy": "robust_accuracy"}
_SETTING = setting_columns()


def count_settings(engine: Engine, x: str, y: str) -> dict[Setting, int]:
    """The number of models that have both measures, by setting, the largest first."""
    count = func.count()
    query: Any = select(*_SETTING, count).select_from(tables.Audit)
    query, _ = _select_measured(_join_published(query) if {x, y} & _CLAIMS.keys() else query, x, y)
    query = query.group_by(*_SETTING).order_by(count.desc(), *_SETTING)
    with engine.connect() as connection:
        return {row[:-1]: row[-1] for row in map(tuple, connection.execute(query))}


def list_plot_models(engine: Engine, setting: Setting, x: str, y: str, limit: int) -> list[PlotModel]:
    """The models of a setting that have both measures: ``limit`` at most, those that were audited last."""
    audit, model, published = tables.Audit, tables.Model, tables.Published
    query: Select[Any] = select(
        audit.id, audit.protocol, audit.norm, audit.eps, audit.n, audit.flags, audit.clean_accuracy,
        audit.robust_accuracy, audit.robust_low, audit.robust_high, model.name, model.source, model.training,
        model.architecture["name"].as_string().label("architecture"),
        *(getattr(published, name).label(f"published_{name}") for name in Figures._fields),
        tables.Certificate.certified_accuracy,
    )  # fmt: skip
    query = _join_published(query).outerjoin(tables.Certificate, tables.Certificate.audit_id == audit.id)
    query, values = _select_measured(query, x, y)
    query = query.add_columns(*(value.label(name) for name, value in zip(("x", "y"), values, strict=True))).where(
        *(column.is_not_distinct_from(value) for column, value in zip(_SETTING, setting, strict=True))
    )
    query = query.order_by(audit.started_at.desc().nulls_last(), audit.id.desc()).limit(limit)
    with engine.connect() as connection:
        found = (_plot_model(row, x, y) for row in connection.execute(query))
        return [one for one in found if one is not None]


def _join_published(query: Select[Any]) -> Select[Any]:
    model, published = tables.Model, tables.Published
    query = query.join(model, model.id == tables.Audit.model_id)
    return query.outerjoin(published, published.model == model.name)


def _select_measured(query: Select[Any], x: str, y: str) -> tuple[Select[Any], list[ColumnElement[Any]]]:
    """Keep the newest done audits that have both measures; also returns the columns of the two."""
    audit, columns = tables.Audit, list[ColumnElement[Any]]()
    for measure in (x, y):
        if measure in _CLAIMS:
            columns.append(_claim(measure))
        elif measure in _KINDS or measure in tables.Clustering.__table__.columns:
            scores, kind = aliased(tables.Clustering), _KINDS.get(measure, "weights")
            query = query.join(scores, and_(scores.audit_id == audit.id, scores.kind == kind))
            columns.append(getattr(scores, "gap" if measure in _KINDS else measure).expression)
        elif measure in tables.Screening.__table__.columns:
            screening = aliased(tables.Screening)
            query = query.join(screening, screening.audit_id == audit.id)
            columns.append(getattr(screening, measure).expression)
        elif measure in OF_CERTIFICATE:
            certificate = aliased(tables.Certificate)
            query = query.join(certificate, certificate.audit_id == audit.id)
            columns.append(getattr(certificate, measure).expression)
        else:
            columns.append(getattr(audit, measure).expression)
    query = query.where(audit.latest_done, *(column.is_not(None) for column in columns))
    if "claimed_robust_accuracy" in (x, y):
        query = query.where(or_(audit.norm == PUBLISHED, tables.Published.norm == audit.norm))
    return query, columns


def _claim(measure: str) -> ColumnElement[Any]:
    """The published figure; for published files of corruptions it is the accuracy under corruptions."""
    published: Any = tables.Published
    claim: ColumnElement[Any] = getattr(published, _CLAIMS[measure]).expression
    if measure != "claimed_robust_accuracy":
        return claim
    return case((tables.Audit.norm == PUBLISHED, published.corruptions_accuracy), else_=claim)


def _plot_model(row: Any, x: str, y: str) -> PlotModel | None:
    claims = claims_of(row, Figures(*(getattr(row, f"published_{name}") for name in Figures._fields)))
    if claims.robust_accuracy is None and "claimed_robust_accuracy" in (x, y):
        return None
    interval = None if row.robust_low is None or row.robust_high is None else (row.robust_low, row.robust_high)
    return PlotModel(
        id=row.id,
        model=row.name,
        source=row.source,
        architecture=row.architecture,
        training=row.training,
        flags=[*row.flags, *mismatches(row, claims)],
        x=row.x,
        y=row.y,
        x_interval=interval if x == "robust_accuracy" else None,
        y_interval=interval if y == "robust_accuracy" else None,
        certified=row.certified_accuracy,
    )
