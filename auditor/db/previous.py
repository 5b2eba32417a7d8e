"""The result that a model had before a scan, under the same setting."""

import math

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from auditor.db import models as tables
from auditor.db.pairing import pair
from auditor.db.results import Filter, Row, list_results, load_verdicts
from auditor.errors import UsageError

_SETTING = ("model", "dataset", "protocol", "norm", "linearization", "sketch", "samples")


def previous_result(engine: Engine, row: Row, scan_id: int) -> Row | None:
    """The done result of ``row``'s model that was confirmed last before the scan began, other than ``row`` itself.

    On the same data set, under the same protocol, norm, eps, linearization, sketch and number of samples and, where
    ``row`` is done and has been attacked, on the same pictures.
    """
    with Session(engine) as session:
        audit = tables.Audit
        began = session.get_one(tables.Scan, scan_id).started_at
        order = select(audit.id).join(tables.Model).where(tables.Model.name == row["model"])
        order = order.where(audit.state == "done", audit.confirmed_at < began)
        earlier = list(session.scalars(order.order_by(audit.confirmed_at.desc(), audit.id.desc())))
    found = list_results(engine, Filter(model=row["model"], protocol=row["protocol"], status="done", history=True))
    by_id = {other["id"]: other for other in found if other["id"] != row["id"] and _same_setting(row, other)}
    candidates = (by_id[number] for number in earlier if number in by_id)
    return next((other for other in candidates if _same_pictures(engine, row, other)), None)


def _same_setting(row: Row, other: Row) -> bool:
    return all(row[name] == other[name] for name in _SETTING) and math.isclose(row["eps"], other["eps"])


def _same_pictures(engine: Engine, row: Row, other: Row) -> bool:
    if row["status"] != "done" or not row["n"]:
        return True
    try:
        pair((row, load_verdicts(engine, row["id"])), (other, load_verdicts(engine, other["id"])))
    except UsageError:
        return False
    return True
