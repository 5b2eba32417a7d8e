"""Which contents of the database are consistent, whatever led to them."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import numpy as np

from auditor.db.results import _verdicts
from auditor.records import AuditRecord
from tests.factories.records import record
from tests.simulation.database import TABLES, Database, Row, Rows

Key = tuple[str, int]
ENDED = ("done", "failed", "cancelled")
MODELS = ("m0", "m1", "bad")
RECORDS = {
    name: record(name, f"identity of {name}", 0.25 * number, clusterings=(), attacks=())
    for number, name in enumerate(MODELS)
}
"""What measuring a model gives, wherever and however often it is measured; ``bad`` is never measured."""
RESULT = {"accuracy": 0.75}
"""What an adaptation gives."""
MOST_LOSSES = 2
"""With one more, a job has ended."""


class ViolationError(BaseException):
    """Something is not as it must be. No code of the project catches this."""


@dataclass(frozen=True)
class JobView:
    """What a row says about its job."""

    state: str
    attempt: int
    losses: int
    cancelling: bool
    queue: str


@dataclass(frozen=True)
class View:
    """What the contents say of the jobs, and of when their leases end; ``problem``: what is wrong, or None."""

    jobs: dict[Key, JobView]
    leases: dict[Key, str | None]
    problem: str | None


@dataclass(frozen=True)
class JobRow:
    """A row of a job, taken apart; ``result``, ``series``: what the checks of results and of the latest ones need."""

    key: Key
    view: JobView
    lease: str | None
    problem: str | None
    result: tuple[Any, ...]
    series: tuple[Any, ...]


class Examiner:
    """Makes views of contents. What was found of a part of the contents is remembered with that part."""

    def __init__(self) -> None:
        self._found: dict[Any, Any] = {}

    def __call__(self, database: Database, rows: Rows) -> View:
        scans, audits, links, progress, verdicts, trainings, _ = rows
        columns = dict(zip(TABLES, database.columns, strict=True))
        own = [self._once(_read_job, columns["audits"], "audit", row) for row in audits]
        jobs = own + [self._once(_read_job, columns["trainings"], "training", row) for row in trainings]
        states = tuple([(job.key[1], job.view.state) for job in own])
        problem = (
            next((f"{job.key} {job.problem}" for job in jobs if job.problem), None)
            or self._once(_problem_of_scans, columns, scans, links, states)
            or self._once(_problem_of_progress, columns, tuple([row[0] for row in progress]), states)
            or self._once(_problem_of_results, columns, verdicts, tuple([job.result for job in own]))
            or self._once(_problem_of_latest, columns, tuple([job.series for job in own]))
        )
        views = {job.key: job.view for job in jobs}
        return View(views, {job.key: job.lease for job in jobs}, problem)

    def _once(self, examine: Callable[..., Any], columns: Any, *parts: Any) -> Any:
        key = (examine, parts)
        if key not in self._found:
            self._found[key] = examine(columns, *parts)
        return self._found[key]


def _read_job(columns: list[str], kind: str, values: Row) -> JobRow:
    row = dict(zip(columns, values, strict=True))
    view = JobView(row["state"], row["attempt"], row["losses"], row["cancelling"] is not None, row["queue"])
    problem = next(_problems_of_job(kind, row), None)
    result: tuple[Any, ...] = ()
    series: tuple[Any, ...] = ()
    if kind == "audit":
        result = tuple(row[name] for name in ("id", "state", "identity", "robust_accuracy", "entry"))
        series = tuple(row[name] for name in ("id", "state", "model_id", "confirmed_at", "latest", "latest_done"))
    return JobRow((kind, row["id"]), view, row["lease_until"], problem, result, series)


def _problems_of_job(kind: str, row: dict[str, Any]) -> Iterator[str]:
    state = row["state"]
    if (row["lease_until"] is not None) != (state == "running"):
        yield f"is {state} and has the lease {row['lease_until']}"
    if (row["finished_at"] is not None) != (state in ENDED):
        yield f"is {state} and ended at {row['finished_at']}"
    if (row["reason"] is not None) != (state in ("failed", "cancelled")):
        yield f"is {state} for the reason {row['reason']!r}"
    if row["cancelling"] is not None and state != "running":
        yield f"is {state} and is being cancelled"
    if not 0 <= row["losses"] <= MOST_LOSSES:
        yield f"has {row['losses']} losses"
    if state == "running" and row["attempt"] < 1:
        yield "runs without an attempt"
    if kind == "training":
        result = None if row["result"] is None else json.loads(row["result"])
        if result != (RESULT if state == "done" else None):
            yield f"is {state} with the result {result}"


def _problem_of_scans(columns: Any, scans: Any, links: Any, states: tuple[tuple[int, str], ...]) -> str | None:
    """A scan counts its audits that have not ended, and ends with the last one."""
    linked = [dict(zip(columns["scan_audits"], row, strict=True)) for row in links]
    for values in scans:
        scan = dict(zip(columns["scans"], values, strict=True))
        own = {link["audit_id"] for link in linked if (link["scan_id"], link["reused"]) == (scan["id"], 0)}
        found = [state for audit_id, state in states if audit_id in own]
        pending = sum(state not in ENDED for state in found)
        expected = "running" if pending else "interrupted" if "cancelled" in found else "done"
        if (scan["pending"], scan["state"]) != (pending, expected):
            return f"scan {scan['id']} is {scan['state']}, {scan['pending']} pending; its audits are {found}"
        if (scan["finished_at"] is None) != (expected == "running"):
            return f"scan {scan['id']} is {scan['state']} and ended at {scan['finished_at']}"
    return None


def _problem_of_progress(_: Any, saved: tuple[int, ...], states: tuple[tuple[int, str], ...]) -> str | None:
    ended = {audit_id for audit_id, state in states if state in ENDED}
    left = ended.intersection(saved)
    return f"progress of audits {sorted(left)} is left, which have ended" if left else None


def _problem_of_results(columns: Any, verdicts: Any, results: tuple[Any, ...]) -> str | None:
    """Each done audit has a result, which is what its model gives; no other audit has one."""
    stored = {row[0]: row for row in verdicts}
    done = {audit_id for audit_id, state, *_ in results if state == "done"}
    if set(stored) != done:
        return f"audits {sorted(done)} are done, but audits {sorted(stored)} have verdicts"
    for audit_id, state, identity, robust, entry in results:
        if state == "done":
            expected = RECORDS[json.loads(entry)["model"].partition(":")[2]]
            same = (identity, robust) == (expected.identity, expected.robust_accuracy)
            if not same or not _same_verdicts(columns["verdicts"], stored[audit_id], expected):
                return f"audit {audit_id} has another result than its model gives"
    return None


def _same_verdicts(columns: list[str], row: Row, expected: AuditRecord) -> bool:
    stored = _verdicts(SimpleNamespace(**dict(zip(columns, row, strict=True))))  # type: ignore[arg-type]
    names = ("indices", "correct", "survived", "labels", "broken_at")
    return all(np.array_equal(getattr(stored, name), getattr(expected.verdicts, name)) for name in names)


def _problem_of_latest(_: Any, series: tuple[Any, ...]) -> str | None:
    """Of each model's ended audits the one confirmed last is marked as the latest."""
    for flag, states in ((4, ("done", "failed")), (5, ("done",))):
        for model in {row[2] for row in series}:
            own = [row for row in series if row[2] == model]
            times = [(datetime.fromisoformat(row[3]), row[0]) for row in own if row[1] in states]
            expected = [max(times)[1]] if times else []
            marked = [row[0] for row in own if row[flag]]
            if marked != expected:
                return f"of model {model} the audits {marked} are marked as the latest, expected {expected}"
    return None
