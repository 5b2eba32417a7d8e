"""Work asked for over HTTP: sent to workers where there is a broker, else done by the server, one thing at a time."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import Engine

from auditor.config import settings
from auditor.db.leases import Leases, Unsent
from auditor.db.store import Job, Store
from auditor.db.trainings import TrainingJob, Trainings, load_training
from auditor.errors import EnvironmentUnusableError, UsageError
from auditor.jobs.child import ChildFactory
from auditor.jobs.lease import process_name
from auditor.jobs.tasks import measure_audit
from auditor.machine.devices import check_device
from auditor.records import LOCAL_QUEUE
from auditor.scans.local import HaltedError, LocalExecutor
from auditor.scans.plan import check_scan
from auditor.scans.request import ScanRequest
from auditor.trainings.boost import BoostRequest
from auditor.trainings.job import NullReporter
from auditor.trainings.run import run_locally, send_training
from auditor.web.build_requests import boost_wanted, scan_wanted
from auditor.web.shapes.requests import BoostBody, ScanBody
from auditor.zoo import Source

logger = logging.getLogger(__name__)
ENDS = "the server ended"


class Work:
    """Takes requests; ``close`` ends what runs and what waits: cancelled, it can be tried again or gone on with.

    All methods raise what :func:`scan_wanted` raises, and UsageError or EnvironmentUnusableError where the device, or
    the images, are not to be had.
    """

    def __init__(self, engine: Engine) -> None:
        self.store = Store(engine)
        self.trainings = Trainings(engine, settings().database_patience)
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="work")
        self.closing = threading.Event()
        self.boosts: set[int] = set()

    def scan(self, asked: ScanBody) -> int:
        """The number of the scan that has begun, or waits for its turn."""
        zoo, entries, request = scan_wanted(asked)
        queue = _queue_of(asked.device)
        check_scan(self.store, entries, request.measurement, images=queue == LOCAL_QUEUE)
        worker = process_name() if queue == LOCAL_QUEUE else None
        scan_id, jobs = self.store.create_scan(asked.source, request.to_json(), entries, queue=queue, worker=worker)
        if queue == LOCAL_QUEUE:
            self.thread.submit(self._scan, scan_id, jobs, zoo, request)
        else:
            self._send(f"scan {scan_id}", lambda: self._send_jobs(jobs, request, queue))
        return scan_id

    def boost(self, asked: BoostBody) -> int:
        """The number of the boost that has begun, or waits for its turn."""
        entry, request = boost_wanted(asked)
        queue = _queue_of(asked.device, request.seconds)
        job = self.trainings.create("boost", entry.model, entry, request.to_json(), queue)
        self._begin(job, queue)
        return job.training_id

    def resume(self, number: int) -> None:
        """Go on with a boost that failed or was cancelled, from its last epoch; UsageError where it is neither."""
        if number in self.boosts:
            raise UsageError(f"boost {number} runs, or waits for its turn: only what failed or was cancelled goes on")
        asked = BoostRequest.from_json(load_training(self.trainings.engine, number)["request"])
        if asked.scan.trust_code or asked.scan.folder is not None:
            elsewhere = f"`auditor trainings resume {number}`"
            raise UsageError(f"boost {number} is of a zoo of one's own, which is nothing for HTTP: {elsewhere}")
        queue = _queue_of(asked.scan.measurement.audit.device, asked.seconds)
        self._begin(self.trainings.resume(number, queue), queue)

    def close(self) -> None:
        """Cancel what runs and what waits."""
        self.closing.set()
        try:
            for number in tuple(self.boosts):
                self.trainings.cancel(number, f"{ENDS}; `auditor trainings resume {number}` goes on")
        finally:
            self.thread.shutdown(wait=True)

    def _begin(self, job: TrainingJob, queue: str) -> None:
        if queue == LOCAL_QUEUE:
            self.boosts.add(job.training_id)
            self.thread.submit(self._boost, job)
        else:
            self._send(f"boost {job.training_id}", lambda: send_training(self.trainings, job, queue))

    def _send(self, what: str, send: Callable[[], None]) -> None:
        try:
            send()
        except EnvironmentUnusableError as error:
            logger.warning("%s; %s is stored, and sent by any worker once it does", error, what)

    def _send_jobs(self, jobs: list[Job], request: ScanRequest, queue: str) -> None:
        from auditor.jobs.queue import send

        Leases(self.store.engine).mark_sent([job.audit_id for job in jobs])
        send([Unsent(job.audit_id, request.seconds) for job in jobs], queue)

    def _scan(self, scan_id: int, jobs: list[Job], zoo: Source, request: ScanRequest) -> None:
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
            logger.warning("scan %d was cancelled: %s", scan_id, ENDS)
        except Exception:
            logger.exception("scan %d ended early", scan_id)

    def _boost(self, job: TrainingJob) -> None:
        try:
            run_locally(self.trainings, job, NullReporter())
        except Exception:
            logger.exception("boost %d ended early", job.training_id)
        finally:
            self.boosts.discard(job.training_id)


def _queue_of(device: str, seconds: float = 0) -> str:
    """The workers' queue where there is a broker, else ``here``.

    Raises:
        UsageError: the device is not here, none of the queues', or the job takes longer than a queue keeps one.
    """
    if settings().broker_url is None:
        check_device(device)
        return LOCAL_QUEUE
    from auditor.jobs.queue import check_length, queue_of

    check_length(seconds)
    return queue_of(device)
