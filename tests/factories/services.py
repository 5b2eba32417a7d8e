"""A PostgreSQL server for the tests, with one database for each test.

If no server answers at ``USUAL``, the tests start one from Debian's package.
"""

import contextlib
import os
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool, Pool

from auditor.db.models import Base
from auditor.db.session import open_database

USUAL = "postgresql+psycopg://postgres@127.0.0.1:5432/"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL, up to the database's name, of a PostgreSQL server that asks for no password."""
    pytest.importorskip("psycopg", reason="needs psycopg, of the extra `service`, for PostgreSQL")
    if _answers(USUAL):
        yield USUAL
        return
    cluster = Cluster(tmp_path_factory.mktemp("postgresql"))
    yield cluster.url
    cluster.stop()


def _answers(server: str) -> bool:
    engine = create_engine(f"{server}postgres?connect_timeout=3")
    try:
        with engine.connect():
            return True
    except OperationalError:
        return False
    finally:
        engine.dispose()


class Cluster:
    """A PostgreSQL server in ``folder``, which a test can stop and start. It does not run as root.

    ``user`` is its superuser; ``password`` is the file of the password, if it needs one. ``within`` is a prefix of the
    server's commands, such as `ip netns exec NAME`. With ``trusted``, the server listens on all addresses, and trusts
    these.
    """

    def __init__(
        self,
        folder: Path,
        *,
        user: str = "postgres",
        password: Path | None = None,
        within: Sequence[str] = (),
        trusted: str | None = None,
    ) -> None:
        self.user, self.within = user, within
        self.address = "127.0.0.1" if trusted is None else "*"
        programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        if not programs:
            pytest.skip("needs a PostgreSQL server of Debian's package postgresql")
        self.programs, self.folder = programs[-1], folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        if self.as_user:
            subprocess.run(["chown", "postgres", folder], check=True)
        secret = ["--auth=trust"] if password is None else ["--auth=scram-sha-256", f"--pwfile={password}"]
        self._run("initdb", "-D", folder / "cluster", "-U", user, *secret)
        if trusted is not None:
            with (folder / "cluster" / "pg_hba.conf").open("a") as rules:
                rules.write(f"host all all {trusted} trust\n")
        self.start()

    @property
    def url(self) -> str:
        """The URL, up to the database's name."""
        return f"postgresql+psycopg://{self.user}@127.0.0.1:{self.port}/"

    def start(self) -> None:
        options = f"-p {self.port} -k {self.folder} -c listen_addresses={self.address}"
        self._run("pg_ctl", "-D", self.folder / "cluster", "-o", options, "-l", self.folder / "log", "-w", "start")

    def stop(self) -> None:
        """Stop at once, as in a crash."""
        self._run("pg_ctl", "-D", self.folder / "cluster", "-m", "immediate", "-w", "stop")

    def is_running(self) -> bool:
        """Whether the server runs, also if it accepts no connections."""
        try:
            self._run("pg_ctl", "-D", self.folder / "cluster", "status")
        except subprocess.CalledProcessError:
            return False
        return True

    def _run(self, program: str, *arguments: str | Path) -> None:
        if self.as_user:  # pytest makes its folders unreadable for other users in each run
            top = Path(tempfile.gettempdir())
            for parent in (self.folder, *(up for up in self.folder.parents if top in up.parents)):
                parent.chmod(0o755)
        command = [*self.within, *self.as_user, str(self.programs / program), *map(str, arguments)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=self.folder)


@contextlib.contextmanager
def postgresql(server: str) -> Iterator[str]:
    """A new, empty database. To drop one takes a second, so tests share one and empty it after each test."""
    name = f"auditor_test_{uuid.uuid4().hex}"
    _run(f"{server}postgres", f"CREATE DATABASE {name}", f"ALTER DATABASE {name} SET synchronous_commit = off")
    try:
        with closed_at_the_end(name):
            yield server + name
    finally:
        _run(f"{server}postgres", f"DROP DATABASE {name} WITH (FORCE)")


@contextlib.contextmanager
def lent(url: str, *empty: str) -> Iterator[str]:
    """Lend a database; afterwards all connections are closed, and the statements ``empty`` are run."""
    name = url.rpartition("/")[2]
    try:
        with closed_at_the_end(name):
            yield url
    finally:
        others = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        _run(url, f"{others} AND pid <> pg_backend_pid()", *empty)


@contextlib.contextmanager
def closed_at_the_end(name: str) -> Iterator[None]:
    """Close the connections that a test left open, because psycopg warns if they are garbage-collected."""
    opened: list[Any] = []

    def remember(connection: Any, _: Any) -> None:
        if getattr(getattr(connection, "info", None), "dbname", None) == name:
            opened.append(connection)

    event.listen(Pool, "connect", remember)
    try:
        yield
    finally:
        event.remove(Pool, "connect", remember)
        for connection in opened:
            connection.close()


def _run(url: str, *statements: str) -> None:
    engine = create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        for statement in statements:
            connection.execute(text(statement))


@pytest.fixture(scope="session")
def bare(server: str) -> Iterator[str]:
    """A database without tables, for ``lent`` with ``BARE``."""
    with postgresql(server) as url:
        yield url


@pytest.fixture(scope="session")
def migrated(server: str) -> Iterator[str]:
    """A database with empty tables, for ``lent`` with ``EMPTY``."""
    with postgresql(server) as url:
        open_database(url).dispose()
        yield url


BARE = ("DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
EMPTY = (f"TRUNCATE {', '.join(Base.metadata.tables)} RESTART IDENTITY",)
