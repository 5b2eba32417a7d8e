"""A PostgreSQL server for the tests, and databases of one's own on it.

Where no server answers at its usual place, the tests start one of their own from Debian's package.
"""

import contextlib
import os
import socket
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import Pool

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


@contextlib.contextmanager
def postgresql(server: str, template: str | None = None) -> Iterator[str]:
    """A database of one's own, empty or a copy of another one that nobody has open.

    What is left open on it is closed before it goes: psycopg warns of connections that are merely forgotten.
    """
    name = f"auditor_test_{uuid.uuid4().hex}"
    copied = f" TEMPLATE {template}" if template else ""
    opened: list[Any] = []

    def remember(connection: Any, _: Any) -> None:
        if getattr(getattr(connection, "info", None), "dbname", None) == name:
            opened.append(connection)

    engine = create_engine(f"{server}postgres", isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}{copied}"))
    event.listen(Pool, "connect", remember)
    try:
        yield server + name
    finally:
        event.remove(Pool, "connect", remember)
        for connection in opened:
            connection.close()
        with engine.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        engine.dispose()


@pytest.fixture(scope="session")
def template(server: str) -> Iterator[str]:
    """The name of a database with the tables and nothing in them, to make others of."""
    with postgresql(server) as url:
        open_database(url).dispose()
        yield url.rpartition("/")[2]
