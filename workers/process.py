"""A process of the pool: its device, its heartbeat, and the jobs that it runs, each model in a child process."""

import logging
import multiprocessing.process
import os
import signal
import sys
import threading
import time
from typing import Any

import billiard
from celery.signals import worker_process_init, worker_process_shutdown
from sqlalchemy import Engine

from auditor import tracing
from auditor.config import settings
from auditor.db.session import make_engine
from auditor.db.store import Store
from auditor.db.trainings import Trainings
from auditor.errors import AuditorError, UsageError
from auditor.jobs.audit import AuditExecutor, Measure
from auditor.jobs.child import ChildFactory, warm_up
from auditor.jobs.heartbeat import Heartbeat
from auditor.jobs.run import log_end
from auditor.jobs.tasks import measure_audit
from auditor.logs import log_context
from auditor.records import ZooEntry
from auditor.scans.request import ScanRequest
from auditor.trainings.job import NullReporter, TrainingExecutor, ZooLocation
from auditor.trainings.run import run_training
from auditor.zoo import Source, find_source
from workers.devices import assign_device
from workers.options import Options

logger = logging.getLogger(__name__)

WARM_UP_SECONDS = 30.0
"""Longest wait for torch before a process takes its first job; less than Celery's worker_proc_alive_timeout."""


class Process:
    """What a process of the pool keeps between its jobs; the caller starts the heartbeat."""

    def __init__(self, options: Options, heartbeat: Heartbeat, engine: Engine, patience: float) -> None:
        self.options, self.heartbeat = options, heartbeat
        self.store, self.trainings = Store(engine, patience), Trainings(engine, patience)
        self.make_child = ChildFactory(processes=options.processes, threads=options.threads)

    @classmethod
    def start(cls, options: Options, slot: int) -> "Process":
        """The state of the pool's process number ``slot``, with its device, its engine and a running heartbeat."""
        device = assign_device(slot, options.gpus, options.threads)
        engine = make_engine(settings().database_url)
        heartbeat = Heartbeat(engine, queue=options.queue, device=device, lease=settings().lease_seconds)
        heartbeat.__enter__()
        return cls(options, heartbeat, engine, settings().database_patience)

    def run_audit(self, audit_id: int) -> None:
        """Run the audit with the ID that a message carried."""
        try:
            job = self.store.load_job(audit_id)
        except UsageError as error:
            logger.error("audit %d: %s", audit_id, error)
            self._refuse(audit_id, str(error))
            return
        if job is None:
            logger.warning("audit %d is not in the database, or an older version of auditor stored it", audit_id)
            return
        try:
            request = ScanRequest.from_json(job.request)
        except AuditorError as error:
            with log_context(scan=job.scan_id, audit=job.audit_id, model=job.entry.model, worker=self.heartbeat.name):
                log_end(job, f"failed: {error}" if self._refuse(audit_id, str(error)) else "taken", 0)
            return
        executor = AuditExecutor(store=self.store, measure=self.measure(request), heartbeat=self.heartbeat)
        executor.run(
            job,
            lambda: self._open_audit_source(job.entry, request),
            request.measurement,
            force=request.force,
            reverify=job.entry.model in request.reverify,
        )

    def _refuse(self, audit_id: int, reason: str) -> bool:
        """Fail an audit that cannot start; False if another process has claimed it."""
        attempt = self.store.claim(audit_id, self.heartbeat.name, self.heartbeat.lease, self.heartbeat.queue)
        return attempt is not None and self.store.fail(audit_id, attempt, reason)

    def run_training(self, training_id: int) -> None:
        """Run the boost or adaptation with the ID that a message carried."""
        executor = TrainingExecutor(
            open_source=self._open_source,
            make_child=self.make_child,
            heartbeat=self.heartbeat,
            reporter=NullReporter(),
        )
        try:
            job = self.trainings.load_job(training_id)
            if job is None:
                logger.warning("training %d is not in the database", training_id)
                return
            run_training(self.trainings, job, executor)
        except UsageError as error:
            logger.error("training %d: %s", training_id, error)
            attempt = self.trainings.leases.claim(
                training_id, self.heartbeat.name, self.heartbeat.lease, self.heartbeat.queue
            )
            if attempt is not None:
                self.trainings.fail(training_id, attempt, str(error))

    def measure(self, request: ScanRequest) -> Measure:
        """Measures one model within the scan's limits and this process's share of the machine."""
        return self.make_child(measure_audit, request.seconds, request.memory)

    def _open_audit_source(self, entry: ZooEntry, request: ScanRequest) -> Source:
        extra = request.measurement.audit.under(entry.norm).extra_attacks
        if extra is not None and extra.runs_code and not self.options.trust_code:
            raise UsageError(
                f"{entry.model}: the attacks ({extra.label}) run Python code that this worker does not trust; to trust "
                "it, start the worker with `auditor worker --trust-code`"
            )
        return self._open_source(entry, request)

    def _open_source(self, entry: ZooEntry, request: ZooLocation) -> Source:
        if request.trust_code and not self.options.trust_code and "python" in entry.architecture:
            raise UsageError(
                f"{entry.model}: loading it runs Python code of {request.folder}, which this worker does not trust; to "
                "trust it, start the worker with `auditor worker --trust-code`"
            )
        if request.place is not None and not request.place.is_dir():
            raise UsageError(f"{entry.model}: the worker's machine {os.uname().nodename} has no folder {request.place}")
        return find_source(entry.source, request.place, trust_code=request.trust_code and self.options.trust_code)


_MAIN = multiprocessing.process.current_process()  # the current process before any fork
_options: Options | None = None
_process: Process | None = None


def set_options(options: Options) -> None:
    """Set the options of the pool's processes; call this before Celery forks them."""
    global _options
    _options = options


def current_process() -> Process:
    """The state of this process of the pool."""
    assert _process is not None, "this is not a process of a worker's pool"
    return _process


@worker_process_init.connect  # type: ignore[untyped-decorator]
def _start_process(**_: Any) -> None:
    """Set up a process of the pool, after the fork and before anything imports torch."""
    global _process
    assert _options is not None, "start workers with `auditor worker`"
    # Celery's billiard replaces multiprocessing's current process by a daemon, which may have no children.
    multiprocessing.process._current_process = _MAIN  # type: ignore[attr-defined]
    signal.signal(signal.SIGTERM, _exit_on_signal)
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    tracing.set_up("worker")
    _process = Process.start(_options, billiard.current_process().index)
    # Wait for torch first: a job that is claimed now would count a loss if this process were killed during the import.
    warming = threading.Thread(target=warm_up, daemon=True)
    warming.start()
    warming.join(WARM_UP_SECONDS)


@worker_process_shutdown.connect  # type: ignore[untyped-decorator]
def _stop_process(**_: Any) -> None:
    if _process is not None:
        _process.heartbeat.__exit__()
    tracing.shut_down()  # a process of the pool ends without Python's exit functions


def _exit_on_signal(*_: object) -> None:
    """Exit at once on SIGTERM: the job of this process goes back into the queue."""
    sys.exit(128 + signal.SIGTERM)


def _end_with_parent(parent: int) -> None:
    """End when the worker is killed, because its successor uses the same device."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGKILL)
