"""Which audits of a model under one setting are the latest: marked as they end, so that lists need not look for them."""

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from auditor.db import models as tables

SETTING = ("model_id", "dataset", "protocol", "norm", "eps", "linearization", "sketch", "samples")
"""The columns that audits of one series share."""

_FLAGS = {tables.Audit.latest: ("done", "failed"), tables.Audit.latest_done: ("done",)}


def mark_latest(session: Session, audit_id: int) -> None:
    """Mark the audits confirmed last of the series of this one; one transaction a model at a time."""
    audit = tables.Audit
    one = session.get_one(audit, audit_id, populate_existing=True)
    session.execute(select(tables.Model.id).where(tables.Model.id == one.model_id).with_for_update())
    series = [getattr(audit, name).is_not_distinct_from(getattr(one, name)) for name in SETTING]
    for flag, states in _FLAGS.items():
        newest = select(audit.id).where(*series, audit.state.in_(states))
        number = session.scalar(newest.order_by(audit.confirmed_at.desc(), audit.id.desc()).limit(1))
        session.execute(
            update(audit)
            .where(*series, flag | (audit.id == (number or 0)))
            .values({flag: audit.id == (number or 0)})
            .execution_options(synchronize_session=False)
        )
