"""Marks the latest audits of each model and setting when they end, so that lists find them by an index."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, or_, select, update
from sqlalchemy.orm import Session

from auditor.db import models as tables

SETTING = ("model_id", "dataset", "protocol", "norm", "eps", "linearization", "sketch", "samples", "extra_attacks")
"""The columns that audits of one series share."""


def lock_model(session: Session, model_id: int) -> None:
    """Let one transaction per model at a time decide which audit is the latest; SQLite has one writer anyway.

    Take this lock before locking a marked audit, or two transactions could deadlock. Inserting new audits of the
    model, which reads the row for the foreign key, does not wait.
    """
    model = tables.Model.id
    session.execute(select(model).where(model == model_id).with_for_update(key_share=True))


def confirm(session: Session, audit_id: int, now: datetime) -> None:
    """Make a done audit the latest, because a scan found that its model still has this identity."""
    audit = tables.Audit
    lock_model(session, session.scalars(select(audit.model_id).where(audit.id == audit_id)).one())
    session.execute(update(audit).where(audit.id == audit_id).values(confirmed_at=now))
    mark_latest(session, audit_id, ended=True)


def mark_latest(session: Session, audit_id: int, *, ended: bool = False) -> None:
    """Mark the last confirmed audits of the series of this audit; ``ended``: it has just been confirmed itself."""
    setting = select(*(getattr(tables.Audit, name) for name in SETTING)).where(tables.Audit.id == audit_id)
    mark_series(session, session.execute(setting).one(), audit_id if ended else None)


def mark_series(session: Session, setting: Row[Any], ended: int | None = None) -> None:
    """Mark the last confirmed audits of a series; ``setting`` holds the columns that its audits share.

    ``ended``: the audit that has just ended or been confirmed; it is the latest even if clocks differ.
    Under READ COMMITTED each statement sees what was committed before it began, so those after the lock see all that
    ended before.
    """
    audit = tables.Audit
    lock_model(session, setting.model_id)
    series = [_same(getattr(audit, name), getattr(setting, name)) for name in SETTING]
    if ended is not None:
        others = select(audit.confirmed_at).where(*series, audit.id != ended, audit.state.in_(("done", "failed")))
        last = session.scalar(others.order_by(audit.confirmed_at.desc()).limit(1))
        if last is not None:
            late = update(audit).where(audit.id == ended, audit.confirmed_at <= last)
            late = late.values(confirmed_at=last + timedelta(microseconds=1))
            session.execute(late.execution_options(synchronize_session=False))
    newest = select(audit.id).where(*series).order_by(audit.confirmed_at.desc(), audit.id.desc()).limit(1)
    latest_id = newest.where(audit.state.in_(("done", "failed"))).scalar_subquery()
    done_id = newest.where(audit.state == "done").scalar_subquery()
    numbers = session.execute(select(latest_id, done_id)).one()
    latest, latest_done = (audit.id == (number or 0) for number in numbers)
    session.execute(
        update(audit)
        .where(*series, or_(audit.latest.is_distinct_from(latest), audit.latest_done.is_distinct_from(latest_done)))
        .values(latest=latest, latest_done=latest_done)
        .execution_options(synchronize_session=False)
    )


def _same(column: Any, value: Any) -> ColumnElement[bool]:
    """Not IS NOT DISTINCT FROM, for which PostgreSQL uses no index."""
    same: ColumnElement[bool] = column.is_(None) if value is None else column == value
    return same
