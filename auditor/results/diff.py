"""Compares two scans: new, changed, failed, reverified and regressed models."""

from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from auditor.db import models as tables
from auditor.db.results import Filter, list_results
from auditor.errors import NotFoundError, UsageError
from auditor.records.results import ResultRow
from auditor.results.regressions import (
    comparable,
    find_regressions,
    find_uncompared_curves,
    regression_level,
    stopped_early,
)


@dataclass
class Diff:
    """Models by what changed from scan ``before`` (None if there is none) to scan ``after``.

    Attributes:
        new, gone: in one of the scans only.
        changed: other weights, images or settings than before; the values say which.
        failed: with their reasons.
        reverified: measured again with the same verdicts; ``not_reproduced``: measured again with other verdicts.
        regressions: worse than before, with what is worse.
        same: neither changed nor worse; ``not_compared``: with the reason.
    """

    before: int | None
    after: int
    new: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    changed: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    cancelled: list[str] = field(default_factory=list)
    reverified: list[str] = field(default_factory=list)
    not_reproduced: list[str] = field(default_factory=list)
    regressions: dict[str, list[str]] = field(default_factory=dict)
    not_compared: dict[str, str] = field(default_factory=dict)
    same: list[str] = field(default_factory=list)

    @property
    def alarming(self) -> bool:
        """Whether the diff is worth an alert."""
        return bool(self.failed or self.regressions or self.not_reproduced)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


NOT_REPRODUCED = "not_reproduced"
"""The flag of an audit that was measured again under the same identity and got other verdicts."""


def diff_scans(engine: Engine, before: int | None, after: int, *, gap_drop: float | None) -> Diff:
    """Compare the results of two scans, model by model.

    Raises:
        NotFoundError: there is no such scan.
    """
    old, new = _rows_by_model(engine, before), _rows_by_model(engine, after)
    diff = Diff(before, after)
    diff.gone = [name for name in old if name not in new]
    again = _reverified(engine, after)
    pairs = [(old[name], row) for name, row in new.items() if name in old and _is_tested(old[name], row)]
    level = regression_level(engine, pairs)
    for name, row in new.items():
        earlier = old.get(name)
        if before is not None and earlier is None:
            diff.new.append(name)
        if row.status == "failed":
            diff.failed[name] = row.reason or ""
        elif row.status != "done":
            diff.cancelled.append(name)
        if row.id in again:
            diff.reverified.append(name)
        if NOT_REPRODUCED in row.flags and (earlier is None or earlier.id != row.id):
            diff.not_reproduced.append(name)
        if earlier is not None and row.status in ("done", "failed"):
            _compare(engine, diff, name, earlier, row, level, gap_drop)
    return diff


def _is_tested(earlier: ResultRow, row: ResultRow) -> bool:
    done = earlier.status == row.status == "done"
    stopped = stopped_early(earlier, row)
    return done and row.id != earlier.id and not stopped and comparable(earlier, row)


def _compare(
    engine: Engine, diff: Diff, name: str, earlier: ResultRow, row: ResultRow, level: float, gap_drop: float | None
) -> None:
    if earlier.status != "done":
        diff.changed[name] = f"was {earlier.status}, is {row.status}"
        return
    if row.id != earlier.id and stopped_early(earlier, row):
        diff.not_compared[name] = "stopped early, so on other images"
        return
    if not comparable(earlier, row):
        diff.not_compared[name] = "measured under another setting"
        return
    if row.status == "done" and row.identity != earlier.identity:
        weights = row.weights_sha256 != earlier.weights_sha256
        diff.changed[name] = "other weights" if weights else "the same weights, other images or settings"
    try:
        worse = list(find_regressions(engine, earlier, row, level, gap_drop=gap_drop)) if row.id != earlier.id else []
    except UsageError as error:
        diff.not_compared[name] = str(error)
        return
    if remark := find_uncompared_curves(engine, earlier, row):
        diff.not_compared[name] = remark
    if worse:
        diff.regressions[name] = worse
    elif name not in diff.changed:
        diff.same.append(name)


def _rows_by_model(engine: Engine, scan_id: int | None) -> dict[str, ResultRow]:
    if scan_id is None:
        return {}
    with Session(engine) as session:
        if session.get(tables.Scan, scan_id) is None:
            raise NotFoundError(f"there is no scan {scan_id}; see `auditor scans list`")
    return {row.model: row for row in list_results(engine, Filter(scan=scan_id), sort="model")}


def _reverified(engine: Engine, scan_id: int) -> set[int]:
    link = tables.ScanAudit
    with Session(engine) as session:
        return set(session.scalars(select(link.audit_id).where(link.scan_id == scan_id, link.reverified)))
