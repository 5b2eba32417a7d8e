"""``auditor beat``: run scheduled scans, and report their results to a webhook."""

import click

from auditor.cli.options import QUEUE


@click.command("beat")
@QUEUE
def command(queued: bool | None) -> None:
    """Run schedules when they are due, until interrupted.

    Several beats can run at once, because each due time is run only once. If a broker is configured, the scans are sent
    to workers. Without a broker, or with --here, they run on this machine one at a time. When a scan has ended, it is
    compared with the previous scan of the schedule. Failures, regressions and results that could not be reproduced are
    reported to AUDITOR_WEBHOOK_URL.

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
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs URLs, and a webhook's URL is a secret
    here = runs_locally(queued)
    if not here:
        check_queue()
    beat = Beat(open_database(), here=here)
    try:
        beat.run()
    except KeyboardInterrupt:
        logging.getLogger("auditor.scheduling.loop").info("interrupted")
