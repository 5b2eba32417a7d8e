"""A process of the pool: its device, its heart, and the audits that it runs, each model in a child of its own."""

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

from auditor.config import settings
from auditor.db.session import make_engine
from auditor.db.store import Store
from auditor.db.trainings import TrainingJob, Trainings
from auditor.errors import AuditorError, UsageError
from auditor.jobs.audit import Measure, run_audit
from auditor.jobs.child import ChildProcess, warm_up
from auditor.jobs.lease import Heartbeat
from auditor.jobs.limits import Limits
from auditor.jobs.run import log_end
from auditor.logs import about
from auditor.records import ZooEntry
from auditor.scans.request import ScanRequest
from auditor.trainings.job import Place, Run, Silent
from auditor.trainings.run import run_training
from auditor.zoo import Source, find_source
from workers.devices import settle
from workers.options import Options

logger = logging.getLogger(__name__)

WARM_UP_SECONDS = 30.0
"""For so long a process waits for torch before it takes its first audit; below Celery's worker_proc_alive_timeout."""


class Process:
    """What a process of the pool holds between its jobs."""

    def __init__(self, options: Options, slot: int) -> None:
        self.options = options
        device = settle(slot, options.gpus, options.threads)
        engine = make_engine(settings().database_url)
        self.store = Store(engine, settings().database_patience)
        self.trainings = Trainings(engine, settings().database_patience)
        self.heartbeat = Heartbeat(engine, queue=options.queue, device=device, lease=settings().lease_seconds)
        self.heartbeat.__enter__()

    def run(self, audit_id: int) -> None:
        """One audit, by the id that a message carried."""
        try:
            job = self.store.load_job(audit_id)
        except UsageError as error:
            logger.error("audit %d: %s", audit_id, error)
            self._refuse(audit_id, str(error))
            return
        if job is None:
            logger.warning("audit %d is not in the database, or was made by an older auditor", audit_id)
            return
        try:
            request = ScanRequest.from_json(job.request)
        except AuditorError as error:
            with about(scan=job.scan_id, audit=job.audit_id, model=job.entry.model, worker=self.heartbeat.name):
                log_end(job, f"failed: {error}" if self._refuse(audit_id, str(error)) else "taken", 0)
            return
        run_audit(
            self.store,
            job,
            lambda: self._open(job.entry, request),
            request.measurement,
            self.measure(request),
            self.heartbeat,
            force=request.force,
            reverify=job.entry.model in request.reverify,
        )

    def _refuse(self, audit_id: int, reason: str) -> bool:
        """Fail an audit that cannot be begun; False where it is another process's."""
        attempt = self.store.claim(audit_id, self.heartbeat.name, self.heartbeat.lease, self.heartbeat.queue)
        return attempt is not None and self.store.fail(audit_id, attempt, reason)

    def train(self, training_id: int) -> None:
        """One boost or adaptation, by the id that a message carried."""
        try:
            job = self.trainings.load_job(training_id)
            if job is None:
                logger.warning("training %d is not in the database", training_id)
                return
            self._train(job)
        except UsageError as error:
            logger.error("training %d: %s", training_id, error)
            attempt = self.trainings.leases.claim(
                training_id, self.heartbeat.name, self.heartbeat.lease, self.heartbeat.queue
            )
            if attempt is not None:
                self.trainings.fail(training_id, attempt, str(error))

    def _train(self, job: TrainingJob) -> None:
        def child(task: str, seconds: float, memory: int | None) -> ChildProcess:
            limits = Limits.share(seconds, memory, self.options.processes)
            return ChildProcess(limits=limits, task=task, threads=self.options.threads)

        run_training(self.trainings, job, Run(self._open, child, self.heartbeat, Silent()))

    def measure(self, request: ScanRequest) -> Measure:
        """How a model is measured: within the scan's limits and this process's share of the machine."""
        limits = Limits.share(request.seconds, request.memory, self.options.processes)
        return ChildProcess(limits=limits, threads=self.options.threads)

    def _open(self, entry: ZooEntry, request: Place) -> Source:
        if request.trust_code and not self.options.trust_code and "python" in entry.architecture:
            raise UsageError(
                f"{entry.model}: loading would run Python code of {request.folder}, which this worker does not trust: "
                "start it with `auditor worker --trust-code`"
            )
        if request.place is not None and not request.place.is_dir():
            raise UsageError(
                f"{entry.model}: no folder {request.place} on {os.uname().nodename}, where its worker runs"
            )
        return find_source(entry.source, request.place, trust_code=request.trust_code and self.options.trust_code)


_MAIN = multiprocessing.process.current_process()  # as it is before any fork
_options: Options | None = None
_process: Process | None = None


def inherit(options: Options) -> None:
    """What the pool's processes are to be like; to be called before they are forked."""
    global _options
    _options = options


def current() -> Process:
    assert _process is not None, "no process of a worker's pool"
    return _process


@worker_process_init.connect  # type: ignore[untyped-decorator]
def _begin(**_: Any) -> None:
    """After the fork, and before torch is imported anywhere in here."""
    global _process
    assert _options is not None, "workers are started by `auditor worker`"
    # Celery's billiard poses as multiprocessing's current process, and as a daemon, which may have no children.
    multiprocessing.process._current_process = _MAIN  # type: ignore[attr-defined]
    signal.signal(signal.SIGTERM, _leave)
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    _process = Process(_options, billiard.current_process().index)
    # An audit that is claimed before torch is there is lost for nothing where this process is killed meanwhile.
    warming = threading.Thread(target=warm_up, daemon=True)
    warming.start()
    warming.join(WARM_UP_SECONDS)


@worker_process_shutdown.connect  # type: ignore[untyped-decorator]
def _finish(**_: Any) -> None:
    if _process is not None:
        _process.heartbeat.__exit__()


def _leave(*_: object) -> None:
    """A worker that is told to end does not wait: the job of this process goes back into the queue."""
    sys.exit(128 + signal.SIGTERM)


def _end_with_parent(parent: int) -> None:
    """A worker that is killed takes its pool along: another one will be started on the same device."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGKILL)
