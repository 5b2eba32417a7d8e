"""``auditor metrics``: serve metrics for Prometheus over HTTP, or print them."""

import click


@click.command("metrics")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for all.")
@click.option("--port", type=click.IntRange(1, 65535), default=9464, show_default=True, help="Port to listen on.")
@click.option("--once", is_flag=True, help="Print the metrics and exit, e.g. for node_exporter's textfile collector.")
@click.option(
    "--gpus-only", is_flag=True, help="Serve only the metrics of this machine's GPUs. Use it on all machines with "
    "workers but one, which serves the other metrics.",
)  # fmt: skip
def command(host: str, port: int, once: bool, gpus_only: bool) -> None:
    """Serve metrics for Prometheus.

    The metrics count audits, queues, workers, seconds per part, lost leases and GPU memory. Each request reads the
    database, and the broker if AUDITOR_BROKER_URL is set, so that one process serves the metrics of all workers. If the
    database does not answer, auditor_up is 0 and the other metrics are missing. docs/observability.md describes the
    configuration of Prometheus, a dashboard and alerts.

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
    from auditor.machine.metrics import BrokerMetrics, as_text, make_registry

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
    serve(host, port, registry)


def serve(host: str, port: int, registry: object) -> None:
    """Answer requests until SIGINT or SIGTERM."""
    import signal
    import threading

    from prometheus_client import start_http_server

    from auditor.cli.output.progress import say

    ended = threading.Event()
    for kind in (signal.SIGINT, signal.SIGTERM):
        signal.signal(kind, lambda *_: ended.set())
    server, _ = start_http_server(port, host, registry)  # type: ignore[arg-type]
    say(f"metrics at http://{host}:{port}/metrics")
    ended.wait()
    server.shutdown()
