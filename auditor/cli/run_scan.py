"""Run a scan in this process, or send it to the workers' queue and follow it."""

import logging
import signal
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import click

from auditor.errors import ExitCode
from auditor.text.numbers import counted

if TYPE_CHECKING:
    from auditor.cli.options import PlaceOptions
    from auditor.db.store import Job, Store
    from auditor.jobs.audit import Measure
    from auditor.jobs.child import ChildFactory
    from auditor.records import ZooEntry
    from auditor.records.schedules import Claim
    from auditor.scans.local import ScanOutcome
    from auditor.scans.request import ScanRequest
    from auditor.zoo import Source


def set_up_logs_and_traces() -> None:
    """Log warnings only, because people see the progress; log each audit if the format is JSON."""
    from auditor import logs, tracing

    logs.set_up("scan", "WARNING")
    tracing.set_up("scan")
    if logs.logs_json():
        logging.getLogger("auditor").setLevel("INFO")


def sigterm_interrupts() -> None:
    """Treat SIGTERM and SIGHUP as an interrupt, so that all finished work is stored."""
    for kind in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, kind) and signal.getsignal(getattr(signal, kind)) != signal.SIG_IGN:  # nohup ignores them
            signal.signal(getattr(signal, kind), signal.default_int_handler)


@dataclass(frozen=True)
class Where:
    """The queue of the work; ``jobs``: audits in parallel in this process, None to decide by their size."""

    queue: str
    wait: bool
    jobs: int | None = None

    @property
    def is_local(self) -> bool:
        """Whether the work runs in this process."""
        from auditor.records import LOCAL_QUEUE

        return self.queue == LOCAL_QUEUE


def runs_locally(queued: bool | None) -> bool:
    """Whether work runs in this process: as ``--queue/--here`` says; without either, if no broker is configured."""
    from auditor.config import settings

    return settings().broker_url is None if queued is None else not queued


def check_queue() -> None:
    """Check that the queue can be used.

    Raises:
        EnvironmentUnusableError: its packages are not installed, or the broker does not answer.
        UsageError: no broker is configured.
    """
    import importlib.util

    from auditor.errors import EnvironmentUnusableError

    if importlib.util.find_spec("celery") is None:
        raise EnvironmentUnusableError("the queue needs Celery: pip install 'auditor[service]'")
    from auditor.jobs.queue import check_broker

    check_broker()


def decide(place: "PlaceOptions", device: str, *, minutes: float | None = None, needs_results: bool = False) -> Where:
    """Decide where work runs, by its options; ``minutes`` is the time limit of an audit.

    ``needs_results``: whether the command does something with the results.

    Raises:
        UsageError: the options contradict each other, or no broker is configured.
        EnvironmentUnusableError: the broker does not answer.
    """
    from auditor.errors import UsageError
    from auditor.records import LOCAL_QUEUE

    if runs_locally(place.queued):
        if place.wait:
            raise UsageError("--wait needs --queue: with --here, the command always waits")
        return Where(LOCAL_QUEUE, False, place.jobs)
    if place.jobs:
        raise UsageError("--jobs needs --here: `auditor worker --processes` sets how many audits a worker runs at once")
    if needs_results and not place.wait:
        raise UsageError("gates, --sarif, --junit and --mlflow need the results: add --wait or --here")
    check_queue()
    from auditor.jobs.queue import LONGEST_DAYS, queue_of

    if (minutes or 0) > LONGEST_DAYS * 24 * 60:
        raise UsageError(f"--time-limit: expected at most {LONGEST_DAYS} days for a queued audit; or add --here")
    return Where(queue_of(device), place.wait)


def run_where(
    where: Where,
    store: "Store",
    zoo: "Source",
    source: str,
    entries: "Sequence[ZooEntry]",
    request: "ScanRequest",
    claim: "Claim | None" = None,
) -> "ScanOutcome":
    """Run a scan in this process, or send it to workers and, with ``--wait``, follow it."""
    from auditor.cli.output.progress import ScanProgress
    from auditor.scans.local import LocalExecutor

    if not where.is_local:
        from auditor.scans.plan import check_scan

        check_scan(store, entries, request.measurement, images=False)
        with request.span(source, models=len(entries), queue=where.queue) as span:
            scan_id, jobs = store.create_scan(source, request.to_json(), entries, queue=where.queue, claim=claim)
            span.set(scan=scan_id)
            return send_and_follow(where, store, scan_id, jobs, request)
    measure, jobs_at_once = _in_children(where, zoo, entries, request)
    with ScanProgress(len(entries)) as progress:
        executor = LocalExecutor(store=store, measure=measure, reporter=progress, side_by_side=jobs_at_once)
        return executor.run_scan(zoo, source, entries, request, claim=claim)


def rerun_where(where: Where, store: "Store", scan_id: int) -> "ScanOutcome":
    """Run the failed and cancelled audits of a scan again, with the scan's own request."""
    from auditor import tracing
    from auditor.cli.output.follow import follow
    from auditor.cli.output.progress import ScanProgress, say
    from auditor.db.scans import load_request, load_scan, retry_scan
    from auditor.errors import UsageError
    from auditor.jobs.process_names import process_name
    from auditor.machine.devices import check_device
    from auditor.scans.local import LocalExecutor, ScanOutcome
    from auditor.scans.request import ScanRequest
    from auditor.zoo import find_source

    scan, stored = load_scan(store.engine, scan_id), load_request(store.engine, scan_id)
    request = ScanRequest.from_json(stored)
    if where.is_local:  # an error here leaves the scan unchanged
        check_device(request.measurement.audit.device)
        zoo = find_source(scan.source, request.place, trust_code=request.trust_code)
    else:
        from auditor.jobs.queue import LONGEST_DAYS

        if request.seconds > LONGEST_DAYS * 86_400:
            raise UsageError(
                f"the time limit of scan {scan_id} is over {LONGEST_DAYS} days, too long for the queue: add --here"
            )
    with request.span(scan.source, parent=stored.get(tracing.CARRIER), queue=where.queue, scan=scan_id) as span:
        jobs = retry_scan(store.engine, scan_id, where.queue, process_name() if where.is_local else None)
        span.set(models=len(jobs))
        if not jobs:
            runs = scan.state == "running"
            say(f"scan {scan_id} {'is running' if runs else 'has ended'}; none of its audits failed or was cancelled")
            return follow(store.engine, scan_id) if runs and where.wait else ScanOutcome(scan_id, ended=False)
        if not where.is_local:
            return send_and_follow(where, store, scan_id, jobs, request)
        measure, jobs_at_once = _in_children(where, zoo, [job.entry for job in jobs], request)
        with ScanProgress(len(jobs)) as progress:
            executor = LocalExecutor(store=store, measure=measure, reporter=progress, side_by_side=jobs_at_once)
            return executor.run_jobs(scan_id, jobs, zoo, request)


def send_and_follow(
    where: Where, store: "Store", scan_id: int, jobs: "Sequence[Job]", request: "ScanRequest"
) -> "ScanOutcome":
    """Send the IDs of a stored scan's audits; if the broker fails, a worker's reaper sends them later."""
    from auditor.cli.output.follow import follow
    from auditor.cli.output.progress import say
    from auditor.db.leases import Leases, Unsent
    from auditor.db.scans import load_scan
    from auditor.errors import EnvironmentUnusableError
    from auditor.jobs.queue import send_queued
    from auditor.scans.local import ScanOutcome
    from auditor.text.signs_of_life import no_worker, start_worker

    try:
        send_queued(Leases(store.engine), [Unsent(job.audit_id, request.seconds) for job in jobs], where.queue)
    except EnvironmentUnusableError as error:
        say(f"{error}; the scan is stored, and a worker sends it once the broker answers")
    except KeyboardInterrupt:
        say(f"scan {scan_id} is stored, and workers will run it; `auditor scans cancel {scan_id}` cancels it")
        click.get_current_context().exit(ExitCode.INTERRUPTED)
    say(f"scan {scan_id}: {counted(len(jobs), 'audit')} in the queue {where.queue}; see `auditor scans show {scan_id}`")
    if load_scan(store.engine, scan_id).unserved:
        say(f"{no_worker(where.queue)} yet; {start_worker(where.queue)}")
    if not where.wait:
        return ScanOutcome(scan_id, ended=False)
    return follow(store.engine, scan_id)


def start_children(where: Where, zoo: "Source", entries: "Sequence[ZooEntry]") -> None:
    """Start the server of child processes early, because importing torch takes seconds."""
    if where.is_local:
        from auditor.jobs.child import start_server

        start_server(_preload(zoo, entries))


def _preload(zoo: "Source", entries: "Sequence[ZooEntry]") -> tuple[str, ...]:
    """The modules that child processes import in advance; none if no model is on this machine."""
    return zoo.preload if any(zoo.missing(entry) is None for entry in entries) else ()


def _in_children(
    where: Where, zoo: "Source", entries: "Sequence[ZooEntry]", request: "ScanRequest"
) -> "tuple[Measure, int]":
    """The function that audits a model in a child process, and the number of audits in parallel."""
    from auditor.scans.parallel import make_measure

    make_child = _share_machine(where.jobs, zoo, entries, request)
    return make_measure(make_child, request.seconds, request.memory), make_child.processes


def _share_machine(
    jobs: int | None, zoo: "Source", entries: "Sequence[ZooEntry]", request: "ScanRequest"
) -> "ChildFactory":
    from auditor.scans.parallel import share_machine

    make_child = share_machine(zoo, entries, request.measurement, jobs=jobs, memory=request.memory)
    return replace(make_child, preload=_preload(zoo, entries))


def print_dry_run(
    where: Where,
    store: "Store",
    zoo: "Source",
    entries: "Sequence[ZooEntry]",
    request: "ScanRequest",
    output_format: str,
) -> None:
    """``--dry-run``: print what a scan would do, timed with the number of threads that each model would have."""
    from auditor.cli.output.plan import as_rows, print_plan
    from auditor.cli.output.progress import ScanProgress
    from auditor.cli.output.tables import print_json
    from auditor.jobs.tasks import estimate_audit
    from auditor.scans.plan import plan_scan

    make_child = _share_machine(where.jobs if where.is_local else 1, zoo, entries, request)
    # One model is estimated at a time, so it may use the memory of the whole machine.
    estimate = replace(make_child, processes=1)(estimate_audit, request.seconds, request.memory)
    with ScanProgress(len(entries)) as progress:
        plan = plan_scan(store, zoo, entries, request, progress, estimate)
    print_json(as_rows(plan)) if output_format == "json" else print_plan(plan, make_child.processes)
