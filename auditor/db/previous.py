"""The result that a model had before a scan, under the same setting."""

import math

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from auditor.db import models as tables
from auditor.db.results import Filter, Row, list_results

_SETTING = ("model", "protocol", "norm", "linearization", "samples")


def previous_result(engine: Engine, row: Row, scan_id: int) -> Row | None:
    """The done result of ``row``'s model that was confirmed last before the scan began, other than ``row`` itself.

    Under the same protocol, norm, eps, linearization and number of samples and, where ``row`` is done and has been
    attacked, on the same images.
    """
    with Session(engine) as session:
        audit = tables.Audit
        began = session.get_one(tables.Scan, scan_id).started_at
        order = select(audit.id).where(audit.state == "done", audit.confirmed_at < began)
        earlier = list(session.scalars(order.order_by(audit.confirmed_at.desc(), audit.id.desc())))
    found = list_results(engine, Filter(model=row["model"], protocol=row["protocol"], status="done", history=True))
    by_id = {other["id"]: other for other in found if other["id"] != row["id"] and _same(row, other)}
    return next((by_id[number] for number in earlier if number in by_id), None)


def _same(row: Row, other: Row) -> bool:
    if any(row[name] != other[name] for name in _SETTING) or not math.isclose(row["eps"], other["eps"]):
        return False
    if row["status"] != "done" or not row["n"]:
        return True
    return row["images_sha256"] is not None and bool(row["images_sha256"] == other["images_sha256"])
