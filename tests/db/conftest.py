"""Databases to try things on: an SQLite file, and a PostgreSQL database of one's own."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from auditor.db.session import open_database
from tests.factories.databases import database, url  # noqa: F401


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An open database for all the rows of a table of cases, each with a model of its own."""
    with database(request, tmp_path_factory.mktemp("shared")) as found:
        engine = open_database(found)
        yield engine
        engine.dispose()
