"""The web application: pages for people and an API for programs, over one database."""

import contextlib
import functools
from collections.abc import AsyncIterator, Callable, Sequence
from importlib.metadata import version
from importlib.resources import files
from typing import TYPE_CHECKING

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool
from starlette.middleware.cors import CORSMiddleware

from auditor import tracing
from auditor.db.version import DataVersion
from auditor.web import api, pages
from auditor.web.api.events import Streams
from auditor.web.errors import install_error_handlers
from auditor.web.request_spans import RequestSpans
from auditor.web.response_cache import ResponseCache
from auditor.web.security.guard import RequestGuard
from auditor.web.security.hosts import AllowedHosts
from auditor.web.security.rate_limits import RequestLimits

if TYPE_CHECKING:
    from auditor.web.background import BackgroundJobs

REQUESTS_PER_MINUTE = 600


def create_app(
    engine: Engine,
    *,
    open_reading: bool = True,
    per_minute: int = REQUESTS_PER_MINUTE,
    hosts: AllowedHosts | None = None,
    trusted_proxies: Sequence[str] = (),
    allowed_origins: Sequence[str] = (),
    check_scan: Callable[[Sequence[str]], None] | None = None,
) -> FastAPI:
    """Make the application.

    Args:
        engine: a database at the current schema revision.
        open_reading: whether reading needs no token; downloads, scans and boosts always need one.
        per_minute: requests that one address may make.
        hosts: the host names that the server answers to; None for any.
        trusted_proxies: addresses and networks whose headers X-Forwarded-For and X-Forwarded-Proto are used.
        allowed_origins: origins of other sites whose scripts may call the server, with a token but without the cookie.
        check_scan: checks the words after ``auditor scan`` of a schedule, and raises UsageError; without it, the pages
            cannot change the commands of schedules.
    """

    @functools.cache
    def background() -> "BackgroundJobs":
        from auditor.web.background import BackgroundJobs

        return BackgroundJobs(engine)

    data_version = DataVersion(engine)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        data_version.close()
        app.state.streams.thread.shutdown(wait=False, cancel_futures=True)
        if background.cache_info().currsize:
            await run_in_threadpool(background().close)

    app = FastAPI(
        lifespan=lifespan,
        title="auditor",
        version=version("auditor"),
        description="Audits of image classifiers for adversarial robustness. Accuracies are fractions from 0 to 1, "
        "radii are in units of the [0, 1] pixels, times are ISO 8601 in UTC, and digests are SHA-256 in "
        "hexadecimal. A value that could not be measured is null. Errors are problem+json (RFC 9457).",
        openapi_url=None,  # the route in auditor.web.api checks the token first
        docs_url=None,
        redoc_url=None,
    )
    app.state.engine, app.state.open_reading, app.state.background = engine, open_reading, background
    app.state.streams, app.state.check_scan = Streams(), check_scan
    install_error_handlers(app)
    app.include_router(api.router)
    app.include_router(pages.router)
    app.mount("/static", StaticFiles(directory=str(files("auditor.web") / "static")), name="static")
    if tracing.is_on():
        app.add_middleware(RequestSpans)
    app.add_middleware(ResponseCache, version=data_version)
    app.add_middleware(RequestGuard, hosts=hosts)
    app.add_middleware(RequestLimits, per_minute=per_minute)
    if allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(allowed_origins),
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Last-Event-ID"],
            expose_headers=["Location", "Retry-After"],
        )
    if trusted_proxies:
        from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=list(trusted_proxies))
    return app
