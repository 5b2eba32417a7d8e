"""Where a scan runs: in this process, or in the workers' queue, waited for or not."""

import logging
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from auditor.cli.options import Jobs

if TYPE_CHECKING:
    from auditor.db.store import Job, Store
    from auditor.jobs.audit import Measure
    from auditor.jobs.child import ChildFactory
    from auditor.records import ZooEntry
    from auditor.scans.local import ScanOutcome
    from auditor.scans.request import ScanRequest
    from auditor.zoo import Source


def where_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--queue/--here``, ``--wait`` and ``--jobs``."""
    for option in reversed(
        (
            click.option(
                "--queue/--here", "queued", default=None,
                help="Leave the audits to workers, or run them in this process. By default to workers where "
                "AUDITOR_BROKER_URL is set.",
            ),
            click.option("--wait", is_flag=True, help="With --queue: follow the audits until the last one has ended."),
            click.option(
                "--jobs", type=Jobs(), metavar="N",
                help="With --here: measure N models side by side, each with its share of threads and memory; auto, the "
                "default: small ones as many as cores and memory allow, others one after the other.",
            ),
        )
    ):  # fmt: skip
        command = option(command)
    return command


def log_scan() -> None:
    """People see a scan's progress, and what goes wrong beside it; a machine reads a line for each audit."""
    from auditor import logs

    logs.set_up("scan", "WARNING")
    if logs.logs_json():
        logging.getLogger("auditor").setLevel("INFO")


def sigterm_interrupts() -> None:
    """A polite kill, or a closed session, is an interrupt: nothing is lost."""
    for kind in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, kind) and signal.getsignal(getattr(signal, kind)) != signal.SIG_IGN:  # as nohup sets it
            signal.signal(getattr(signal, kind), signal.default_int_handler)


@dataclass(frozen=True)
class Where:
    """``queue``: here, cpu or gpu; ``jobs``: models side by side, here; None for as many as is good."""

    queue: str
    wait: bool
    jobs: int | None = None


def runs_locally(queued: bool | None) -> bool:
    """As ``--queue/--here`` says; where it says nothing, in this process unless there is a broker."""
    from auditor.config import settings

    return settings().broker_url is None if queued is None else not queued


def decide(options: dict[str, Any], *, gated: bool = False) -> Where:
    """Where the options say; takes theirs out of them.

    Raises:
        UsageError: they contradict each other, or there is no broker.
        EnvironmentUnusableError: the broker does not answer.
    """
    from auditor.errors import UsageError

    queued, wait, jobs = options.pop("queued"), options.pop("wait"), options.pop("jobs")
    if runs_locally(queued):
        if wait:
            raise UsageError("--wait goes with --queue: a scan that runs here is waited for anyway")
        return Where("here", False, jobs)
    if jobs:
        raise UsageError("--jobs goes with --here: how many audits workers run at once is theirs to say")
    if gated and not wait:
        raise UsageError("--fail-under and --fail-on-regression need the results: add --wait, or say --here")
    from auditor.cli.service import check_service

    check_service()
    from auditor.jobs.queue import LONGEST_DAYS, queue_of

    if (options.get("time_limit") or 0) > LONGEST_DAYS * 24 * 60:
        raise UsageError(f"--time-limit: an audit in a queue may take {LONGEST_DAYS} days at most; or say --here")
    return Where(queue_of(options["device"]), wait)


def run_where(
    where: Where,
    store: "Store",
    zoo: "Source",
    source: str,
    entries: "Sequence[ZooEntry]",
    request: "ScanRequest",
    run_id: int | None = None,
) -> "ScanOutcome":
    """Run a scan here, or send it to workers and, if asked to, follow it."""
    from auditor.cli.output.progress import ScanProgress
    from auditor.scans.local import LocalExecutor

    if where.queue != "here":
        from auditor.scans.plan import check_scan

        check_scan(store, entries, request.measurement, images=False)
        scan_id, jobs = store.create_scan(source, request.to_json(), entries, queue=where.queue, run_id=run_id)
        return send_and_follow(where, store, scan_id, jobs, request)
    measure, jobs_at_once = _in_children(where, zoo, entries, request)
    with ScanProgress(len(entries)) as progress:
        executor = LocalExecutor(store=store, measure=measure, reporter=progress, side_by_side=jobs_at_once)
        return executor.run_scan(zoo, source, entries, request, run_id=run_id)


def rerun_where(where: Where, store: "Store", scan_id: int) -> "ScanOutcome":
    """Run what failed or was cancelled of a scan once more, with what the scan asked for."""
    from auditor.cli.output.follow import follow
    from auditor.cli.output.progress import ScanProgress, say
    from auditor.db.scans import load_request, load_scan, retry_scan
    from auditor.errors import UsageError
    from auditor.jobs.lease import process_name
    from auditor.machine.devices import check_device
    from auditor.scans.local import LocalExecutor, ScanOutcome
    from auditor.scans.request import ScanRequest
    from auditor.zoo import find_source

    scan = load_scan(store.engine, scan_id)
    request = ScanRequest.from_json(load_request(store.engine, scan_id))
    if where.queue == "here":  # what is wrong here leaves the scan as it is
        check_device(request.measurement.audit.device)
        zoo = find_source(scan["source"], request.place, trust_code=request.trust_code)
    else:
        from auditor.jobs.queue import LONGEST_DAYS

        if request.seconds > LONGEST_DAYS * 86_400:
            raise UsageError(f"scan {scan_id} gives a model more than {LONGEST_DAYS} days, too long for a queue")
    jobs = retry_scan(store.engine, scan_id, where.queue, process_name() if where.queue == "here" else None)
    if not jobs:
        runs = scan["state"] == "running"
        say(f"scan {scan_id} {'runs, and' if runs else 'has ended:'} nothing of it has failed or was cancelled")
        return follow(store.engine, scan_id) if runs and where.wait else ScanOutcome(scan_id, ended=False)
    if where.queue != "here":
        return send_and_follow(where, store, scan_id, jobs, request)
    measure, jobs_at_once = _in_children(where, zoo, [job.entry for job in jobs], request)
    with ScanProgress(len(jobs)) as progress:
        executor = LocalExecutor(store=store, measure=measure, reporter=progress, side_by_side=jobs_at_once)
        return executor.run_jobs(scan_id, jobs, zoo, request)


def send_and_follow(
    where: Where, store: "Store", scan_id: int, jobs: "Sequence[Job]", request: "ScanRequest"
) -> "ScanOutcome":
    """Send a stored scan's ids; where the broker fails in between, a worker's reaper will send them."""
    from auditor.cli.output.follow import follow
    from auditor.cli.output.progress import say
    from auditor.db.leases import Leases, Unsent
    from auditor.db.workers import list_workers
    from auditor.errors import EnvironmentUnusableError
    from auditor.jobs.queue import send
    from auditor.scans.local import ScanOutcome

    try:
        Leases(store.engine).mark_sent([job.audit_id for job in jobs])
        send([Unsent(job.audit_id, request.seconds) for job in jobs], where.queue)
    except EnvironmentUnusableError as error:
        say(f"{error}; the scan is stored, and sent by any worker once it does")
    except KeyboardInterrupt:
        say(f"scan {scan_id} is stored, and will be run by workers: `auditor scans cancel {scan_id}` ends it")
        click.get_current_context().exit(130)
    say(f"scan {scan_id}: {len(jobs)} audits in the queue {where.queue}; see `auditor scans show {scan_id}`")
    if not any(row["queue"] == where.queue for row in list_workers(store.engine)):
        say(f"no worker serves the queue {where.queue} yet: start one with `auditor worker --queue {where.queue}`")
    if not where.wait:
        return ScanOutcome(scan_id, ended=False)
    return follow(store.engine, scan_id)


def start_children(where: Where, zoo: "Source", entries: "Sequence[ZooEntry]") -> None:
    """Begin with what children of a scan here need: torch takes seconds, in which there are other things to do."""
    if where.queue == "here":
        from auditor.jobs.child import start_server

        start_server(_preload(zoo, entries))


def _preload(zoo: "Source", entries: "Sequence[ZooEntry]") -> tuple[str, ...]:
    """What children are to find imported; nothing where no model is on this machine."""
    return zoo.preload if any(zoo.missing(entry) is None for entry in entries) else ()


def _in_children(
    where: Where, zoo: "Source", entries: "Sequence[ZooEntry]", request: "ScanRequest"
) -> "tuple[Measure, int]":
    """Measures models in child processes; and how many at once."""
    from auditor.scans.parallel import make_measure

    make_child = _share_machine(where.jobs, zoo, entries, request)
    return make_measure(make_child, request.seconds, request.memory), make_child.processes


def _share_machine(
    jobs: int | None, zoo: "Source", entries: "Sequence[ZooEntry]", request: "ScanRequest"
) -> "ChildFactory":
    from auditor.scans.parallel import share_machine

    make_child = share_machine(zoo, entries, request.measurement, jobs=jobs, memory=request.memory)
    return replace(make_child, preload=_preload(zoo, entries))


def dry(
    where: Where, store: "Store", zoo: "Source", entries: "Sequence[ZooEntry]", request: "ScanRequest", shape: str
) -> None:
    """``--dry-run``: say what a scan would do, here, with the threads that each model would have."""
    from auditor.cli.output.plan import as_rows, print_plan
    from auditor.cli.output.progress import ScanProgress
    from auditor.cli.output.tables import print_json
    from auditor.jobs.tasks import estimate_audit
    from auditor.scans.plan import plan_scan

    make_child = _share_machine(where.jobs if where.queue == "here" else 1, zoo, entries, request)
    # One model is estimated at a time, so it may use the memory of the whole machine.
    estimate = replace(make_child, processes=1)(estimate_audit, request.seconds, request.memory)
    with ScanProgress(len(entries)) as progress:
        plan = plan_scan(store, zoo, entries, request, progress, estimate)
    print_json(as_rows(plan)) if shape == "json" else print_plan(plan, make_child.processes)
