"""Empty databases: an SQLite file, or a PostgreSQL database."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.factories.services import BARE, lent, postgresql


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/own.db"
        return
    with lent(request.getfixturevalue("bare"), *BARE) as found:
        yield found


@contextlib.contextmanager
def database(request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    """An empty database, which all tests of a module share."""
    if request.param == "sqlite":
        yield f"sqlite:///{folder}/own.db"
        return
    with postgresql(request.getfixturevalue("server")) as url:
        yield url
