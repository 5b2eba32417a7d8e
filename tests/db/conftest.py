"""Databases to try things on: an SQLite file, and a PostgreSQL database of one's own.

Where no PostgreSQL server answers at its usual place, the tests start one of their own from Debian's package.
"""

import contextlib
import os
import socket
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import OperationalError

from auditor.db.session import open_database

USUAL = "postgresql+psycopg://postgres@127.0.0.1:5432/"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a PostgreSQL server that trusts its user, up to the database's name."""
    pytest.importorskip("psycopg", reason="needs psycopg, of the extra `service`, for PostgreSQL")
    if _answers(USUAL):
        yield USUAL
        return
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs:
        pytest.skip(f"needs a PostgreSQL server, at {USUAL} or from Debian's package postgresql: there is neither")
    with _own_server(programs[-1], tmp_path_factory.mktemp("postgresql")) as url:
        yield url


def _answers(server: str) -> bool:
    engine = create_engine(f"{server}postgres?connect_timeout=3")
    try:
        with engine.connect():
            return True
    except OperationalError:
        return False
    finally:
        engine.dispose()


@contextlib.contextmanager
def _own_server(programs: Path, folder: Path) -> Iterator[str]:
    """A cluster in ``folder``, for as long as the tests run; PostgreSQL refuses to run as root."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if as_user:
        for parent in (folder, *folder.parents[:2]):  # pytest's own folders let nobody else in
            parent.chmod(0o755)
        subprocess.run(["chown", "postgres", folder], check=True)

    def run(*command: str | Path) -> None:
        subprocess.run([*as_user, *map(str, command)], check=True, stdout=subprocess.DEVNULL)

    cluster = folder / "cluster"
    run(programs / "initdb", "-D", cluster, "-U", "postgres", "--auth=trust")
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1"
    run(programs / "pg_ctl", "-D", cluster, "-o", options, "-l", folder / "log", "-w", "start")
    try:
        yield f"postgresql+psycopg://postgres@127.0.0.1:{port}/"
    finally:
        run(programs / "pg_ctl", "-D", cluster, "-m", "immediate", "stop")


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database."""
    with _database(request, tmp_path) as found:
        yield found


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An open database for all the rows of a table of cases, each with a model of its own."""
    with _database(request, tmp_path_factory.mktemp("shared")) as found:
        engine = open_database(found)
        yield engine
        engine.dispose()


@contextlib.contextmanager
def _database(request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{folder}/own.db"
        return
    server, name = request.getfixturevalue("server"), f"auditor_test_{uuid.uuid4().hex}"
    engine = create_engine(f"{server}postgres", isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    try:
        yield server + name
    finally:
        with engine.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        engine.dispose()
