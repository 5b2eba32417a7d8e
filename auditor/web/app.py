"""The web application: pages for people, an API for programs, over one database."""

import contextlib
import functools
from collections.abc import AsyncIterator, Sequence
from importlib.metadata import version
from importlib.resources import files
from typing import TYPE_CHECKING

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool

from auditor.web import api, pages
from auditor.web import errors as problems
from auditor.web.api.events import Streams
from auditor.web.guard import Guard
from auditor.web.hosts import AllowedHosts
from auditor.web.rate_limits import Limits

if TYPE_CHECKING:
    from auditor.web.background import Work

PER_MINUTE = 600


def create_app(
    engine: Engine,
    *,
    open_reading: bool = True,
    per_minute: int = PER_MINUTE,
    hosts: AllowedHosts | None = None,
    trusted_proxies: Sequence[str] = (),
) -> FastAPI:
    """The application.

    Args:
        engine: a database that is up to date.
        open_reading: whether who has no token may read; downloads and work need one in any case.
        per_minute: requests that one address may make.
        hosts: the names that the server is known under; None for any.
        trusted_proxies: addresses and networks whose X-Forwarded-For and -Proto are believed.
    """

    @functools.cache
    def work() -> "Work":
        from auditor.web.background import Work

        return Work(engine)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        app.state.streams.thread.shutdown(wait=False, cancel_futures=True)
        if work.cache_info().currsize:
            await run_in_threadpool(work().close)

    app = FastAPI(
        lifespan=lifespan,
        title="auditor",
        version=version("auditor"),
        description="Audits of image classifiers for adversarial robustness. Errors are problem+json (RFC 9457).",
        openapi_url=None,  # a route of ours gives it, to who may read
        docs_url=None,
        redoc_url=None,
    )
    app.state.engine, app.state.open_reading, app.state.work = engine, open_reading, work
    app.state.streams = Streams()
    problems.install(app)
    app.include_router(api.router)
    app.include_router(pages.router)
    app.mount("/static", StaticFiles(directory=str(files("auditor.web") / "static")), name="static")
    app.add_middleware(Guard, hosts=hosts)
    app.add_middleware(Limits, per_minute=per_minute)
    if trusted_proxies:
        from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=list(trusted_proxies))
    return app
