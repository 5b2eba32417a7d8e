"""Scans, boosts and workers in every state, as rows."""

from dataclasses import asdict
from datetime import timedelta
from typing import Any

from sqlalchemy import Engine, select, update

from auditor.db import models as tables
from auditor.db.ending import now
from auditor.db.store import Store
from auditor.db.trainings import Trainings
from auditor.db.workers import WorkerStatus, report_worker
from auditor.records import AuditRequest, Measurement
from auditor.records.boosts import Recipe
from auditor.scans.request import ScanRequest
from tests.factories.records import entry, record

WORKER = "elsewhere-0a1b:7"


def scan_request(protocol: str = "screen", **changes: Any) -> dict[str, Any]:
    """A stored request."""
    samples = 0 if protocol == "screen" else 20
    request = ScanRequest(measurement=Measurement(audit=AuditRequest(protocol=protocol), samples=samples))
    return request.to_json() | changes


def scan_of(
    engine: Engine, *ends: str, queue: str = "cpu", worker: str = WORKER, source: str = "demo", seconds: float = 1.5,
    request: dict[str, Any] | None = None, robust: float = 0.5,
) -> int:  # fmt: skip
    """A scan whose audits, named ``0``, ``1``, …, have come so far: queued, running, done, failed or cancelled.

    The worker that runs the running ones has just sent a heartbeat, with its part.
    """
    store, request = Store(engine), request or scan_request()
    entries = [entry(str(number)) for number in range(len(ends))]
    scan_id, jobs = store.create_scan(source, request, entries, queue=queue)
    for job, end in zip(jobs, ends, strict=True):
        if end in ("queued", "cancelled"):
            continue
        attempt = store.claim(job.audit_id, worker)
        assert attempt is not None
        name = job.entry.model.removeprefix("demo:")
        if end == "done":
            identity = f"{scan_id}-{name}"
            made = record(name, identity, robust, protocol=str(request["protocol"]), seconds=seconds)
            store.finish(job.audit_id, attempt, made)
        elif end == "failed":
            store.fail(job.audit_id, attempt, "no weights")
        else:
            send_heartbeat(engine, worker, queue, audit_id=job.audit_id, part="fgsm", part_done=3, part_total=9)
    if "cancelled" in ends:
        store.cancel(scan_id, "cancelled by a user")
    return scan_id


def boost_of(engine: Engine, state: str, queue: str = "cpu", worker: str = WORKER) -> int:
    """A queued or running boost."""
    recipe = asdict(Recipe(method="at", eps=0.1, steps=5, step_size=0.02, epochs=3))
    request = {"recipe": recipe, "seconds": 60, "scan": {"protocol": "quick", "samples": 20, "device": "cpu"}}
    trainings = Trainings(engine)
    number = trainings.create("boost", "demo:standard", entry("standard"), request, queue).training_id
    if state == "running":
        assert trainings.leases.claim(number, worker) is not None
        send_heartbeat(engine, worker, queue, training_id=number, part="epoch 1", part_done=2, part_total=5)
    return number


def send_heartbeat(engine: Engine, worker: str = WORKER, queue: str = "cpu", **job: Any) -> None:
    """A row of a live worker."""
    report_worker(engine, WorkerStatus(name=worker, queue=queue, device="cpu", started_at=now(), **job))


def age(engine: Engine, seconds: float) -> None:
    """Let all leases and heartbeats be older by this."""
    past = timedelta(seconds=seconds)
    with engine.begin() as connection:
        for table in (tables.Audit, tables.Training):
            running = connection.execute(select(table.id, table.lease_until).where(table.state == "running")).all()
            for number, until in running:
                connection.execute(update(table).where(table.id == number).values(lease_until=until - past))
        for name, seen in connection.execute(select(tables.Worker.name, tables.Worker.seen_at)).all():
            moved = update(tables.Worker).where(tables.Worker.name == name).values(seen_at=seen - past)
            connection.execute(moved)
