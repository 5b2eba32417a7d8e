"""Boosts and adaptations in the database: asked for, leased like audits, followed, stored."""

from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any, Literal

from sqlalchemy import Engine, case, select, update
from sqlalchemy.orm import Session

from auditor.db import models as tables
from auditor.db.base import upsert
from auditor.db.codec import nan_to_null
from auditor.db.completion import now
from auditor.db.leases import Lease, Leases, Unsent
from auditor.db.retry import with_retries
from auditor.db.session import single
from auditor.errors import UsageError, first_line
from auditor.records import ZooEntry
from auditor.records.boosts import NOT_AUDITED, BoostOutcome, Comparison, EpochScore
from auditor.records.entries import entry_from, entry_to

Row = dict[str, Any]
SILENT_SECONDS = 600.0
Kind = Literal["boost", "adapt"]


@dataclass(frozen=True)
class TrainingJob:
    """One boost or adaptation as it was asked for; ``entry`` is None where it trains a model of its own."""

    training_id: int
    kind: Kind
    model: str
    entry: ZooEntry | None
    request: dict[str, Any]


class TrainingLeases(Leases):
    """Leases of boosts and adaptations."""

    kind = "training"
    table = tables.Training

    def longest_unsent(self, queue: str, number: int) -> list[Unsent]:
        job = self.table
        query = select(job.id, tables.Training.request).where(*self._queued(queue))
        query = query.order_by(job.sent_at.is_not(None), job.sent_at, job.id).limit(number)
        with Session(self.engine) as session:
            return [Unsent(number, request["seconds"], "training") for number, request in session.execute(query)]

    def running(self) -> list[Lease]:
        """Of all that run, here or by workers."""
        job = tables.Training
        columns = (job.id, job.attempt, job.lease_until, job.worker, job.lease_seconds)
        with single(self.engine) as session:
            return [Lease(*row) for row in session.execute(select(*columns).where(job.state == "running"))]

    def abandon(self, job_id: int, attempt: int, reason: str) -> bool:
        """End a job whose process is gone."""
        with Session(self.engine) as session, session.begin():
            return self._end(session, job_id, attempt, state="cancelled", reason=reason)

    def _end(self, session: Session, job_id: int, attempt: int, *, state: str, **values: Any) -> bool:
        job = tables.Training
        ended = (
            update(job)
            .where(job.id == job_id, job.attempt == attempt, job.state == "running")
            .values(state=state, finished_at=now(), lease_until=None, cancelling=None, **values)
            .returning(job.id)
        )
        return session.execute(ended).first() is not None


class Trainings:
    """Each method one short transaction; writes of a job carry its attempt, and are refused once there is a newer."""

    def __init__(self, engine: Engine, patience: float = 0) -> None:
        self.engine, self.patience = engine, patience
        self.leases = TrainingLeases(engine, patience)

    def create(
        self, kind: Kind, model: str, entry: ZooEntry | None, request: dict[str, Any], queue: str = "here"
    ) -> TrainingJob:
        """A queued job."""
        with Session(self.engine) as session, session.begin():
            row = tables.Training(
                kind=kind,
                model=model,
                entry=None if entry is None else entry_to(entry),
                request=request,
                queue=queue,
                state="queued",
                attempt=0,
                losses=0,
                history=[],
                queued_at=now(),
            )
            session.add(row)
            session.flush()
            return TrainingJob(row.id, kind, model, entry, request)

    @with_retries
    def load_job(self, training_id: int) -> TrainingJob | None:
        """A job by the id that a message carries.

        Raises:
            UsageError: its entry is one of another version of auditor.
        """
        with single(self.engine) as session:
            row = session.get(tables.Training, training_id)
            if row is None:
                return None
            try:
                entry = None if row.entry is None else entry_from(row.entry)
            except ValueError as error:
                raise UsageError(f"its zoo entry is one of another version of auditor: {first_line(error)}") from error
            kind: Kind = "boost" if row.kind == "boost" else "adapt"
            return TrainingJob(row.id, kind, row.model, entry, row.request)

    @with_retries
    def count_epochs(self, training_id: int) -> int:
        """The epochs that are stored of a boost, the model as it came among them."""
        with single(self.engine) as session:
            return len(session.scalar(select(tables.Training.history).where(tables.Training.id == training_id)) or [])

    @with_retries
    def note_history(self, training_id: int, attempt: int, history: list[EpochScore], *, further: bool = True) -> bool:
        """The epochs so far, in the place of what was there; ``further`` as in :meth:`Leases.save_progress`."""
        rows = [{name: nan_to_null(value) for name, value in asdict(score).items()} for score in history]
        return self._write(training_id, attempt, history=rows, **({"losses": 0} if further else {}))

    @with_retries
    def add_checkpoint(self, training_id: int, attempt: int, made: BoostOutcome) -> bool:
        """What training left, before it is audited; in the place of what an earlier attempt left."""
        job = tables.Training
        values = {**asdict(made), "id": training_id, "verdict": NOT_AUDITED, "created_at": now()}
        mine = select(job.id).where(job.id == training_id, job.attempt == attempt, job.state == "running")
        with Session(self.engine) as session, session.begin():
            if session.scalar(mine.with_for_update()) is None:
                return False
            upsert(session, tables.Checkpoint, "id", values)
            return True

    @with_retries
    def finish_boost(self, training_id: int, attempt: int, compared: Comparison, seconds: float) -> bool:
        """Store what the audits before and after say, and that the boost is done."""
        checkpoint = tables.Checkpoint
        with Session(self.engine) as session, session.begin():
            if not self.leases._end(session, training_id, attempt, state="done", seconds=seconds):
                return False
            values = {**asdict(compared), "verdict": compared.verdict}
            session.execute(update(checkpoint).where(checkpoint.id == training_id).values(**values))
            return True

    @with_retries
    def finish_adaptation(self, training_id: int, attempt: int, result: Row, seconds: float) -> bool:
        with Session(self.engine) as session, session.begin():
            return self.leases._end(session, training_id, attempt, state="done", result=result, seconds=seconds)

    @with_retries
    def fail(self, training_id: int, attempt: int, reason: str) -> bool:
        with Session(self.engine) as session, session.begin():
            return self.leases._end(session, training_id, attempt, state="failed", reason=reason)

    def cancel(self, training_id: int, reason: str) -> str:
        """Cancel what is queued, and ask the process that runs it to stop; the state that it is in then.

        Raises:
            UsageError: there is no such job.
        """
        job = tables.Training
        queued = job.state == "queued"
        asked = (
            update(job)
            .where(job.id == training_id, job.state.in_(("queued", "running")))
            .values(
                state=case((queued, "cancelled"), else_=job.state),
                reason=case((queued, reason), else_=job.reason),
                finished_at=case((queued, now()), else_=job.finished_at),
                cancelling=case((queued, None), else_=reason),
            )
        )
        with Session(self.engine) as session, session.begin():
            row = session.get(job, training_id)
            if row is not None and _silent(row):
                self.leases._end(session, training_id, row.attempt, state="cancelled", reason=reason)
            session.execute(asked.execution_options(synchronize_session=False))
            state = session.scalar(select(job.state).where(job.id == training_id))
            if state is None:
                raise UsageError(f"there is no boost or adaptation {training_id}: see `auditor trainings list`")
            return state

    def resume(self, training_id: int, queue: str) -> TrainingJob:
        """Put one that failed or was cancelled, or whose own process is lost, back into a queue.

        Raises:
            UsageError: there is none of this number, it has not ended early, or another auditor asked for it.
        """
        job = self.load_job(training_id)
        table = tables.Training
        with Session(self.engine) as session, session.begin():
            row = session.get(table, training_id)
            if job is None or row is None:
                raise UsageError(f"there is no boost or adaptation {training_id}: see `auditor trainings list`")
            stuck = _silent(row) or (row.state == "queued" and row.queue == "here")
            if row.state not in ("failed", "cancelled") and not stuck:
                raise UsageError(f"{row.kind} {training_id} is {row.state}: only what failed or was cancelled goes on")
            same = (table.id == training_id, table.state == row.state, table.attempt == row.attempt)
            back = {"state": "queued", "queue": queue, "losses": 0, "lease_until": None}
            blank = dict.fromkeys(("reason", "sent_at", "started_at", "finished_at", "cancelling", "worker"))
            put = update(table).where(*same).values(**back, **blank).returning(table.id)
            if session.execute(put.execution_options(synchronize_session=False)).first() is None:
                raise UsageError(f"{row.kind} {training_id} is gone on with already: see `auditor trainings list`")
        return job

    def _write(self, training_id: int, attempt: int, **values: Any) -> bool:
        job = tables.Training
        written = (
            update(job)
            .where(job.id == training_id, job.attempt == attempt, job.state == "running")
            .values(**values)
            .returning(job.id)
        )
        with single(self.engine) as session:
            return session.scalar(written) is not None


def _silent(row: tables.Training) -> bool:
    """Whether it runs in a process of its own that has not renewed its lease for long: on another machine, perhaps."""
    ended = row.lease_until is not None and row.lease_until < now() - timedelta(seconds=SILENT_SECONDS)
    return row.state == "running" and row.queue == "here" and ended


def list_trainings(
    engine: Engine, *, kind: Kind | None = None, state: str | None = None, limit: int | None = None
) -> list[Row]:
    """Jobs, the newest first, each with the part that it is at where it runs."""
    job, worker = tables.Training, tables.Worker
    query = select(job, worker).outerjoin(worker, (worker.training_id == job.id) & (worker.name == job.worker))
    query = query.order_by(job.id.desc()).limit(limit)
    query = query if kind is None else query.where(job.kind == kind)
    query = query if state is None else query.where(job.state == state)
    with Session(engine) as session:
        return [_row(one, at) for one, at in session.execute(query)]


def load_training(engine: Engine, training_id: int) -> Row:
    """One of them.

    Raises:
        UsageError: there is none of this number.
    """
    job, worker = tables.Training, tables.Worker
    query = select(job, worker).outerjoin(worker, (worker.training_id == job.id) & (worker.name == job.worker))
    with Session(engine) as session:
        found = session.execute(query.where(job.id == training_id)).first()
        if found is None:
            raise UsageError(f"there is no boost or adaptation {training_id}: see `auditor trainings list`")
        return _row(*found)


def _row(job: tables.Training, worker: tables.Worker | None) -> Row:
    times = {name: getattr(job, name) for name in ("queued_at", "started_at", "finished_at")}
    same = (
        "kind",
        "model",
        "queue",
        "attempt",
        "losses",
        "worker",
        "reason",
        "history",
        "request",
        "result",
        "seconds",
    )
    return {
        "id": job.id,
        "state": "cancelling" if job.state == "running" and job.cancelling else job.state,
        **{name: getattr(job, name) for name in same},
        **{name: time.isoformat(timespec="seconds") if time else None for name, time in times.items()},
        "part": worker.part if worker else None,
        "part_done": worker.part_done if worker else None,
        "part_total": worker.part_total if worker else None,
    }
