"""Databases to try things on: an SQLite file, and a PostgreSQL database of one's own where a server answers."""

import contextlib
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import OperationalError

from auditor.db.session import open_database

SERVER = "postgresql+psycopg://postgres@127.0.0.1:5432/"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database."""
    with _database(request.param, tmp_path) as found:
        yield found


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An open database for all the rows of a table of cases, each with a model of its own."""
    with _database(request.param, tmp_path_factory.mktemp("shared")) as found:
        engine = open_database(found)
        yield engine
        engine.dispose()


@contextlib.contextmanager
def _database(kind: str, folder: Path) -> Iterator[str]:
    if kind == "sqlite":
        yield f"sqlite:///{folder}/own.db"
        return
    pytest.importorskip("psycopg", reason="needs psycopg, of the extra `service`, for PostgreSQL")
    name = f"auditor_test_{uuid.uuid4().hex}"
    server = create_engine(f"{SERVER}postgres?connect_timeout=3", isolation_level="AUTOCOMMIT")
    try:
        with server.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
    except OperationalError as error:
        pytest.skip(f"needs a PostgreSQL server at 127.0.0.1:5432 that trusts the user postgres: {error.orig}")
    try:
        yield SERVER + name
    finally:
        with server.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        server.dispose()
