"""The model of a lease: what each transaction must return, and what it must do to a job.

It is written from the documentation of the protocol, and keeps no SQL: one job is one object, and time is the one true
clock of the simulation, which no process of the project sees.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from auditor.errors import ConflictError
from auditor.records import LOCAL_QUEUE
from tests.simulation.checks import JobView, Key, View, ViolationError
from tests.simulation.database import Call, Outcome

LEASE = 60.0
LOSSES_UNTIL_GIVEN_UP = 3


@dataclass
class ModelJob:
    """A job, as the protocol has it.

    ``renewed``: the true time of the last claim or renewal. ``saved``: the key of the saved progress. ``resumes``: the
    attempt's progress counts as further than that of earlier attempts. ``owner``: the process of the last claim.
    """

    key: Key
    scan: int | None
    queue: str
    state: str = "queued"
    attempt: int = 0
    losses: int = 0
    cancelling: bool = False
    renewed: float = 0.0
    saved: str | None = None
    resumes: bool = True
    owner: int | None = None
    endings: list[tuple[str, int]] = field(default_factory=list)

    @property
    def view(self) -> JobView:
        return JobView(self.state, self.attempt, self.losses, self.cancelling, self.queue)

    def has(self, attempt: int) -> bool:
        """Whether this attempt still has the job."""
        return self.state == "running" and self.attempt == attempt

    def end(self, state: str) -> None:
        self.endings.append((state, self.attempt))
        self.state, self.cancelling, self.saved = state, False, None

    def put_back(self, lost: int) -> None:
        self.state, self.losses = "queued", self.losses + lost


class Model:
    """All jobs. ``clock`` is the true time; ``queued`` counts the jobs that wait, by queue."""

    def __init__(self, view: View, scans: dict[Key, int | None], clock: Callable[[], float]) -> None:
        self.jobs = {key: ModelJob(key, scans[key], one.queue) for key, one in view.jobs.items()}
        self.clock = clock
        self.process = 0
        self.removed: dict[Key, ModelJob] = {}

    def unfinished(self) -> list[ModelJob]:
        return [job for job in self.jobs.values() if job.state in ("queued", "running")]

    def count_queued(self, queue: str) -> int:
        return sum((job.state, job.queue) == ("queued", queue) for job in self.jobs.values())

    def check(self, call: Call, outcome: Outcome, before: View, after: View) -> None:
        """Compare a transaction with the model.

        Raises:
            ViolationError: it returned or did something else.
        """
        step = getattr(self, f"on_{call.name}", None)
        if step is not None:
            kind = "training" if call.subject in ("training", "Trainings") else "audit"
            expected = step(kind, call, outcome, before)
            if expected is not None and expected != (outcome.result, type(outcome.error)):
                found = outcome.error or outcome.result
                raise ViolationError(f"{call} returned {found!r}, the model {expected[0]!r}")
        if after.problem is not None:
            raise ViolationError(f"after {call}: {after.problem}")
        if len(after.jobs) != len(self.jobs):
            raise ViolationError(f"after {call} there are the jobs {list(after.jobs)}")
        for key, job in self.jobs.items():
            if after.jobs[key] != job.view:
                raise ViolationError(f"after {call} job {key} is {after.jobs[key]}, in the model {job.view}")

    def on_claim(self, kind: str, call: Call, *_: Any) -> Any:
        job_id, _, _, queue = call.arguments
        job = self.jobs.get((kind, job_id))
        if job is None or job.state != "queued" or job.queue != queue:
            return _returns(None)
        job.state, job.attempt, job.renewed, job.owner = "running", job.attempt + 1, self.clock(), self.process
        job.resumes = job.saved is None
        return _returns(job.attempt)

    def on_renew(self, kind: str, call: Call, *_: Any) -> Any:
        job_id, attempt, _ = call.arguments
        job = self.jobs.get((kind, job_id))
        if job is None or not job.has(attempt):
            return _returns("lost")
        job.renewed = self.clock()
        return _returns("cancelling" if job.cancelling else "active")

    def on_give_back(self, kind: str, call: Call, *_: Any) -> Any:
        job = self.jobs.get((kind, call.arguments[0]))
        if job is None or not job.has(call.arguments[1]) or job.cancelling:
            return _returns(False)
        job.put_back(lost=0)
        return _returns(True)

    def on_cancelled(self, kind: str, call: Call, *_: Any) -> Any:
        job = self.jobs.get((kind, call.arguments[0]))
        if job is None or not job.has(call.arguments[1]):
            return _returns(False)
        if not job.cancelling:
            raise ViolationError(f"{call}: nobody cancelled the job")
        job.end("cancelled")
        return _returns(True)

    def on_expire(self, kind: str, call: Call, _: Outcome, before: View) -> Any:
        (lease,) = call.arguments
        key = (kind, lease.job_id)
        job = self.jobs.get(key)
        until = None if lease.until is None else str(lease.until.replace(tzinfo=None))
        if job is None or not job.has(lease.attempt) or (before.leases[key] or "")[:19] != (until or "")[:19]:
            return _returns(None)
        silent = self.clock() - job.renewed
        if silent < LEASE:
            raise ViolationError(f"{call}: the lease was renewed {silent:g} s ago")
        if job.cancelling or job.queue == LOCAL_QUEUE:
            job.end("cancelled")
            return _returns("cancelled")
        if job.losses + 1 == LOSSES_UNTIL_GIVEN_UP:
            job.end("failed")
            return _returns("failed")
        job.put_back(lost=1)
        return _returns("queued")

    def on_save_progress(self, kind: str, call: Call, *_: Any) -> Any:
        job_id, attempt, key, *_ = call.arguments
        job = self.jobs.get((kind, job_id))
        if job is not None and job.has(attempt):
            if job.resumes:
                job.losses = 0
            job.saved = key
        return _returns(None)

    def on_load_progress(self, kind: str, call: Call, outcome: Outcome, *_: Any) -> Any:
        job_id, key = call.arguments
        job = self.jobs.get((kind, job_id))
        found = job is not None and job.saved == key
        if found != (outcome.result is not None):
            raise ViolationError(f"{call} loaded {outcome.result!r}, saved under {job and job.saved}")
        if job is not None and found and job.owner == self.process:
            job.resumes = True
        return None

    def on_finish(self, kind: str, call: Call, *_: Any) -> Any:
        return self._end(kind, call.arguments, "done")

    on_finish_adaptation = on_finish

    def on_fail(self, kind: str, call: Call, *_: Any) -> Any:
        return self._end(kind, call.arguments, "failed")

    def _end(self, kind: str, arguments: tuple[Any, ...], state: str) -> Any:
        job = self.jobs.get((kind, arguments[0]))
        if job is None or not job.has(arguments[1]):
            return _returns(False)
        job.end(state)
        return _returns(True)

    def on_reuse(self, kind: str, call: Call, *_: Any) -> Any:
        _, audit_id, attempt, done_id, *_ = call.arguments
        job = self.jobs.get((kind, audit_id))
        if job is None or not job.has(attempt):
            return _returns(False)
        if self.jobs[kind, done_id].state != "done":
            raise ViolationError(f"{call}: audit {done_id} is {self.jobs[kind, done_id].state}")
        job.end("reused")
        self.removed[job.key] = self.jobs.pop(job.key)
        return _returns(True)

    def on_cancel_scan(self, _: str, call: Call, *__: Any) -> Any:
        for job in self._of_scan(call.arguments[0]):
            if job.state == "queued":
                job.end("cancelled")
            elif job.state == "running":
                job.cancelling = True
        return _returns(None)

    def on_cancel(self, kind: str, call: Call, *_: Any) -> Any:
        if kind == "training":
            job = self.jobs["training", call.arguments[0]]
            if job.state == "queued":
                job.end("cancelled")
            elif job.state == "running":
                job.cancelling = True
            return _returns(job.state)
        for job in self._of_scan(call.arguments[0]):
            if job.state in ("queued", "running"):
                job.end("cancelled")
        return _returns(None)

    def on_retry_scan(self, _: str, call: Call, outcome: Outcome, *__: Any) -> Any:
        scan_id, queue, *_ = call.arguments
        jobs = self._of_scan(scan_id)
        runs = any(job.state in ("queued", "running") for job in jobs)
        if runs and LOCAL_QUEUE in (queue, *(job.queue for job in jobs)):
            return (None, ConflictError)
        again = [job for job in jobs if job.state in ("failed", "cancelled")]
        for job in again:
            job.state, job.queue, job.losses = "queued", queue, 0
        if [one.audit_id for one in outcome.result or ()] != [job.key[1] for job in again]:
            raise ViolationError(f"{call} returned {outcome.result}")
        return None

    def on_resume(self, _: str, call: Call, *__: Any) -> Any:
        job = self.jobs["training", call.arguments[0]]
        if job.state not in ("failed", "cancelled"):
            return (None, ConflictError)
        job.state, job.queue, job.losses = "queued", call.arguments[1], 0
        return None

    def on_count_queued(self, kind: str, call: Call, *_: Any) -> Any:
        jobs = self.jobs.values()
        wait = [job for job in jobs if (job.key[0], job.state, job.queue) == (kind, "queued", call.arguments[0])]
        return _returns(len(wait))

    def on_running(self, kind: str, call: Call, outcome: Outcome, *_: Any) -> Any:
        expected = {
            (job.key[1], job.attempt)
            for job in self.jobs.values()
            if job.key[0] == kind and job.state == "running" and (kind == "training" or job.queue != LOCAL_QUEUE)
        }
        if {(one.job_id, one.attempt) for one in outcome.result} != expected:
            raise ViolationError(f"{call} returned {outcome.result}, expected {expected}")
        return None

    def _of_scan(self, scan_id: int) -> list[ModelJob]:
        return [job for job in self.jobs.values() if job.scan == scan_id]


def _returns(result: Any) -> tuple[Any, type]:
    return (result, type(None))
