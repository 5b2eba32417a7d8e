"""New SQLite databases, copied from one that the migrations made: running all of them takes a quarter of a second."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from sqlalchemy import Engine

from auditor.db import session


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with empty tables."""
    path = tmp_path_factory.mktemp("migrated") / "auditor.db"
    session.open_database(f"sqlite:///{path}").dispose()
    return path


@contextlib.contextmanager
def copied_instead(template: Path) -> Iterator[None]:
    """Where :func:`auditor.db.session.open_database` finds an empty SQLite database, the template is copied into it."""
    upgrade = session.upgrade

    def copy(engine: Engine, revision: str = "head") -> None:
        if engine.dialect.name != "sqlite" or session.current_revision(engine) is not None:
            upgrade(engine, revision)
            return
        with contextlib.closing(sqlite3.connect(template)) as made, engine.connect() as connection:
            made.backup(connection.connection.driver_connection)

    with mock.patch.object(session, "upgrade", copy):
        yield
