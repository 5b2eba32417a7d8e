"""Reads the stored pictures of an audit's templates."""

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from auditor.db import models as tables
from auditor.db.codec import unpack_templates
from auditor.records.templates import TemplateKind, Templates

KINDS: tuple[TemplateKind, ...] = ("linearized", "local")


def load_templates(engine: Engine, audit_id: int) -> tuple[Templates, ...]:
    """The pictures of an audit's templates, those of the linearized network first; empty if it stored none."""
    with Session(engine) as session:
        rows = {
            row.kind: row
            for row in session.scalars(select(tables.Templates).where(tables.Templates.audit_id == audit_id))
        }
        return tuple(
            Templates(
                kind=kind,
                values=unpack_templates(rows[kind].scales, rows[kind].pixels, tuple(rows[kind].shape)),
                size=(rows[kind].size[0], rows[kind].size[1]),
                probes=rows[kind].probes,
            )
            for kind in KINDS
            if kind in rows
        )
