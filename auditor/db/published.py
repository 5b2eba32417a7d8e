"""Stores published figures, and loads them."""

from collections.abc import Iterable
from dataclasses import fields

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from auditor.db import models as tables
from auditor.db.base import upsert
from auditor.records import Published


def store_published(engine: Engine, figures: Iterable[Published]) -> dict[str, str]:
    """Store the figures of each model; returns ``new``, ``updated`` or ``unchanged`` by model."""
    outcome = {}
    with Session(engine) as session, session.begin():
        before = {row.model: published_record(row) for row in session.scalars(select(tables.Published))}
        for figure in figures:
            values = {name: getattr(figure, name) for name in PUBLISHED} | {"robust_accuracy": figure.robust_accuracy}
            upsert(session, tables.Published, "model", values)
            known = before.get(figure.model)
            outcome[figure.model] = "new" if known is None else "unchanged" if known == figure else "updated"
    return outcome


def published_record(row: tables.Published) -> Published:
    return Published(**{name: getattr(row, name) for name in PUBLISHED})


PUBLISHED = tuple(field.name for field in fields(Published))
"""The columns of the table that are fields of the record."""
