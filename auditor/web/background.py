"""Jobs that start over HTTP: sent to workers if there is a broker, else run by the server one at a time."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import Engine

from auditor import tracing
from auditor.config import settings
from auditor.db.leases import Leases, Unsent
from auditor.db.scans import load_settings, retry_scan
from auditor.db.schedules import Run, end_run, restart_run
from auditor.db.store import Job, Store
from auditor.db.trainings import TrainingJob, Trainings, load_training
from auditor.errors import ConflictError, EnvironmentUnusableError, UsageError
from auditor.jobs.child import ChildFactory
from auditor.jobs.process_names import process_name
from auditor.jobs.tasks import measure_audit
from auditor.machine.devices import check_device
from auditor.records import LOCAL_QUEUE
from auditor.scans.command import uses_folder
from auditor.scans.local import HaltedError, LocalExecutor
from auditor.scans.plan import check_scan
from auditor.scans.request import ScanRequest
from auditor.scheduling.due import claim_run_now, run_schedule
from auditor.trainings.boost import BoostRequest
from auditor.trainings.job import NullReporter
from auditor.trainings.run import run_locally, send_training
from auditor.web.build_requests import build_boost_request, build_scan_request
from auditor.web.errors import as_invalid_request
from auditor.web.shapes.requests import BoostBody, ScanBody
from auditor.zoo import Source, find_source

logger = logging.getLogger(__name__)


class BackgroundJobs:
    """The jobs that the server's clients have started.

    ``close`` cancels the jobs that this process runs or has queued; cancelled jobs can be resumed. The other methods
    raise what :func:`build_scan_request` raises, UsageError for an unknown device, and EnvironmentUnusableError if the
    images are unavailable.
    """

    def __init__(self, engine: Engine) -> None:
        self.store = Store(engine)
        self.trainings = Trainings(engine, settings().database_patience)
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="jobs")
        self.closing = threading.Event()
        self.local_boosts: set[int] = set()

    def start_scan(self, body: ScanBody) -> int:
        """Store a scan, start or queue it, and return its ID."""
        zoo, entries, request = build_scan_request(body)
        queue = _choose_queue(body.device)
        local = queue == LOCAL_QUEUE
        check_scan(self.store, entries, request.measurement, images=local)
        worker = process_name() if local else None
        with request.span(body.source, models=len(entries), queue=queue) as span:
            scan_id, jobs = self.store.create_scan(body.source, request.to_json(), entries, queue=queue, worker=worker)
            span.set(scan=scan_id)
            if local:
                self.thread.submit(self._run_scan, scan_id, jobs, zoo, request)
            else:
                self._send(f"scan {scan_id}", lambda: self._send_jobs(jobs, request, queue))
            return scan_id

    def retry_scan(self, number: int) -> None:
        """Run the failed and cancelled audits of a scan again, with its own request.

        Raises ConflictError if there are none, and UsageError if the scan uses a folder of this machine.
        """
        stored = load_settings(self.store.engine, number)
        if uses_folder(stored):
            command = f"`auditor scans retry {number}`"
            raise UsageError(f"scan {number} uses a local zoo, which cannot be retried over HTTP; run {command}")
        request = ScanRequest.from_json(stored.request)
        queue = _choose_queue(request.measurement.audit.device, request.seconds)
        local = queue == LOCAL_QUEUE
        zoo = find_source(stored.source)
        parent = stored.request.get(tracing.CARRIER)
        with request.span(stored.source, parent=parent, queue=queue, scan=number) as span:
            jobs = retry_scan(self.store.engine, number, queue, process_name() if local else None)
            if not jobs:
                raise ConflictError(f"none of the audits of scan {number} failed or was cancelled")
            span.set(models=len(jobs))
            if local:
                self.thread.submit(self._run_scan, number, jobs, zoo, request)
            else:
                self._send(f"scan {number}", lambda: self._send_jobs(jobs, request, queue))

    def start_boost(self, body: BoostBody) -> int:
        """Store a boost, start or queue it, and return its ID."""
        entry, request = build_boost_request(body)
        queue = _choose_queue(body.device, request.seconds)
        with tracing.span("boost", model=entry.model, queue=queue) as span:
            job = self.trainings.create("boost", entry.model, entry, request.to_json(), queue)
            span.set(training=job.training_id)
            self._start_training(job, queue)
            return job.training_id

    def resume_boost(self, number: int) -> None:
        """Resume a failed or cancelled boost from its last saved epoch. Raises ConflictError in other states."""
        if number in self.local_boosts:
            raise ConflictError(f"boost {number} is queued or running: only failed or cancelled jobs can be resumed")
        row = load_training(self.trainings.engine, number)
        request = BoostRequest.from_json(row.request)
        if request.scan.trust_code or request.scan.folder is not None:
            command = f"`auditor trainings resume {number}`"
            raise UsageError(f"boost {number} uses a local zoo, which cannot be resumed over HTTP; run {command}")
        queue = _choose_queue(request.scan.measurement.audit.device, request.seconds)
        parent = row.request.get(tracing.CARRIER)
        with tracing.span("boost", parent=parent, model=row.model, queue=queue, training=number):
            self._start_training(self.trainings.resume(number, queue), queue)

    def run_schedule(self, name: str) -> None:
        """Run the command of a schedule now: by workers if there is a broker, else after the server's other jobs.

        Raises:
            NotFoundError, ConflictError: as :func:`claim_run_now`.
        """
        self.thread.submit(self._run_schedule, claim_run_now(self.store.engine, name))

    def close(self) -> None:
        """Cancel the jobs that this process runs or has queued."""
        self.closing.set()
        try:
            for number in tuple(self.local_boosts):
                reason = f"the server stopped; resume with `auditor trainings resume {number}`"
                self.trainings.cancel(number, reason)
        finally:
            self.thread.shutdown(wait=True)

    def _start_training(self, job: TrainingJob, queue: str) -> None:
        if queue == LOCAL_QUEUE:
            self.local_boosts.add(job.training_id)
            self.thread.submit(self._run_boost, job)
        else:
            self._send(f"boost {job.training_id}", lambda: send_training(self.trainings, job, queue))

    def _send(self, job_name: str, send: Callable[[], None]) -> None:
        try:
            send()
        except EnvironmentUnusableError as error:
            logger.warning("%s; %s is stored, and a worker sends it when the broker responds again", error, job_name)

    def _send_jobs(self, jobs: list[Job], request: ScanRequest, queue: str) -> None:
        from auditor.jobs.queue import send_queued

        send_queued(Leases(self.store.engine), [Unsent(job.audit_id, request.seconds) for job in jobs], queue)

    def _run_scan(self, scan_id: int, jobs: list[Job], zoo: Source, request: ScanRequest) -> None:
        make_child = ChildFactory(preload=zoo.preload, threads=settings().threads)
        executor = LocalExecutor(
            store=self.store,
            measure=make_child(measure_audit, request.seconds, request.memory),
            reporter=NullReporter(),
            is_halted=self.closing.is_set,
        )
        try:
            executor.run_jobs(scan_id, jobs, zoo, request)
        except HaltedError:
            logger.warning("scan %d was cancelled because the server stopped", scan_id)
        except Exception:
            logger.exception("scan %d ended early", scan_id)

    def _run_schedule(self, run: Run) -> None:
        engine = self.store.engine
        try:
            if self.closing.is_set():
                end_run(engine, run.claim, "failed", "the server stopped before this run began")
            elif (mine := restart_run(engine, run)) is not None:  # else `auditor beat` has taken it over
                run_schedule(engine, mine, local=settings().broker_url is None, halted=self.closing)
        except Exception:
            logger.exception("schedule %s ended early", run.schedule.name)

    def _run_boost(self, job: TrainingJob) -> None:
        try:
            run_locally(self.trainings, job, NullReporter())
        except Exception:
            logger.exception("boost %d ended early", job.training_id)
        finally:
            self.local_boosts.discard(job.training_id)


def _choose_queue(device: str, seconds: float = 0) -> str:
    """Return the queue of a device if there is a broker, else ``here``.

    Raises:
        UsageError: this machine, or the queue, does not have the device, or the job exceeds the queue's longest time.
    """
    if settings().broker_url is None:
        with as_invalid_request(EnvironmentUnusableError):
            check_device(device)
        return LOCAL_QUEUE
    from auditor.jobs.queue import check_length, queue_of

    check_length(seconds)
    return queue_of(device)
