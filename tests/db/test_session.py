"""The schema: made on first use, up and down with Alembic, no drift, newer and unusable databases refused."""

import contextlib
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pandas
import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from auditor.db import session as session_module
from auditor.db.session import (
    HEAD,
    _prepare_sqlite,
    alembic_config,
    current_revision,
    open_database,
    schema_drift,
    single,
    upgrade,
)
from auditor.db.store import Store
from auditor.db.views import LEADERBOARD
from auditor.errors import EnvironmentUnusableError
from tests.factories.records import done_audit
from tests.factories.services import BARE, lent

pytestmark = pytest.mark.migrations


@pytest.mark.sqlite("its file, folder and pragmas")
def test_made_on_first_use_in_a_new_folder(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path}/new/folder/a.db")
    assert current_revision(engine) == HEAD == ScriptDirectory.from_config(alembic_config(None)).get_current_head()
    assert schema_drift(engine) == []
    with engine.connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA foreign_keys")).scalar() == 1
        assert connection.execute(text("PRAGMA busy_timeout")).scalar() == 30000


def test_down_and_up_again(url: str) -> None:
    engine = open_database(url)
    with engine.begin() as connection:
        command.downgrade(alembic_config(connection), "base")
    assert inspect(engine).get_table_names() == ["alembic_version"]
    assert inspect(engine).get_view_names() == []
    upgrade(engine)
    assert schema_drift(engine) == []
    assert sorted(inspect(engine).get_view_names()) == ["boosts", "leaderboard"]


def test_drift_is_noticed(url: str) -> None:
    engine = open_database(url)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE scans ADD COLUMN surprise TEXT"))
    assert any("surprise" in line for line in schema_drift(engine))


@pytest.mark.long
@pytest.mark.parametrize(
    ("columns", "drift"),
    [
        (None, "missing view leaderboard"),
        (LEADERBOARD[:-1], "view leaderboard: expected the columns model, source, "),
        ((*LEADERBOARD, "beauty"), ", audit_id, beauty"),
        ((*LEADERBOARD[1::-1], *LEADERBOARD[2:]), ", got source, model, "),
        (LEADERBOARD, None),
    ],
    ids=["no view", "one column too few", "one too many", "another order", "as it should be"],
)
def test_a_leaderboard_that_differs_is_noticed(url: str, columns: tuple[str, ...] | None, drift: str | None) -> None:
    engine = open_database(url)
    with engine.begin() as connection:
        connection.execute(text("DROP VIEW leaderboard"))
        if columns:
            selected = ", ".join(f"1 AS {name}" for name in columns)
            connection.execute(text(f"CREATE VIEW leaderboard AS SELECT {selected}"))
    lines = schema_drift(engine)
    assert len(lines) == (drift is not None)
    assert drift is None or drift in lines[0]
    engine.dispose()


def test_a_newer_database_is_left_alone(url: str) -> None:
    with open_database(url).begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(EnvironmentUnusableError, match="revision 9999, made by a newer auditor"):
        open_database(url)
    assert current_revision(create_engine(url)) == "9999"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense", "not a database URL"),
        ("oracle+nothing://x", "not a database URL"),
        ("sqlite:////proc/no/such/place/a.db", "cannot use the database"),
    ],
)
def test_databases_that_cannot_be_used(url: str, message: str) -> None:
    with pytest.raises(EnvironmentUnusableError, match=message):
        open_database(url)


@pytest.mark.sqlite("its file")
def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_text("this is a shopping list, " * 100)
    with pytest.raises(EnvironmentUnusableError, match="file is not a database"):
        open_database(f"sqlite:///{tmp_path}/a.db")


@pytest.mark.sqlite("its file")
def test_a_read_only_database(tmp_path: Path) -> None:
    """Root may write anywhere, so the file is opened read-only through SQLite itself."""
    with sqlite3.connect(tmp_path / "a.db") as connection:
        connection.execute("CREATE TABLE other (x)")
    connection.close()
    os.chmod(tmp_path / "a.db", 0o444)  # noqa: PTH101
    with pytest.raises(EnvironmentUnusableError, match="readonly"):
        open_database(f"sqlite:///file:{tmp_path}/a.db?mode=ro&uri=true")


@pytest.mark.long
def test_several_processes_may_open_a_new_database_at_once(url: str) -> None:
    environment = os.environ | {"AUDITOR_DATABASE_URL": url}
    command = [sys.executable, "-m", "auditor", "db", "upgrade"]
    processes = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) for _ in range(4)]
    errors = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0, 0], errors


@pytest.mark.sqlite("its write-ahead log")
def test_one_that_finds_the_database_locked_tries_again() -> None:
    """SQLite gives up at once where two turn on its write-ahead log at the same moment."""

    class Locked(sqlite3.Connection):
        refusals = 3

        def execute(self, sql: str, *parameters: object) -> sqlite3.Cursor:
            if "journal_mode" in sql and self.refusals:
                self.refusals -= 1
                raise sqlite3.OperationalError("database is locked")
            return super().execute(sql, *parameters)

    with contextlib.closing(sqlite3.connect(":memory:", factory=Locked)) as connection:
        _prepare_sqlite(connection, None)
        assert connection.refusals == 0
        assert connection.execute("PRAGMA foreign_keys").fetchone() == (1,)


LOSE = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> :own"


@pytest.mark.parametrize("idle", [True, False])
def test_a_lost_connection_is_noticed_while_it_is_idle_and_outlived_by_the_patient(
    bare: str, idle: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "IDLE_SECONDS", 0.0 if idle else 3600.0)
    with lent(bare, *BARE) as url:
        engine = open_database(url)
        with engine.connect():
            pass
        other = create_engine(url, poolclass=NullPool)
        with other.connect() as connection:
            own = connection.scalar(text("SELECT pg_backend_pid()"))
            assert connection.scalars(text(LOSE), {"own": own}).all() == [True]
        time.sleep(0.1)
        with pytest.raises(OperationalError) if not idle else contextlib.nullcontext():
            assert Store(engine, patience=0).find_done("demo:a", "1") is None
        assert Store(engine, patience=0).find_done("demo:a", "1") is None
        with other.connect() as connection:
            own = connection.scalar(text("SELECT pg_backend_pid()"))
            connection.scalars(text(LOSE), {"own": own}).all()
        assert Store(engine, patience=10).find_done("demo:a", "1") is None
        engine.dispose()


def test_a_single_statement_stays_and_leaves_the_next_session_its_transaction(url: str) -> None:
    engine = open_database(url)
    insert = text("INSERT INTO published (model, unreliable) VALUES (:name, :no)")
    with single(engine) as session:
        session.execute(insert, {"name": "a", "no": False})
    with engine.connect() as connection:
        connection.execute(insert, {"name": "b", "no": False})  # never committed
    with engine.connect() as connection:
        assert connection.scalars(text("SELECT model FROM published")).all() == ["a"]
    engine.dispose()


def test_passwords_are_not_shown() -> None:
    with pytest.raises(EnvironmentUnusableError) as caught:
        open_database("postgresql+psycopg://me:secret@127.0.0.1:1/none")
    assert "secret" not in str(caught.value)


def test_the_leaderboard_view_shows_the_newest_done_audit(url: str) -> None:
    engine = open_database(url)
    store = Store(engine)
    done_audit(store, "a", identity="1", robust=0.2)
    newest = done_audit(store, "a", identity="2", robust=0.3)
    done_audit(store, "b", flags=("randomized",), robust=0.9)
    with engine.connect() as connection:
        board = pandas.read_sql("SELECT * FROM leaderboard ORDER BY model", connection)
    assert board["model"].tolist() == ["demo:a", "demo:b"]
    assert board["audit_id"][0] == newest
    assert board["robust_accuracy"].tolist() == [0.3, 0.9]
    assert board["ranked"].tolist() == [1, 0]
    assert board["gap"].tolist() == [0.4, 0.4]
