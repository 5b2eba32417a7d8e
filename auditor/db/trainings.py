"""Boosts and adaptations in the database: created, leased like audits, followed and finished."""

from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import Any

from sqlalchemy import Engine, case, select, update
from sqlalchemy.orm import Session

from auditor import tracing
from auditor.db import models as tables
from auditor.db.base import iso, upsert
from auditor.db.codec import nan_to_null
from auditor.db.ending import now
from auditor.db.leases import Lease, Leases, Unsent
from auditor.db.retry import with_retries
from auditor.db.session import single
from auditor.db.workers import job_silent_since, served_queues
from auditor.errors import ConflictError, NotFoundError, UsageError, first_line
from auditor.records import LOCAL_QUEUE, ZooEntry
from auditor.records.boosts import NOT_AUDITED, BoostOutcome, Comparison, EpochScore
from auditor.records.entries import entry_from, entry_to
from auditor.records.trainings import Kind, TrainingRow

SILENT_SECONDS = 600.0


@dataclass(frozen=True)
class TrainingJob:
    """The request of one boost or adaptation; ``entry`` is None if it trains its own source model."""

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
        query = select(job.id, tables.Training.request, job.sent_at).where(*self._queued(queue))
        query = query.order_by(job.sent_at.is_not(None), job.sent_at, job.id).limit(number)
        with Session(self.engine) as session:
            return [Unsent(row[0], row[1]["seconds"], "training", row[2]) for row in session.execute(query)]

    def running(self) -> list[Lease]:
        """The leases of all running jobs, with and without a worker."""
        job = tables.Training
        columns = (job.id, job.attempt, job.lease_until, job.worker, job.lease_seconds, job.started_at)
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
    """Each method is one short transaction. A write carries the attempt of its job and fails if a newer one exists."""

    def __init__(self, engine: Engine, patience: float = 0) -> None:
        self.engine, self.patience = engine, patience
        self.leases = TrainingLeases(engine, patience)

    def create(
        self, kind: Kind, model: str, entry: ZooEntry | None, request: dict[str, Any], queue: str = LOCAL_QUEUE
    ) -> TrainingJob:
        """A queued job."""
        request = request | tracing.carrier()
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
            UsageError: another version of auditor wrote the zoo entry.
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
        """The number of stored epochs of a boost, with epoch 0, the model before training."""
        with single(self.engine) as session:
            return len(session.scalar(select(tables.Training.history).where(tables.Training.id == training_id)) or [])

    @with_retries
    def is_done(self, training_id: int) -> bool:
        """Whether an attempt has stored the job's result, after which no other attempt starts."""
        with single(self.engine) as session:
            return session.scalar(select(tables.Training.state).where(tables.Training.id == training_id)) == "done"

    @with_retries
    def note_history(self, training_id: int, attempt: int, history: list[EpochScore], *, further: bool = True) -> bool:
        """Replace the stored epochs; ``further`` as in :meth:`Leases.save_progress`."""
        rows = [{name: nan_to_null(value) for name, value in asdict(score).items()} for score in history]
        return self._write(training_id, attempt, history=rows, **({"losses": 0} if further else {}))

    @with_retries
    def add_checkpoint(self, training_id: int, attempt: int, made: BoostOutcome) -> bool:
        """Store the checkpoint before it is audited; replaces that of an earlier attempt."""
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
        """Store the comparison of the audits before and after, and end the boost."""
        checkpoint = tables.Checkpoint
        with Session(self.engine) as session, session.begin():
            if not self.leases._end(session, training_id, attempt, state="done", seconds=seconds):
                return False
            values = {**asdict(compared), "verdict": compared.verdict}
            session.execute(update(checkpoint).where(checkpoint.id == training_id).values(**values))
            return True

    @with_retries
    def finish_adaptation(self, training_id: int, attempt: int, result: dict[str, Any], seconds: float) -> bool:
        with Session(self.engine) as session, session.begin():
            return self.leases._end(session, training_id, attempt, state="done", result=result, seconds=seconds)

    @with_retries
    def fail(self, training_id: int, attempt: int, reason: str) -> bool:
        with Session(self.engine) as session, session.begin():
            return self.leases._end(session, training_id, attempt, state="failed", reason=reason)

    def cancel(self, training_id: int, reason: str) -> str:
        """Cancel a queued job, or request a running one to stop; returns its new state.

        Raises:
            NotFoundError: the job does not exist.
        """
        job = tables.Training
        queued = job.state == "queued"
        cancelled = (
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
            session.execute(cancelled.execution_options(synchronize_session=False))
            state = session.scalar(select(job.state).where(job.id == training_id))
            if state is None:
                raise NotFoundError(f"there is no boost or adaptation {training_id}: see `auditor trainings list`")
            return state

    def resume(self, training_id: int, queue: str) -> TrainingJob:
        """Put a failed or cancelled job, or one whose process is lost, back into a queue.

        Raises:
            NotFoundError: the job does not exist.
            ConflictError: it is neither failed nor cancelled.
            UsageError: another version of auditor made it.
        """
        job = self.load_job(training_id)
        table = tables.Training
        with Session(self.engine) as session, session.begin():
            row = session.get(table, training_id)
            if job is None or row is None:
                raise NotFoundError(f"there is no boost or adaptation {training_id}: see `auditor trainings list`")
            stuck = _silent(row) or (row.state == "queued" and row.queue == LOCAL_QUEUE)
            if row.state not in ("failed", "cancelled") and not stuck:
                raise ConflictError(
                    f"{row.kind} {training_id} is {row.state}: only failed or cancelled jobs can be resumed"
                )
            same = (table.id == training_id, table.state == row.state, table.attempt == row.attempt)
            request = job.request | tracing.carrier()
            back = {"state": "queued", "queue": queue, "losses": 0, "lease_until": None, "request": request}
            blank = dict.fromkeys(("reason", "sent_at", "started_at", "finished_at", "cancelling", "worker"))
            put = update(table).where(*same).values(**back, **blank).returning(table.id)
            if session.execute(put.execution_options(synchronize_session=False)).first() is None:
                raise ConflictError(
                    f"{row.kind} {training_id} was resumed by another process: see `auditor trainings list`"
                )
        return replace(job, request=request)

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
    """Whether a job outside the queue has not renewed its lease for long, so that its process may be gone."""
    ended = row.lease_until is not None and row.lease_until < now() - timedelta(seconds=SILENT_SECONDS)
    return row.state == "running" and row.queue == LOCAL_QUEUE and ended


def list_trainings(
    engine: Engine,
    *,
    kind: Kind | None = None,
    state: str | None = None,
    limit: int | None = None,
    before: int | None = None,
) -> list[TrainingRow]:
    """Jobs, the newest first; running ones with their current part. ``before``: only older ones than this."""
    job, worker = tables.Training, tables.Worker
    query = select(job, worker).outerjoin(worker, (worker.training_id == job.id) & (worker.name == job.worker))
    query = query.order_by(job.id.desc()).limit(limit)
    query = query if kind is None else query.where(job.kind == kind)
    query = query if state is None else query.where(job.state == state)
    query = query if before is None else query.where(job.id < before)
    with Session(engine) as session:
        rows = session.execute(query).all()
        served = served_queues(session) if any(job.state == "queued" for job, _ in rows) else frozenset()
        return [_row(job, worker, served) for job, worker in rows]


def load_training(engine: Engine, training_id: int) -> TrainingRow:
    """One job.

    Raises:
        NotFoundError: the job does not exist.
    """
    job, worker = tables.Training, tables.Worker
    query = select(job, worker).outerjoin(worker, (worker.training_id == job.id) & (worker.name == job.worker))
    with Session(engine) as session:
        found = session.execute(query.where(job.id == training_id)).first()
        if found is None:
            raise NotFoundError(f"there is no boost or adaptation {training_id}: see `auditor trainings list`")
        return _row(*found, served_queues(session))


def _row(job: tables.Training, worker: tables.Worker | None, served: frozenset[str]) -> TrainingRow:
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
    return TrainingRow(
        id=job.id,
        state="cancelling" if job.state == "running" and job.cancelling else job.state,  # type: ignore[arg-type]
        **{name: getattr(job, name) for name in same},
        silent_since=job_silent_since(job, now()),
        unserved=job.state == "queued" and job.queue not in {*served, LOCAL_QUEUE},
        queued_at=iso(job.queued_at),
        started_at=iso(job.started_at),
        finished_at=iso(job.finished_at),
        part=worker.part if worker else None,
        part_done=worker.part_done if worker else None,
        part_total=worker.part_total if worker else None,
    )
