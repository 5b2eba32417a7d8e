"""The jobs of a large zoo: boosts with checkpoints, adaptations, schedules with runs, workers and tokens."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, insert

from auditor.db import models as tables
from auditor.records import AuditRequest, ZooEntry
from auditor.records.adaptations import (
    Accuracy,
    AdaptRequest,
    AdaptResult,
    AdaptScore,
    SourceScore,
    result_to,
)
from auditor.records.boosts import EpochScore, Recipe
from auditor.records.entries import entry_to
from auditor.scans.request import ScanRequest
from auditor.trainings.adapt import AdaptJobRequest
from auditor.trainings.boost import BoostRequest

Row = dict[str, Any]
BOOSTS, ADAPTATIONS, SCHEDULES, TOKENS = 60, 20, 30, 24
SECRET = "s" * 43
VERDICTS = ("significant gain", "no significant gain", "significant loss", "not audited")
REASON = "the training images at /srv/data/train.npz have 3 channels, the model takes 1"


@dataclass(frozen=True)
class Jobs:
    """Numbers and names of rows; ``token`` has the scope admin, ``readers`` the scope read."""

    boost: int
    running_boost: int
    failed_boost: int
    adaptation: int
    running_adaptation: int
    checkpoint: int
    schedule: str
    token: str
    readers: str


def insert_jobs(
    connection: Connection,
    entries: Sequence[ZooEntry],
    now: datetime,
    long: bool,
    *,
    audits: Sequence[int],
    running: Mapping[str, int],
) -> Jobs:
    """Insert jobs of the models; ``audits`` are done, ``running`` gives the first audit of each state."""
    demo = [entry for entry in entries if entry.dataset == "fashion_mnist"]
    jobs = [_boost(number, demo[number % len(demo)], now) for number in range(1, BOOSTS + 1)]
    jobs += [_adaptation(number, now) for number in range(BOOSTS + 1, BOOSTS + ADAPTATIONS + 1)]
    if long:
        for job in jobs:
            job["reason"] = job["reason"] and " ".join([job["reason"]] * 8)
    _insert(connection, tables.Training, jobs)
    boosts = [job for job in jobs if job["kind"] == "boost" and job["state"] == "done"]
    _insert(connection, tables.Checkpoint, [_checkpoint(job, audits) for job in boosts])
    _insert(connection, tables.Schedule, [_schedule(number, now, long) for number in range(1, SCHEDULES + 1)])
    _insert(connection, tables.ScheduleRun, [_run(number, now, long) for number in range(1, SCHEDULES + 1)])
    _insert(connection, tables.Token, [_token(number, now) for number in range(1, TOKENS + 1)])
    _insert(connection, tables.Worker, _workers(now, long, running["running"], BOOSTS))
    return Jobs(
        boost=boosts[0]["id"], running_boost=BOOSTS, failed_boost=7, adaptation=BOOSTS + 1,
        running_adaptation=BOOSTS + ADAPTATIONS, checkpoint=boosts[0]["id"], schedule=_name(1, long),
        token=f"auditor_4_{SECRET}", readers=f"auditor_1_{SECRET}",
    )  # fmt: skip


def _insert(connection: Connection, table: Any, rows: Sequence[Row]) -> None:
    connection.execute(insert(table), list(rows))


def _job(number: int, kind: str, state: str, now: datetime) -> Row:
    at = now - timedelta(hours=BOOSTS + ADAPTATIONS + 1 - number)
    ended = state in ("done", "failed", "cancelled")
    reasons = {"failed": REASON, "cancelled": "cancelled by operator"}
    return {
        "id": number, "kind": kind, "state": state, "queue": "gpu" if number % 4 == 0 else "cpu", "losses": 0,
        "attempt": 0 if state == "queued" else 1, "worker": None if state == "queued" else f"trainer-{number % 3}:99",
        "lease_until": now + timedelta(days=1) if state == "running" else None, "lease_seconds": 60.0, "sent_at": at,
        "cancelling": None, "reason": reasons.get(state), "queued_at": at,
        "started_at": None if state == "queued" else at + timedelta(minutes=1),
        "finished_at": at + timedelta(minutes=50) if ended else None, "seconds": 2940.0 if ended else None,
        "history": [], "result": None, "entry": None,
    }  # fmt: skip


def _boost(number: int, entry: ZooEntry, now: datetime) -> Row:
    state = "running" if number == BOOSTS else "queued" if number > BOOSTS - 4 else "done"
    state = {7: "failed", 3: "cancelled"}.get(number % 10, state) if state == "done" else state
    recipe = Recipe(
        method=("at", "trades")[number % 2], eps=entry.eps, steps=10, step_size=entry.eps / 4, beta=0.1 * (number % 3),
        epochs=1 + number % 12, ema=0.99,
    )  # fmt: skip
    scan = ScanRequest.make(AuditRequest(protocol="quick"), samples=None)
    request = BoostRequest(recipe=recipe, scan=scan, owner="o" * 32).to_json()
    epochs = {"done": recipe.epochs, "running": 3, "failed": 1, "cancelled": 0, "queued": -1}[state]
    history = [
        EpochScore(
            number=epoch, loss=2 / (1 + epoch), clean_accuracy=0.9 - 0.005 * epoch, gap=0.1 + 0.02 * epoch,
            pgd_accuracy=0.6 * (1 - 0.7**epoch) + 0.01 * (number % 7), seconds=30.0,
        )
        for epoch in range(epochs + 1)
    ]  # fmt: skip
    own = {"model": entry.model, "entry": entry_to(entry), "request": request, "history": [asdict(e) for e in history]}
    return _job(number, "boost", state, now) | own


def _checkpoint(job: Row, audits: Sequence[int]) -> Row:
    number = job["id"]
    verdict = VERDICTS[number % len(VERDICTS)]
    audited = verdict != "not audited"
    difference = {"significant gain": 0.06, "significant loss": -0.05}.get(verdict, 0.01)
    return {
        "id": number, "parent": job["model"], "parent_sha256": "a" * 64, "weights_sha256": f"{number:064x}",
        "data_sha256": "d" * 64, "best_epoch": len(job["history"]) - 1,
        "stopped": "no gain in 5 epochs" if number % 6 == 0 else None,
        "before_audit_id": audits[number % len(audits)] if audited else None,
        "after_audit_id": audits[(number + 1) % len(audits)] if audited else None, "n": 256 if audited else None,
        "only_before": 9 if audited else None, "only_after": 9 + round(256 * difference) if audited else None,
        "difference": difference if audited else None, "difference_low": difference - 0.03 if audited else None,
        "difference_high": difference + 0.03 if audited else None,
        "p_value": (0.4 if difference == 0.01 else 0.002) if audited else None, "verdict": verdict,
        "versions": {"torch": "2.10"}, "created_at": job["finished_at"],
    }  # fmt: skip


def _adaptation(number: int, now: datetime) -> Row:
    last = BOOSTS + ADAPTATIONS
    state = "running" if number == last else "queued" if number == last - 1 else "done"
    state = {7: "failed", 3: "cancelled"}.get(number % 10, state) if state == "done" else state
    request = AdaptRequest(start=("robust", "standard", "robust+clustered")[number % 3], seeds=(0, 1))
    result = None if state != "done" else result_to(_adapted(request, number))
    own = {"model": request.start, "request": AdaptJobRequest(adapt=request).to_json(), "result": result}
    return _job(number, "adapt", state, now) | own


def _adapted(request: AdaptRequest, number: int) -> AdaptResult:
    def accuracy(robust: float) -> Accuracy:
        return Accuracy(clean=robust + 0.3, robust=robust, low=robust - 0.03, high=robust + 0.03, n=1000)

    scores = [
        AdaptScore(
            seed=seed, shots=shots, adapted=accuracy(0.1 + 0.002 * shots + 0.01 * (number % 9)),
            baseline=accuracy(0.08 + 0.001 * shots),
        )
        for seed in request.seeds
        for shots in request.shots
    ]  # fmt: skip
    sources = [SourceScore(seed=seed, accuracy=accuracy(0.5), weights_sha256="e" * 64) for seed in request.seeds]
    return AdaptResult(
        request=request, scores=tuple(scores), sources=tuple(sources), data_sha256=("f" * 64, "g" * 64), seconds=900.0
    )


def _name(number: int, long: bool) -> str:
    return f"nightly-{number:02}" + ("-of-every-zoo-in-the-north-and-in-the-south" * 2 if long else "")


def _schedule(number: int, now: datetime, long: bool) -> Row:
    command = ["scan", "timm", "--match", f"resnet{number}*", "--protocol", "quick", "--triage", "0.3"]
    if long:
        command += [part for k in range(12) for part in ("--model", f"wide_resnet50_2.a_recipe_with_a_long_name_{k}")]
    return {
        "id": number, "name": _name(number, long), "cron": f"{number} 2 * * *", "command": command,
        "enabled": number % 5 != 0, "changed_at": now - timedelta(days=30),
    }  # fmt: skip


def _run(number: int, now: datetime, long: bool) -> Row:
    """The last run of a schedule; of every third one, with a long outcome."""
    state = ("done", "failed", "skipped")[number % 3]
    reason = f"`auditor scan timm` ended with exit code 3: cannot connect to database-{number}.internal:5432: timed out"
    reasons = {
        "done": None,
        "failed": f"{reason}. " * (6 if long else 2),
        "skipped": "the scan before is still running",
    }
    at = now.replace(hour=2, minute=number, second=0) - timedelta(days=1)
    return {
        "schedule_id": number, "due_at": at, "scan_id": 1 if state == "done" else None, "state": state,
        "started_at": at, "reported_at": at, "reason": reasons[state],
    }  # fmt: skip


def _token(number: int, now: datetime) -> Row:
    scope = ("admin", "read", "scan", "boost")[number % 4]
    return {
        "id": number, "name": f"{scope}-{number}", "scope": scope,
        "secret_sha256": hashlib.sha256(SECRET.encode()).hexdigest(), "created_at": now - timedelta(days=number),
        "expires_at": now - timedelta(hours=1) if number % 7 == 6 else None,
        "revoked_at": now - timedelta(hours=2) if number % 9 == 6 else None,
        "used_at": now - timedelta(minutes=number) if number % 2 else None,
    }  # fmt: skip


def _workers(now: datetime, long: bool, audit: int, boost: int) -> list[Row]:
    """Three that audit, of which the last has been silent for an hour; one that trains; two without a job."""
    host = ".rack-7.compute.north.example.org" if long else ""
    busy = [
        {"name": f"worker-{k}{host}:4711", "queue": "cpu", "device": "cpu", "audit_id": audit + k - 1, "part": "pgd-20",
         "part_done": 200 * k, "part_total": 1000}
        for k in (1, 2, 3)
    ]  # fmt: skip
    trains = {"name": f"trainer-{boost % 3}:99", "queue": "gpu", "device": "NVIDIA A100 80GB PCIe",
              "training_id": boost, "part": "epoch 4 of 12", "part_done": 3, "part_total": 12}  # fmt: skip
    idle = [{"name": f"spare-{k}{host}:12", "queue": "gpu", "device": f"cuda:{k}"} for k in (0, 1)]
    blank = dict.fromkeys(("audit_id", "training_id", "part", "part_done", "part_total"))
    rows: list[Row] = [*busy, trains, *idle]
    silent = f"worker-3{host}:4711"
    return [
        blank | row | {
            "started_at": now - timedelta(days=2),
            "seen_at": now - (timedelta(hours=1) if row["name"] == silent else timedelta(seconds=5)),
        }
        for row in rows
    ]  # fmt: skip
