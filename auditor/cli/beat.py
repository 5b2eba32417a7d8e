"""``auditor beat``: runs what is scheduled, and tells of its end."""

import click

from auditor.cli.options import QUEUE


@click.command("beat")
@QUEUE
def command(queued: bool | None) -> None:
    """Run schedules when they are due, until told to end. A second beat does no harm: each due time is run once.

    With a broker the scans go to workers; without one, or with --here, they run on this machine one after the other.
    When a scan has ended it is compared with the one before, and AUDITOR_WEBHOOK_URL is told of failures, regressions
    and results that did not come out again.

    \b
    Examples:
      auditor beat
      auditor beat --here
    """
    import logging
    import signal

    from auditor import logs
    from auditor.cli.db import open_database
    from auditor.cli.run_scan import check_queue, runs_locally
    from auditor.scheduling.loop import Beat

    for kind in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, kind):
            signal.signal(getattr(signal, kind), signal.default_int_handler)
    logs.set_up("beat")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs addresses, and a webhook's is a secret
    here = runs_locally(queued)
    if not here:
        check_queue()
    beat = Beat(open_database(), here=here)
    try:
        beat.run()
    except KeyboardInterrupt:
        logging.getLogger("auditor.scheduling.loop").info("told to end")
