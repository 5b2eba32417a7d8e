"""Runs scans in this process: one model at a time, or several side by side."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from sqlalchemy.exc import SQLAlchemyError

from auditor.config import settings
from auditor.db.store import Job, Store
from auditor.errors import first_line
from auditor.jobs.audit import AuditExecutor, Measure
from auditor.jobs.heartbeat import Heartbeat
from auditor.jobs.process_names import process_name
from auditor.jobs.reaper import abandon_dead_scans
from auditor.jobs.run import Reporter
from auditor.records import LOCAL_QUEUE, ZooEntry
from auditor.records.schedules import Claim
from auditor.scans.plan import check_scan
from auditor.scans.request import ScanRequest
from auditor.zoo import Source


@dataclass
class ScanOutcome:
    """The outcomes of a scan's models, by name."""

    scan_id: int
    done: list[str] = field(default_factory=list)
    reused: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    cancelled: list[str] = field(default_factory=list)
    ended: bool = True

    def add(self, model: str, outcome: str) -> None:
        """Add the outcome of one audit, see :meth:`auditor.jobs.run.Reporter.ended`."""
        if outcome in ("reused", "verified"):
            self.reused.append(model)
        elif outcome.startswith("failed: "):
            self.failed[model] = outcome.removeprefix("failed: ")
        elif outcome == "done":
            self.done.append(model)
        else:
            self.cancelled.append(model)


class HaltedError(BaseException):
    """The scan has to end. This is not the failure of a model."""


@dataclass(frozen=True, kw_only=True)
class LocalExecutor:
    """Runs scans in this process. A model that fails is stored as failed, and the scan continues.

    A KeyboardInterrupt cancels the jobs that are not done, keeps the results, and is raised again.

    Attributes:
        side_by_side: how many models are measured at once.
        first_slot: the first of this process's slots that sends heartbeats for audits; a caller that sends its own
            uses slot 0.
        is_halted: called several times a second; the scan is cancelled, and HaltedError raised, once it returns True.
    """

    store: Store
    measure: Measure
    reporter: Reporter
    side_by_side: int = 1
    first_slot: int = 0
    is_halted: Callable[[], bool] = lambda: False

    def run_scan(
        self,
        source: Source,
        name: str,
        entries: Sequence[ZooEntry],
        request: ScanRequest,
        *,
        claim: Claim | None = None,
    ) -> ScanOutcome:
        """Create a scan of these entries, and run it.

        Raises:
            HaltedError: ``is_halted`` returned True.
            DataError, UsageError: the images are not available, or another folder has a model of the same name; both
                are raised before any model is loaded.
        """
        check_scan(self.store, entries, request.measurement)
        with request.span(name, models=len(entries), queue=LOCAL_QUEUE) as span:
            abandon_dead_scans(self.store.engine)
            stored = request.to_json()
            scan_id, jobs = self.store.create_scan(name, stored, entries, worker=process_name(), claim=claim)
            span.set(scan=scan_id)
            return self.run_jobs(scan_id, jobs, source, request)

    def run_jobs(self, scan_id: int, jobs: Sequence[Job], source: Source, request: ScanRequest) -> ScanOutcome:
        """Run queued jobs of one scan, in their order."""
        outcome, halt, thread = ScanOutcome(scan_id), threading.Event(), threading.local()
        slots = iter(range(self.first_slot, self.first_slot + self.side_by_side))

        def check_stopped() -> None:
            if halt.is_set() or self.is_halted():
                raise HaltedError

        def start_thread() -> None:
            device, lease = request.measurement.audit.device, settings().lease_seconds
            heartbeat = Heartbeat(self.store.engine, queue=LOCAL_QUEUE, device=device, lease=lease, slot=next(slots))
            thread.executor = AuditExecutor(
                store=self.store,
                measure=self.measure,
                heartbeat=heartbeats.enter_context(heartbeat),
                reporter=self.reporter,
                check_stopped=check_stopped,
            )

        def run(job: Job) -> None:
            check_stopped()
            model = job.entry.model
            self.reporter.model(model)
            ended = thread.executor.run(
                job, lambda: source, request.measurement, force=request.force, reverify=model in request.reverify
            )
            outcome.add(model, ended)
            self.reporter.ended(model, ended)

        pool = ThreadPoolExecutor(self.side_by_side, initializer=start_thread)
        with contextlib.ExitStack() as heartbeats, pool:
            futures: list[Future[None]] = []
            try:
                futures += [pool.submit(run, job) for job in jobs]
                finished, _ = wait(futures, return_when=FIRST_EXCEPTION)
                for future in finished:
                    future.result()
            except BaseException as error:
                interrupted = isinstance(error, KeyboardInterrupt)
                reason = "interrupted" if interrupted else f"the scan ended: {first_line(error)}"
                with uninterrupted():
                    halt.set()
                    for future in futures:
                        future.cancel()
                    wait(futures)
                    with contextlib.suppress(SQLAlchemyError):  # the first error is raised
                        self.store.cancel(scan_id, reason)
                raise
        return outcome


INTERRUPTS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Ignore interrupts: a second Ctrl-C does not stop what runs in this context."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {kind: signal.signal(kind, signal.SIG_IGN) for kind in INTERRUPTS}
    try:
        yield
    finally:
        for kind, handler in handlers.items():
            signal.signal(kind, handler)
