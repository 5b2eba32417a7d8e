"""The web application: pages for people, an API for programs, over one database."""

import contextlib
import functools
from collections.abc import AsyncIterator
from importlib.metadata import version
from importlib.resources import files
from typing import TYPE_CHECKING

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool

from auditor.web import api, pages, problems
from auditor.web.limits import Limits

if TYPE_CHECKING:
    from auditor.web.work import Work

PER_MINUTE = 600


def create_app(engine: Engine, *, open_reading: bool = True, per_minute: int = PER_MINUTE) -> FastAPI:
    """The application.

    Args:
        engine: a database that is up to date.
        open_reading: whether who has no token may read; downloads and work need one in any case.
        per_minute: requests that one address may make.
    """

    @functools.cache
    def work() -> "Work":
        from auditor.web.work import Work  # imports torch, which who only reads does without

        return Work(engine)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        if work.cache_info().currsize:
            await run_in_threadpool(work().close)

    app = FastAPI(
        lifespan=lifespan,
        title="auditor",
        version=version("auditor"),
        description="Audits of image classifiers for adversarial robustness. Errors are problem+json (RFC 9457).",
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    app.state.engine, app.state.open_reading, app.state.work = engine, open_reading, work
    problems.install(app)
    app.include_router(api.router)
    app.include_router(pages.router)
    app.mount("/static", StaticFiles(directory=str(files("auditor.web") / "static")), name="static")
    app.add_middleware(Limits, per_minute=per_minute)
    return app
