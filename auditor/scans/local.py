"""A scan in this process: its jobs one after the other, or several models side by side, each in a child of its own."""

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
from auditor.jobs.audit import Measure, run_audit
from auditor.jobs.lease import Heartbeat, process_name
from auditor.jobs.reaper import abandon_dead_scans
from auditor.jobs.run import Reporter
from auditor.records import ZooEntry
from auditor.scans.plan import check_scan
from auditor.scans.request import ScanRequest
from auditor.zoo import Source


@dataclass
class ScanOutcome:
    """What became of a scan's models, by name."""

    scan_id: int
    done: list[str] = field(default_factory=list)
    reused: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    cancelled: list[str] = field(default_factory=list)
    ended: bool = True


class HaltedError(BaseException):
    """The scan ends: no model's failure."""


def run_scan(
    store: Store,
    source: Source,
    name: str,
    entries: Sequence[ZooEntry],
    request: ScanRequest,
    reporter: Reporter,
    measure: Measure,
    *,
    side_by_side: int = 1,
    run_id: int | None = None,
    slot: int = 0,
    halted: Callable[[], bool] = lambda: False,
) -> ScanOutcome:
    """Audit every entry here and now; one that fails is stored as failed, and the scan goes on.

    A KeyboardInterrupt cancels what is not done, keeps what is, and is raised again.

    Args:
        slot: the first of this process's that gives signs of life for an audit; another one where 0 is taken.
        halted: asked several times a second; where it says so, the scan is cancelled.

    Raises:
        HaltedError: ``halted`` said so.
        DataError, UsageError: the images cannot be had, or another folder has a model of the same name; before any
            model is loaded.
    """
    check_scan(store, entries, request.measurement)
    abandon_dead_scans(store.engine)
    scan_id, jobs = store.create_scan(name, request.to_json(), entries, worker=process_name(), run_id=run_id)
    return run_jobs(
        store,
        scan_id,
        jobs,
        source,
        request,
        reporter,
        measure,
        side_by_side=side_by_side,
        slot=slot,
        halted=halted,
    )


def run_jobs(
    store: Store,
    scan_id: int,
    jobs: Sequence[Job],
    source: Source,
    request: ScanRequest,
    reporter: Reporter,
    measure: Measure,
    *,
    side_by_side: int = 1,
    slot: int = 0,
    halted: Callable[[], bool] = lambda: False,
) -> ScanOutcome:
    """The queued jobs of one scan, in their order, ``side_by_side`` at once."""
    outcome, halt, free = ScanOutcome(scan_id), threading.Event(), threading.local()
    slots = iter(range(slot, slot + side_by_side))

    def stopped() -> None:
        if halt.is_set() or halted():
            raise HaltedError

    def enter() -> None:
        device, lease = request.measurement.audit.device, settings().lease_seconds
        heartbeat = Heartbeat(store.engine, queue="here", device=device, lease=lease, slot=next(slots))
        free.heartbeat = hearts.enter_context(heartbeat)

    def run(job: Job) -> None:
        stopped()
        reporter.model(job.entry.model)
        asked = request.measurement
        ended = run_audit(
            store,
            job,
            lambda: source,
            asked,
            measure,
            free.heartbeat,
            force=request.force,
            reverify=job.entry.model in request.reverify,
            reporter=reporter,
            stopped=stopped,
        )
        _note(outcome, job.entry.model, ended)
        reporter.ended(job.entry.model, ended)

    with contextlib.ExitStack() as hearts, ThreadPoolExecutor(side_by_side, initializer=enter) as pool:
        futures: list[Future[None]] = []
        try:
            futures += [pool.submit(run, job) for job in jobs]
            finished, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in finished:
                future.result()
        except BaseException as error:
            reason = "interrupted" if isinstance(error, KeyboardInterrupt) else f"the scan ended: {first_line(error)}"
            with uninterrupted():
                halt.set()
                for future in futures:
                    future.cancel()
                wait(futures)
                with contextlib.suppress(SQLAlchemyError):  # of two errors the first one counts
                    store.cancel(scan_id, reason)
            raise
    return outcome


INTERRUPTS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """A second Ctrl-C waits for nothing and stops nothing in here."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {kind: signal.signal(kind, signal.SIG_IGN) for kind in INTERRUPTS}
    try:
        yield
    finally:
        for kind, handler in handlers.items():
            signal.signal(kind, handler)


def _note(outcome: ScanOutcome, model: str, ended: str) -> None:
    if ended in ("reused", "verified"):
        outcome.reused.append(model)
    elif ended.startswith("failed: "):
        outcome.failed[model] = ended.removeprefix("failed: ")
    elif ended == "done":
        outcome.done.append(model)
    else:
        outcome.cancelled.append(model)
