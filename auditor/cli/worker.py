"""``auditor worker``: run a Celery worker. ``auditor workers``: list workers and their audits."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from auditor.cli.choice import Choice
from auditor.cli.listing import Listing, list_options
from auditor.cli.number_types import SECONDS, Count, FiniteRange

if TYPE_CHECKING:
    from auditor.records.workers import WorkerRow


@click.command("worker")
@click.option(
    "--queue", type=Choice(["cpu", "gpu"]), help="Serve this queue. By default: gpu if there is a GPU, else cpu."
)
@click.option(
    "--processes",
    type=click.IntRange(1, 256),
    metavar="N",
    help="With the queue cpu: run N audits at once. By default: 1.",
)
@click.option("--gpus", metavar="LIST", help="Use these GPUs, with one process per GPU, e.g. 0,2. By default: all.")
@click.option(
    "--threads",
    type=click.IntRange(1, 1024),
    metavar="T",
    help="Use T threads per process. By default: an equal share of the cores.",
)
@click.option(
    "--max-jobs", type=Count(), default=100, show_default=True, metavar="N", help="Restart a process after N jobs."
)
@click.option(
    "--grace",
    type=FiniteRange(0, 3600),
    default=20.0,
    show_default=True,
    metavar="SECONDS",
    help="After SIGTERM, wait this long for running audits; then put them back into the queue.",
)
@click.option(
    "--trust-code", is_flag=True, help="Run the Python code of local zoos, if the scan also has --trust-code."
)
@click.option(
    "--events",
    is_flag=True,
    help="Send events and answer inspection requests through the broker, for Flower. Anyone who can write to the "
    "broker can then inspect this worker, but not control it: commands that stop or change workers stay disabled.",
)
@click.option(
    "--log-level",
    type=Choice(["DEBUG", "INFO", "WARNING", "ERROR"]),
    default="INFO",
    show_default=True,
    help="Log on stderr from this level on. AUDITOR_LOG_FORMAT=json makes the log JSON.",
)
def command(gpus: str | None, **options: object) -> None:
    """Run queued audits and training jobs until interrupted.

    Needs AUDITOR_BROKER_URL and a database that all workers share (AUDITOR_DATABASE_URL). There is one process per GPU,
    and each model runs in its own child process. After SIGTERM, audits that do not finish within --grace go back into
    the queue, with the progress of their attacks. Ctrl-C waits for running audits; a second Ctrl-C does not. You can
    start any number of workers on any number of machines.

    \b
    Examples:
      auditor worker
      auditor worker --queue cpu --processes 4
      auditor worker --gpus 0,1 --trust-code
    """
    import json
    import os
    import sys

    from auditor import tracing
    from auditor.cli.db import open_database
    from auditor.cli.run_scan import check_queue
    from auditor.config import settings
    from auditor.errors import UsageError

    if gpus is not None and (options["queue"] == "cpu" or options["processes"]):
        raise UsageError("--gpus cannot be combined with --queue cpu or --processes: there is one process per GPU")
    numbers = None if gpus is None else [part.strip() for part in gpus.split(",") if part.strip()]
    if numbers == []:
        raise UsageError(f"--gpus: expected GPU numbers such as 0,2, got {gpus!r}")
    if options["threads"] is None:
        options["threads"] = settings().threads
    tracing.check()
    check_queue()
    open_database().dispose()
    arguments = json.dumps({"gpus": numbers, **options})
    os.execv(sys.executable, [sys.executable, "-P", "-m", "workers", arguments])


@click.command("workers")
@list_options()
@click.option(
    "--alive",
    type=FiniteRange(0, min_open=True, most=SECONDS),
    metavar="SECONDS",
    help="Check for a heartbeat from a worker of this host within this time; exit with code 1 if there is none.",
)
def listing(listing: Listing, alive: float | None) -> None:
    """List the processes that run audits and trainings, and their current jobs.

    A process whose last heartbeat is longer ago than expected is listed with the time since then, until its lease has
    passed twice. Below the processes, queues are named that have jobs and no worker.

    \b
    Examples:
      auditor workers
      watch auditor workers
      auditor workers --format json
      auditor workers --filter queue=gpu --sort -seconds_silent
      auditor workers --alive 60                   health check of a container: does its worker have a heartbeat?
    """
    from auditor.cli.db import open_database, open_tidied
    from auditor.cli.output.follow import part_of
    from auditor.cli.output.layout import print_line
    from auditor.cli.output.tables import print_table
    from auditor.db.workers import list_queues, list_workers
    from auditor.records.workers import WorkerRow
    from auditor.results.serialize import keys_of
    from auditor.text.signs_of_life import no_sign_of_life, no_worker, start_worker

    engine = open_tidied() if alive is None else open_database()  # a health check changes nothing
    rows = list_workers(engine)
    if alive is not None:
        rows = _select_alive(rows, alive)

    def print_rows(chosen: "Sequence[WorkerRow]") -> None:
        cells = [
            [
                row.worker,
                row.queue,
                row.device,
                row.model or "idle",
                part_of(row),
                "" if row.scan is None else str(row.scan),
                f"{row.seconds_silent:.0f} s ago" if row.silent_since is None else no_sign_of_life(row.silent_since),
            ]
            for row in chosen
        ]
        print_table(["worker", "queue", "device", "model", "part", "scan", "last seen"], cells)

    nothing = "no process runs audits; `auditor worker` starts a worker"
    listing.print(rows, print_rows, nothing=nothing, keys=keys_of(WorkerRow))
    if listing.output_format != "table":
        return
    for queue in list_queues(engine):
        if queue.unserved:
            print_line(f"{no_worker(queue.queue)}, where {queue.queued} jobs wait; {start_worker(queue.queue)}")


def _select_alive(rows: "list[WorkerRow]", seconds: float) -> "list[WorkerRow]":
    """The worker processes of this host with a recent heartbeat; local scans do not count.

    Raises:
        AuditorError: there is none.
    """
    from auditor.errors import AuditorError
    from auditor.jobs.process_names import host_name
    from auditor.records import LOCAL_QUEUE

    local = [row for row in rows if row.worker.rpartition(":")[0] == host_name() and row.queue != LOCAL_QUEUE]
    if not any(row.seconds_silent <= seconds for row in local):
        known = f"; the last one was {min(row.seconds_silent for row in local):.0f} s ago" if local else ""
        raise AuditorError(f"no worker of {host_name()} sent a heartbeat within {seconds:g} s{known}")
    return [row for row in local if row.seconds_silent <= seconds]
