"""Databases to try things on: an SQLite file, and a PostgreSQL database of one's own."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from auditor.db.session import open_database
from tests.services import BARE, lent, postgresql


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/own.db"
        return
    with lent(request.getfixturevalue("bare"), *BARE) as found:
        yield found


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An open database for all the rows of a table of cases, each with a model of its own."""
    with database(request, tmp_path_factory.mktemp("shared")) as found:
        engine = open_database(found)
        yield engine
        engine.dispose()


@contextlib.contextmanager
def database(request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    """An empty one for all of a module's tests."""
    if request.param == "sqlite":
        yield f"sqlite:///{folder}/own.db"
        return
    with postgresql(request.getfixturevalue("server")) as url:
        yield url
