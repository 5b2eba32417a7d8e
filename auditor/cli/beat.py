"""``auditor beat``: runs what is scheduled, and tells of its end."""

import click


@click.command("beat")
@click.option("--queue/--here", "queued", default=None, help="By workers, or in this process; as of `auditor scan`.")
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
    from auditor.cli.database import open_settings
    from auditor.cli.run_scan import runs_locally
    from auditor.scheduling.loop import Beat

    for kind in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, kind):
            signal.signal(getattr(signal, kind), signal.default_int_handler)
    logs.set_up("beat")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs addresses, and a webhook's is a secret
    here = runs_locally(queued)
    if not here:
        from auditor.cli.service import check_service

        check_service()
    beat = Beat(open_settings(), here=here)
    try:
        beat.run()
    except KeyboardInterrupt:
        logging.getLogger("auditor.scheduling.loop").info("told to end")
