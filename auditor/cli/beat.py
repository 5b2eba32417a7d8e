"""``auditor beat``: run scheduled scans, and report their results to a webhook."""

from pathlib import Path

import click

from auditor.cli.options import QUEUE


@click.command("beat")
@QUEUE
@click.option(
    "--heartbeat", "heartbeat_file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="Update this file's time after each check for due schedules, for the health check of a container. Checks are "
    "at most 20 s apart; with --here, scans delay them.",
)  # fmt: skip
def command(queued: bool | None, heartbeat_file: Path | None) -> None:
    """Run schedules when they are due, until interrupted.

    Several beats can run at once, because each due time is run only once. If a broker is configured, the scans are sent
    to workers. Without a broker, or with --here, they run on this machine one at a time. When a scan has ended, it is
    compared with the previous scan of the schedule. Failures, regressions and results that could not be reproduced are
    reported to AUDITOR_WEBHOOK_URL.

    \b
    Examples:
      auditor beat
      auditor beat --here
      auditor beat --heartbeat /tmp/beat           healthy while `find /tmp/beat -mmin -2` prints the file
    """
    import logging
    import signal

    from auditor import logs
    from auditor.cli.db import open_database
    from auditor.cli.run_scan import check_queue, runs_locally
    from auditor.errors import UsageError
    from auditor.scheduling.loop import Beat

    for kind in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, kind):
            signal.signal(getattr(signal, kind), signal.default_int_handler)
    logs.set_up("beat")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs URLs, and a webhook's URL is a secret
    if heartbeat_file is not None:
        try:  # the first check for due schedules makes the file again
            heartbeat_file.touch()
            heartbeat_file.unlink()
        except OSError as error:
            raise UsageError(f"--heartbeat: cannot write {heartbeat_file}: {error.strerror}") from error
    local = runs_locally(queued)
    if not local:
        check_queue()
    beat = Beat(open_database(), local=local, heartbeat_file=heartbeat_file)
    try:
        beat.run()
    except KeyboardInterrupt:
        logging.getLogger("auditor.scheduling.loop").info("interrupted")
