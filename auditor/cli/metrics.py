"""``auditor metrics``: what Prometheus asks for, over HTTP or on stdout."""

import click


@click.command("metrics")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at; 0.0.0.0 for all.")
@click.option("--port", type=click.IntRange(1, 65535), default=9464, show_default=True, help="The port to listen at.")
@click.option("--once", is_flag=True, help="Print them and end: for node_exporter's textfile collector, or to look.")
@click.option(
    "--gpus-only", is_flag=True, help="Only this machine's GPUs: for further machines with workers, beside the one "
    "that says the rest.",
)  # fmt: skip
def command(host: str, port: int, once: bool, gpus_only: bool) -> None:
    """Serve metrics for Prometheus: audits, queues, workers, seconds by part, lost leases, memory of GPUs.

    They are read from the database when they are asked for, and from the broker where AUDITOR_BROKER_URL is set, so one
    process for all workers is enough. Where the database does not answer, auditor_up is 0 and the rest is left out.
    docs/observability.md has Prometheus's settings, a dashboard and alerts.

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
        raise EnvironmentUnusableError("metrics need prometheus-client: pip install 'auditor[service]'")
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
    """Answer until told to end."""
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
