"""``auditor metrics``: serve metrics for Prometheus over HTTP, or print them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


@click.command("metrics")
@click.option("--host", default="127.0.0.1", show_default=True, help="Listen on this IP address; 0.0.0.0 for all.")
@click.option("--port", type=click.IntRange(1, 65535), default=9464, show_default=True, help="Listen on this port.")
@click.option("--once", is_flag=True, help="Print the metrics and exit, e.g. for node_exporter's textfile collector.")
@click.option(
    "--gpus-only", is_flag=True, help="Serve only the metrics of this machine's GPUs. Use it on all machines with "
    "workers but one, which serves the other metrics.",
)  # fmt: skip
@click.option(
    "--allowed-host", "names", multiple=True, metavar="NAME",
    help="Answer to this host name, too, such as the name in the configuration of Prometheus; *.example.com covers "
    "all names below.",
)  # fmt: skip
def command(host: str, port: int, once: bool, gpus_only: bool, names: tuple[str, ...]) -> None:
    """Serve metrics for Prometheus.

    The metrics count audits, queues, workers, seconds per part, lost leases and GPU memory. Each request reads the
    database, and the broker if AUDITOR_BROKER_URL is set, so that one process serves the metrics of all workers. If the
    database does not answer, auditor_up is 0 and the other metrics are missing. docs/observability.md describes the
    configuration of Prometheus, a dashboard and alerts.

    Requests with an unknown Host header are refused with status 400, as by `auditor serve`. On a loopback address, the
    server answers to localhost and loopback addresses; on other addresses, to this machine's names and to any IP
    address. --allowed-host adds names.

    \b
    Examples:
      auditor metrics
      auditor metrics --host 0.0.0.0 --port 9464
      auditor metrics --once > /var/lib/node_exporter/auditor.prom
    """
    import importlib.util

    from auditor import logs
    from auditor.config import settings
    from auditor.db.session import engine_of
    from auditor.errors import EnvironmentUnusableError

    if importlib.util.find_spec("prometheus_client") is None:
        raise EnvironmentUnusableError("`auditor metrics` needs prometheus-client: pip install 'auditor[service]'")
    from auditor.machine.prometheus import BrokerMetrics, as_text, make_registry

    logs.set_up("metrics", "INFO")
    engine = None if gpus_only else engine_of(settings().database_url)
    broker = None
    if settings().broker_url is not None and not gpus_only and importlib.util.find_spec("celery") is not None:
        from auditor.jobs import queue as dispatch

        broker = BrokerMetrics(dispatch.QUEUES, dispatch.count_waiting)
    registry = make_registry(engine, broker)
    if once:
        click.echo(as_text(registry), nl=False)
        return
    serve(host, port, registry, names)


def serve(host: str, port: int, registry: "CollectorRegistry", names: Sequence[str]) -> None:
    """Answer requests until SIGINT or SIGTERM."""
    import signal
    import sys

    from auditor.cli.output.progress import say
    from auditor.web import server
    from auditor.web.metrics import create_metrics_app
    from auditor.web.security.hosts import allowed_hosts

    address = server.check_address(host)
    app = create_metrics_app(registry, allowed_hosts(address, names))
    with server.listen(address, port) as (listening, url):
        say(f"metrics at {url}/metrics")
        for kind in (signal.SIGINT, signal.SIGTERM):  # uvicorn raises the signal again after it has ended
            signal.signal(kind, lambda *_: sys.exit(0))
        server.run(app, listening, program_logs=True)
