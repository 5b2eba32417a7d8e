"""The application of ``auditor metrics``: metrics for Prometheus, behind the checks of the dashboard's server."""

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from auditor.web.security.guard import RequestGuard
from auditor.web.security.hosts import AllowedHosts
from auditor.web.security.rate_limits import RequestLimits

REQUESTS_PER_MINUTE = 600


def create_metrics_app(registry: CollectorRegistry, hosts: AllowedHosts | None = None) -> Starlette:
    """Make the application; it answers at ``/metrics`` and at ``/``.

    Args:
        registry: its collectors run at each request, in a thread, because they wait for the database.
        hosts: the host names that the server answers to; None for any.
    """

    def show_metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), media_type=content_type)

    return Starlette(
        routes=[Route(path, show_metrics) for path in ("/metrics", "/")],
        middleware=[
            Middleware(RequestLimits, per_minute=REQUESTS_PER_MINUTE),
            Middleware(RequestGuard, hosts=hosts, command="auditor metrics"),
            Middleware(GZipMiddleware),
        ],
    )
