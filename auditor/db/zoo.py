"""The models of all scans, as rows."""

from typing import Any

from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from auditor.db import models as tables
from auditor.db.base import as_python_sorts
from auditor.errors import NotFoundError

Row = dict[str, Any]


def list_models(
    engine: Engine, *, source: str | None = None, dataset: str | None = None, after: str | None = None, limit: int = 100
) -> list[Row]:
    """Models in the order of their names, from behind the name ``after``, each with its number of audits."""
    model, audit = tables.Model, tables.Audit
    with Session(engine) as session:
        name = as_python_sorts(session, model.name.expression)
        query = select(model).order_by(name).limit(limit)
        for column, value in ((model.source, source), (model.dataset, dataset)):
            query = query if value is None else query.where(column == value)
        found = session.scalars(query if after is None else query.where(name > after)).all()
        count = select(audit.model_id, func.count()).where(audit.model_id.in_([one.id for one in found]))
        audits = {row[0]: row[1] for row in session.execute(count.group_by(audit.model_id))}
        return [_row(one, audits.get(one.id, 0)) for one in found]


def list_audited_names(engine: Engine, limit: int = 2000) -> list[str]:
    """The names of the models that have a result."""
    model, audit = tables.Model, tables.Audit
    audited = select(audit.model_id).where(audit.latest_done)
    with Session(engine) as session:
        name = as_python_sorts(session, model.name.expression)
        return list(session.scalars(select(model.name).where(model.id.in_(audited)).order_by(name).limit(limit)))


def load_model(engine: Engine, name: str) -> Row:
    """Load the model of this full name. Raises NotFoundError if no scan has met it."""
    model, audit = tables.Model, tables.Audit
    with Session(engine) as session:
        one = session.scalars(select(model).where(model.name == name)).first()
        if one is None:
            raise NotFoundError(f"there is no model {name!r}")
        return _row(one, session.scalar(select(func.count()).where(audit.model_id == one.id)) or 0)


def _row(model: tables.Model, audits: int) -> Row:
    same = ("name", "source", "description", "dataset", "architecture", "training")
    return {"model" if name == "name" else name: getattr(model, name) for name in same} | {"audits": audits}
