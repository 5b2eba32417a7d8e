"""Which contents of the database are consistent, whatever led to them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from auditor.db.leases import MOST_LOSSES
from auditor.db.results import load_verdicts
from auditor.records import AuditRecord
from tests.factories.records import record
from tests.simulation.database import JOB_TABLES, Contents, Database

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
    """What the contents say: the jobs, their leases, and the done audits by identity; ``problem``: what is wrong."""

    jobs: dict[Key, JobView]
    leases: dict[Key, str | None]
    identities: dict[Key, str | None]
    problem: str | None


def examine(database: Database, contents: Contents) -> View:
    """Read the contents of the tables of jobs, and check them."""
    rows = {
        name: [dict(zip(database.columns[name], row, strict=True)) for row in found]
        for name, found in zip(JOB_TABLES, contents.rows, strict=True)
    }
    jobs = [(("audit", row["id"]), row) for row in rows["audits"]]
    jobs += [(("training", row["id"]), row) for row in rows["trainings"]]
    problem = next((text for text in _problems(database, rows, jobs)), None)
    views = {
        key: JobView(row["state"], row["attempt"], row["losses"], row["cancelling"] is not None, row["queue"])
        for key, row in jobs
    }
    leases = {key: row["lease_until"] for key, row in jobs}
    return View(views, leases, {key: row.get("identity") for key, row in jobs}, problem)


def _problems(database: Database, rows: dict[str, Any], jobs: list[tuple[Key, Any]]) -> Iterator[str]:
    for key, row in jobs:
        yield from (f"{key} {text}" for text in _problems_of_job(row))
    for scan in rows["scans"]:
        yield from (f"scan {scan['id']} {text}" for text in _problems_of_scan(scan, rows))
    yield from _problems_of_results(database, rows)
    yield from _problems_of_latest(rows["audits"])


def _problems_of_job(row: Any) -> Iterator[str]:
    state = row["state"]
    if (row["lease_until"] is not None) != (state == "running"):
        yield f"is {state} and has the lease {row['lease_until']}"
    if (row["finished_at"] is not None) != (state in ENDED):
        yield f"is {state} and ended at {row['finished_at']}"
    if (row["reason"] is not None) != (state in ("failed", "cancelled")):
        yield f"is {state} for the reason {row['reason']!r}"
    if row["cancelling"] is not None and state != "running":
        yield f"is {state} and is being cancelled"
    if not 0 <= row["losses"] < MOST_LOSSES:
        yield f"has {row['losses']} losses"
    if state in ("queued", "running") and row["attempt"] < (state == "running"):
        yield f"is {state} at attempt {row['attempt']}"


def _problems_of_scan(scan: Any, rows: dict[str, Any]) -> Iterator[str]:
    own = {link["audit_id"] for link in rows["scan_audits"] if (link["scan_id"], link["reused"]) == (scan["id"], 0)}
    states = [row["state"] for row in rows["audits"] if row["id"] in own]
    pending = sum(state not in ENDED for state in states)
    expected = "running" if pending else "interrupted" if "cancelled" in states else "done"
    if scan["pending"] != pending:
        yield f"has {scan['pending']} pending audits, but {pending} that have not ended"
    if scan["state"] != expected:
        yield f"is {scan['state']}, but its audits are {', '.join(states) or 'all reused'}"
    if (scan["finished_at"] is None) != (expected == "running"):
        yield f"is {scan['state']} and ended at {scan['finished_at']}"


def _problems_of_results(database: Database, rows: dict[str, Any]) -> Iterator[str]:
    """Only done audits have results, each has one, and it is what the model gives."""
    done = {row["id"]: row for row in rows["audits"] if row["state"] == "done"}
    unfinished = {row["id"] for row in rows["audits"] if row["state"] in ("queued", "running")}
    for saved in rows["attack_progress"]:
        if saved["audit_id"] not in unfinished:
            yield f"there is saved progress of audit {saved['audit_id']}, which has ended"
    stored = [row["audit_id"] for row in rows["verdicts"]]
    if sorted(stored) != sorted(done):
        yield f"audits {sorted(done)} are done, and verdicts are stored of {sorted(stored)}"
        return
    for row in done.values():
        name = json.loads(row["entry"])["model"].partition(":")[2]
        if not _is_measured(database, row, RECORDS[name]):
            yield f"audit {row['id']} of {name} has another result than its model gives"
    for row in rows["trainings"]:
        if (row["result"] is not None and json.loads(row["result"]) == RESULT) != (row["state"] == "done"):
            yield f"training {row['id']} is {row['state']} with the result {row['result']}"


def _is_measured(database: Database, row: Any, expected: AuditRecord) -> bool:
    stored, verdicts = load_verdicts(database.engine, row["id"]), expected.verdicts
    assert verdicts is not None
    assert verdicts.predicted is not None
    same = stored is not None and all(
        np.array_equal(getattr(stored, name), getattr(verdicts, name))
        for name in ("indices", "correct", "survived", "labels", "broken_at")
    )
    return bool(same) and (row["identity"], row["robust_accuracy"]) == (expected.identity, expected.robust_accuracy)


def _problems_of_latest(audits: list[Any]) -> Iterator[str]:
    """Of each model's ended audits the one confirmed last is the latest."""
    for flag, states in (("latest", ("done", "failed")), ("latest_done", ("done",))):
        for model in {row["model_id"] for row in audits}:
            own = [row for row in audits if row["model_id"] == model]
            marked = [row["id"] for row in own if row[flag]]
            times = [(datetime.fromisoformat(row["confirmed_at"]), row["id"]) for row in own if row["state"] in states]
            expected = [max(times)[1]] if times else []
            if marked != expected:
                yield f"the {flag} audits of model {model} are {marked}, expected {expected}"
