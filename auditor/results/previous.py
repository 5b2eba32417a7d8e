"""Finds the result that a model had before a scan, under the same setting, and the scan of the same request before."""

import math

from sqlalchemy import Engine, func, select, tuple_
from sqlalchemy.orm import Session

from auditor.db import models as tables
from auditor.db.results import Filter, list_results, load_verdicts
from auditor.errors import NotFoundError, UsageError
from auditor.records import STOPPED_EARLY, STOPPED_SAMPLES, Verdicts
from auditor.records.results import ResultRow
from auditor.results.pairing import pair

_SETTING = ("dataset", "protocol", "norm", "linearization", "sketch", "extra_attacks")


def previous_result(engine: Engine, row: ResultRow, scan_id: int) -> ResultRow | None:
    """The done result of ``row``'s model that was confirmed last before the scan began, other than ``row`` itself.

    On the same data set, under the same protocol, norm, eps, linearization, sketch, extra attacks and number of images
    and, where ``row`` is done and has been attacked, on the same pictures. The number that counts is that of the images
    that were used, not the requested one: a smaller data set is used whole.
    """
    number = next((found for found in _earlier(engine, row, scan_id) if _same_pictures(engine, row, found)), None)
    if number is None:
        return None
    return next(iter(list_results(engine, Filter(id=number, history=True))), None)


def _earlier(engine: Engine, row: ResultRow, scan_id: int) -> list[int]:
    """The ids of earlier audits of the same setting, newest first; with verdicts if ``row`` was attacked."""
    audit = tables.Audit
    query = (
        select(audit.id, audit.eps)
        .join(tables.Model, tables.Model.id == audit.model_id)
        .where(tables.Model.name == row.model, audit.state == "done", audit.id != row.id)
        .where(*(getattr(audit, name).is_not_distinct_from(getattr(row, name)) for name in _SETTING))
        .where(audit.samples.is_distinct_from(STOPPED_SAMPLES))
        .order_by(audit.confirmed_at.desc(), audit.id.desc())
    )
    if _is_attacked(row):
        query = query.join(tables.Verdicts, tables.Verdicts.audit_id == audit.id)
    with Session(engine) as session:
        scan = session.get_one(tables.Scan, scan_id)
        began = scan.started_at
        if STOPPED_EARLY in row.flags:  # its own number is that of the images it reached
            query = query.where(audit.samples.is_not_distinct_from(scan.request["samples"]))
        else:
            query = query.where(audit.n == row.n if row.n else audit.samples.is_not_distinct_from(row.samples))
        found = session.execute(query.where(audit.confirmed_at < began))
        return [number for number, eps in found if math.isclose(row.eps, eps)]


def _is_attacked(row: ResultRow) -> bool:
    return row.status == "done" and bool(row.n)


def _same_pictures(engine: Engine, row: ResultRow, number: int) -> bool:
    if not _is_attacked(row):
        return True
    (other,) = list_results(engine, Filter(id=number, history=True))
    try:
        pair((row, load_verdicts(engine, row.id)), (other, load_verdicts(engine, number)))
    except UsageError:
        return False
    return True


def previous_verdicts(engine: Engine, audit_id: int, scan_id: int) -> tuple[int, Verdicts] | None:
    """The ID and the verdicts of the last complete result of a running audit's model under the same setting."""
    (row,) = list_results(engine, Filter(id=audit_id, history=True))
    found = ((number, load_verdicts(engine, number)) for number in _earlier(engine, row, scan_id))
    return next(((number, verdicts) for number, verdicts in found if verdicts is not None), None)


def count_audits(engine: Engine, scan_id: int) -> int:
    """The number of audits of a scan: of its models, each in each of its settings."""
    link = tables.ScanAudit
    with Session(engine) as session:
        return session.scalar(select(func.count()).select_from(link).where(link.scan_id == scan_id)) or 0


_REQUEST = (
    "protocol", "samples", "linearization", "sketch", "seed", "triage", "targeted", "stop_at", "stop_on_regression",
    "extra_attacks", "curve", "certify", "sigma", "data", "folder",
)  # fmt: skip
_MOST_SCANS = 50


def previous_scan(engine: Engine, scan_id: int) -> int | None:
    """The last ended scan before this one that had the same request and shares a model with it; None without.

    The same request: the same zoo, measured in the same way; limits and devices may differ. A shared model has the same
    data set and the same norm ball, or corruptions, in both. Only the last fifty scans
    of the zoo that share a model are considered.

    Raises:
        NotFoundError: there is no such scan.
    """
    scan, link, audit = tables.Scan, tables.ScanAudit, tables.Audit
    measured = (audit.model_id, audit.dataset, audit.norm, audit.eps)
    models = select(*measured).join(link, link.audit_id == audit.id).where(link.scan_id == scan_id)
    shares = select(link.scan_id).join(audit, audit.id == link.audit_id).where(tuple_(*measured).in_(models))
    with Session(engine) as session:
        this = session.get(scan, scan_id)
        if this is None:
            raise NotFoundError(f"there is no scan {scan_id}; see `auditor scans list`")
        query = select(scan.id, scan.request).where(scan.id < scan_id, scan.source == this.source)
        query = query.where(scan.state != "running", scan.id.in_(shares)).order_by(scan.id.desc()).limit(_MOST_SCANS)
        same = (
            row[0]
            for row in session.execute(query)
            if all((row[1].get(name) or None) == (this.request.get(name) or None) for name in _REQUEST)
        )
        return next(same, None)
