"""Scans asked for over HTTP: sent to workers where there is a broker, else run by the server, one at a time."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import Engine

from auditor.config import settings
from auditor.db.leases import Leases, Unsent
from auditor.db.store import Job, Store
from auditor.devices import check_device
from auditor.errors import EnvironmentUnusableError, UsageError
from auditor.here import HaltedError, run_jobs
from auditor.leases import process_name
from auditor.limits import Limits
from auditor.records import AuditRequest, ZooEntry
from auditor.scans import ScanRequest, check_scan, under
from auditor.web.asked import ScanAsked
from auditor.zoo import Source, check_installed, find_source, select

logger = logging.getLogger(__name__)


class Silent:
    """Nobody is told how a scan gets on: it is in the database."""

    def model(self, name: str) -> None: ...

    def part(self, name: str, part: str, done: int, total: int) -> None: ...

    def ended(self, name: str, outcome: str) -> None: ...


class Scanner:
    """Takes requests; ``close`` ends what runs, which is cancelled and can be tried again."""

    def __init__(self, engine: Engine) -> None:
        self.store = Store(engine)
        self.threads = ThreadPoolExecutor(1, thread_name_prefix="scan")
        self.closing = threading.Event()

    def start(self, asked: ScanAsked) -> int:
        """The number of the scan that has begun, or waits for its turn.

        Raises:
            UsageError: there is no such model, or the request contradicts itself.
            DataError: the images are not on this machine.
            EnvironmentUnusableError: what the source needs is not installed.
        """
        check_installed(asked.source)
        zoo = find_source(asked.source)
        entries, request = _entries(zoo, asked), _request(asked)
        queued = settings().broker_url is not None
        check_scan(self.store, entries, request.measurement, images=not queued)
        if queued:
            return self._send(asked, entries, request)
        check_device(asked.device)
        scan_id, jobs = self.store.create_scan(asked.source, request.to_json(), entries, worker=process_name())
        self.threads.submit(self._run, scan_id, jobs, zoo, request)
        return scan_id

    def close(self) -> None:
        """Cancel what runs and what waits."""
        self.closing.set()
        self.threads.shutdown(wait=True)

    def _send(self, asked: ScanAsked, entries: list[ZooEntry], request: ScanRequest) -> int:
        from auditor.dispatch import queue_of, send

        queue = queue_of(asked.device)
        scan_id, jobs = self.store.create_scan(asked.source, request.to_json(), entries, queue=queue)
        try:
            Leases(self.store.engine).mark_sent([job.audit_id for job in jobs])
            send([Unsent(job.audit_id, request.seconds) for job in jobs], queue)
        except EnvironmentUnusableError as error:
            logger.warning("%s; scan %d is stored, and sent by any worker once it does", error, scan_id)
        return scan_id

    def _run(self, scan_id: int, jobs: list[Job], zoo: Source, request: ScanRequest) -> None:
        from auditor.child import InChild

        limits = Limits.share(request.seconds, request.memory)
        measure = InChild(limits=limits, preload=zoo.preload, threads=settings().threads)
        try:
            run_jobs(self.store, scan_id, jobs, zoo, request, Silent(), measure, halted=self.closing.is_set)
        except HaltedError:
            logger.warning("scan %d was cancelled: the server ends", scan_id)
        except Exception:
            logger.exception("scan %d ended early", scan_id)


def _entries(zoo: Source, asked: ScanAsked) -> list[ZooEntry]:
    from auditor.data import CLASSES

    found = zoo.entries()
    if asked.pretrained_only:
        found = [entry for entry in found if entry.training.get("pretrained", True)]
    found = select(
        found,
        models=tuple(asked.models),
        match=asked.match,
        dataset=asked.dataset,
        threat_model=asked.threat_model,
        limit=asked.limit,
    )
    known = [entry for entry in found if asked.models or entry.own_data or entry.dataset in CLASSES]
    if not known:
        raise UsageError(f"no model of {asked.source} that can be audited is left by these filters")
    return [under(entry, asked.norm, asked.eps) for entry in known]


def _request(asked: ScanAsked) -> ScanRequest:
    limits = Limits.of(asked.protocol, None, None)
    audit = AuditRequest(
        protocol=asked.protocol,
        linearization=asked.linearization,
        sketch=asked.sketch,
        seed=asked.seed,
        device=asked.device,
        batch_size=settings().batch_size,
    )
    return ScanRequest.make(audit, samples=asked.samples, seconds=limits.seconds, force=asked.force)
