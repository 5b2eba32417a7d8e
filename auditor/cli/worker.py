"""``auditor worker``: become a Celery worker; and ``auditor workers``: who does what."""

from typing import Any

import click

from auditor.cli.numbers import SECONDS, Count, FiniteRange
from auditor.cli.options import FORMAT


@click.command("worker")
@click.option("--queue", type=click.Choice(["cpu", "gpu"]), help="By default gpu where there is a GPU, else cpu.")
@click.option("--processes", type=click.IntRange(1, 256), metavar="N", help="CPU: audits at once; by default 1.")
@click.option("--gpus", metavar="LIST", help="GPUs to use, one process each, e.g. 0,2; by default all.")
@click.option("--threads", type=click.IntRange(1, 1024), metavar="T", help="Of each process; by default its share.")
@click.option("--max-jobs", type=Count(), default=100, show_default=True, help="Renew a process after so many audits.")
@click.option(
    "--grace",
    type=FiniteRange(0, 3600),
    default=20.0,
    show_default=True,
    metavar="SECONDS",
    help="When told to end while audits run: wait so long; what has not ended then goes back into the queue.",
)
@click.option("--trust-code", is_flag=True, help="Run the Python code of local zoos, where their scan says so, too.")
@click.option(
    "--events",
    is_flag=True,
    help="For Flower: send events, and answer questions that come through the broker. Whoever can write to the broker "
    "can then ask what this worker does, not steer it: the commands that end or change workers stay off.",
)
@click.option(
    "--log-level",
    type=click.Choice(["DEBUG", "INFO", "WARNING", "ERROR"]),
    default="INFO",
    show_default=True,
    help="Of what goes to stderr; AUDITOR_LOG_FORMAT=json makes it JSON.",
)
def command(gpus: str | None, **options: object) -> None:
    """Run audits that `auditor scan --queue` has sent, until it is told to end.

    Needs AUDITOR_BROKER_URL and a database that all workers share (AUDITOR_DATABASE_URL). One process a GPU, each model
    in a child process of its own. SIGTERM: audits that do not finish within --grace go back into the queue, with the
    progress of their attacks. Ctrl-C waits for them, a second one does not. Start as many workers, on as many machines,
    as you like.

    \b
    Examples:
      auditor worker
      auditor worker --queue cpu --processes 4
      auditor worker --gpus 0,1 --trust-code
    """
    import json
    import os
    import sys

    from auditor.cli.db import open_database
    from auditor.cli.run_scan import check_queue
    from auditor.config import settings
    from auditor.errors import UsageError

    if gpus is not None and (options["queue"] == "cpu" or options["processes"]):
        raise UsageError("--gpus goes with neither --queue cpu nor --processes: there is one process a GPU")
    chosen = None if gpus is None else [part.strip() for part in gpus.split(",") if part.strip()]
    if chosen == []:
        raise UsageError(f"--gpus: expected numbers such as 0,2, got {gpus!r}")
    if options["threads"] is None:
        options["threads"] = settings().threads
    check_queue()
    open_database().dispose()
    asked = json.dumps({"gpus": chosen, **options})
    os.execv(sys.executable, [sys.executable, "-P", "-m", "workers", asked])


@click.command("workers")
@FORMAT
@click.option(
    "--alive",
    type=FiniteRange(0, min_open=True, most=SECONDS),
    metavar="SECONDS",
    help="Only ask whether a process of this host gave a sign of life within so long: exit code 1 if none did.",
)
def listing(shape: str, alive: float | None) -> None:
    """Who runs audits, and which: every process that gave a sign of life lately.

    \b
    Examples:
      auditor workers
      watch auditor workers
      auditor workers --format json
      auditor workers --alive 60                   is the worker of this host well? as containers' healthchecks ask
    """
    from auditor.cli.db import open_database, open_tidied
    from auditor.cli.output.follow import part_of
    from auditor.cli.output.tables import print_json, print_table
    from auditor.db.workers import list_workers

    engine = open_tidied() if alive is None else open_database()  # a health check changes nothing
    rows = list_workers(engine)
    if alive is not None:
        rows = _alive_here(rows, alive)
    if shape == "json":
        print_json(rows)
    elif not rows:
        click.echo("no process runs audits; `auditor worker` starts one")
    else:
        cells = [
            [
                row["worker"],
                row["queue"],
                row["device"],
                row["model"] or "idle",
                part_of(row),
                "" if row["scan"] is None else str(row["scan"]),
                f"{row['seconds_silent']:.0f} s ago",
            ]
            for row in rows
        ]
        print_table(["worker", "queue", "device", "model", "part", "scan", "last seen"], cells)


def _alive_here(rows: list[dict[str, Any]], seconds: float) -> list[dict[str, Any]]:
    """The processes of this host's workers that gave a sign of life lately; scans that run here do not count.

    Raises:
        AuditorError: there is none.
    """
    from auditor.errors import AuditorError
    from auditor.jobs.lease import host_name

    ours = [row for row in rows if row["worker"].rpartition(":")[0] == host_name() and row["queue"] != "here"]
    if not any(row["seconds_silent"] <= seconds for row in ours):
        known = f"; the last one came {min(row['seconds_silent'] for row in ours):.0f} s ago" if ours else ""
        raise AuditorError(f"no worker of {host_name()} gave a sign of life within {seconds:g} s{known}")
    return [row for row in ours if row["seconds_silent"] <= seconds]
