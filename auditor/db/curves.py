"""Curves as rows and back."""

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from auditor.db import models as tables
from auditor.db.codec import pack_floats, pack_numbers, unpack_floats, unpack_numbers
from auditor.records.curves import Curve


def curve_row(audit_id: int, curve: Curve) -> tables.Curve:
    return tables.Curve(
        audit_id=audit_id,
        n=len(curve.sizes),
        norm=curve.norm,
        largest=curve.largest,
        sizes=pack_floats(curve.sizes),
        found_by=pack_numbers(curve.found_by + 1),
        attacks=list(curve.attacks),
        seconds=curve.seconds,
    )


def curve_record(row: tables.Curve) -> Curve:
    return Curve(
        norm=row.norm,
        largest=row.largest,
        sizes=unpack_floats(row.sizes),
        found_by=unpack_numbers(row.found_by) - 1,
        attacks=tuple(row.attacks),
        seconds=row.seconds,
    )


def load_curve(engine: Engine, audit_id: int) -> Curve | None:
    """Load an audit's curve; None if it has none."""
    with Session(engine) as session:
        found = session.get(tables.Curve, audit_id)
        return curve_record(found) if found else None
