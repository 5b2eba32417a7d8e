"""Opens the database. Alembic creates or upgrades its schema; a newer schema is refused."""

import contextlib
import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, Inspector, create_engine, event, inspect, text
from sqlalchemy.engine import URL, ExceptionContext
from sqlalchemy.exc import ArgumentError, DBAPIError, InvalidatePoolError, NoSuchModuleError, OperationalError
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool

from auditor import tracing
from auditor.errors import EnvironmentUnusableError, UsageError, first_line
from auditor.network import connections
from auditor.text.redaction import redact_urls
from auditor.tracing.database import trace_transactions

HEAD = "0018"
"""The newest revision under migrations/; a test compares the two."""

READ_ONLY = "25006"
"""PostgreSQL's code for a write to a server, or in a transaction, that takes none."""

IDLE_SECONDS = 1.0
"""A connection that was idle for longer is tested before it is used again."""


def open_database(url: str) -> Engine:
    """An engine on an up-to-date schema; a missing SQLite file and its folder are created.

    Raises:
        EnvironmentUnusableError: the database cannot be reached or written, or is from a newer auditor.
    """
    try:
        engine = engine_of(url)
        _bring_up_to_date(engine)
    except (DBAPIError, OSError) as error:
        cause = getattr(error, "orig", None) or error
        advice = connections.advice(cause) or "; check AUDITOR_DATABASE_URL and its permissions"
        raise EnvironmentUnusableError(
            f"cannot use the database {shown(connections.database_url(url))}: {first_line(cause)}{advice}"
        ) from error
    return engine


def engine_of(url: str) -> Engine:
    """An engine that does not connect yet, for callers that tolerate an unavailable database.

    Raises:
        EnvironmentUnusableError: this is no URL of a database.
    """
    try:
        return make_engine(url)
    except UsageError as error:
        raise EnvironmentUnusableError(str(error)) from error
    except ImportError as error:
        raise EnvironmentUnusableError(
            f"PostgreSQL needs a driver ({error}): pip install 'auditor[service]'"
        ) from error
    except (ArgumentError, NoSuchModuleError, ValueError) as error:  # whose text shows the password
        what = "one of its parameters has a wrong value" if isinstance(error, ValueError) else "not a database URL"
        raise EnvironmentUnusableError(f"AUDITOR_DATABASE_URL: {what} ({type(error).__name__})") from None


def make_engine(url: str) -> Engine:
    """An engine without any check, for child processes of a program that has opened the database already."""
    parsed = connections.database_url(url)
    _make_folder(parsed)
    engine = create_engine(parsed, json_deserializer=_read_json, **_options(parsed))
    if parsed.get_backend_name() == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
    else:
        _try_idle(engine)
        event.listen(engine, "handle_error", _reconnect_if_read_only, retval=True)
    if tracing.is_on():
        trace_transactions(engine)
    return engine


def shown(url: URL) -> str:
    """A database's URL without secrets, also without those in its query."""
    return redact_urls(url.render_as_string(hide_password=True))


@contextlib.contextmanager
def single(engine: Engine) -> Iterator[Session]:
    """A session for one statement; on PostgreSQL in autocommit mode, which saves two round trips."""
    with Session(engine) as session, session.begin():
        if engine.dialect.name == "postgresql":
            session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
        yield session


def begin_writing(session: Session) -> None:
    """Begin a transaction that reads first and writes later; on SQLite it would fail if another one wrote in between.

    PostgreSQL needs nothing here: there the rows that are read are locked.
    """
    if session.get_bind().dialect.name == "sqlite":
        session.connection().exec_driver_sql("BEGIN IMMEDIATE")


def _options(url: URL) -> dict[str, Any]:
    if url.get_backend_name() == "postgresql":  # with time-outs, so that a server that hangs is an error
        return {"connect_args": {"connect_timeout": 10, **connections.postgresql(url)}}
    if url.database in (None, "", ":memory:"):
        return {"poolclass": StaticPool, "connect_args": {"check_same_thread": False}}  # one connection for all threads
    return {}


def _read_json(text: str) -> Any:
    """JSON of a column, in a third of the time of the standard library, which is left with NaN and infinity."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return json.loads(text)


def _try_idle(engine: Engine) -> None:
    """Test idle connections on checkout, because the server may have restarted; pool_pre_ping tests all, 10 % slower.

    If a connection is lost within a second, the statement fails, and ``with_retries`` repeats it.
    """

    def note_return(_: Any, record: Any) -> None:
        record.info["returned"] = time.monotonic()

    def ping_if_idle(connection: Any, record: Any, _: Any) -> None:
        if time.monotonic() - record.info.get("returned", time.monotonic()) > IDLE_SECONDS:
            try:
                engine.dialect.do_ping(connection)
            except engine.dialect.loaded_dbapi.Error as error:
                raise InvalidatePoolError from error

    event.listen(engine, "checkin", note_return)
    event.listen(engine, "checkout", ping_if_idle)


def _reconnect_if_read_only(context: ExceptionContext) -> OperationalError | None:
    """Treat a server that takes no writes as unavailable, because it may be a standby; psycopg calls it InternalError.

    After a failover another connection may lead to the new primary server, so this one is not used again.
    """
    error = context.original_exception
    if READ_ONLY not in (getattr(error, "sqlstate", None), getattr(error, "pgcode", None)):  # psycopg, psycopg2
        return None
    context.is_disconnect = True
    return OperationalError(context.statement, context.parameters, error, connection_invalidated=True)


def _make_folder(url: URL) -> None:
    if url.get_backend_name() == "sqlite" and url.database and url.database != ":memory:":
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)


def _prepare_sqlite(connection: sqlite3.Connection, _: Any) -> None:
    connection.execute("PRAGMA busy_timeout = 30000")
    for patience in range(100, -1, -1):  # SQLite does not wait here while another process turns WAL on
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or not patience:
                raise
            time.sleep(0.05)
    for pragma in ("foreign_keys = ON", "synchronous = NORMAL"):
        connection.execute(f"PRAGMA {pragma}")


def migrations_folder() -> Path:
    """Where the Alembic scripts are: inside an installed package, beside it in a checkout."""
    package = Path(__file__).parent.parent
    packaged = package / "migrations"
    return packaged if packaged.is_dir() else package.parent / "migrations"


def current_revision(engine: Engine) -> str | None:
    """The database's schema revision; None for one that has no schema of ours yet."""
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            if inspect(connection).get_table_names():
                raise EnvironmentUnusableError(f"{engine.url.database} holds other tables, and none of auditor's")
            return None
        revision: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        return revision


def _bring_up_to_date(engine: Engine) -> None:
    revision = current_revision(engine)
    if revision == HEAD:
        return
    known = {file.name[:4] for file in (migrations_folder() / "versions").glob("[0-9]*.py")}
    if revision is not None and revision not in known:
        raise EnvironmentUnusableError(
            f"the database is at revision {revision}, made by a newer auditor than this one, "
            f"which knows up to {HEAD}: upgrade auditor, or use another database"
        )
    upgrade(engine)


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Run the migrations up to ``revision``, one process at a time."""
    from alembic import command  # slow to import, and seldom needed

    with engine.begin() as connection:
        _lock(connection)
        command.upgrade(alembic_config(connection), revision)


def check_downgrade(engine: Engine, revision: str) -> None:
    """Raises UsageError if the revision does not exist or is not older than the database's."""
    known = sorted(file.name[:4] for file in (migrations_folder() / "versions").glob("[0-9]*.py"))
    below = [one for one in known if one < (current_revision(engine) or "")]
    if revision not in below:
        there = f"there is {', '.join(below)}" if below else "there is none"
        raise UsageError(f"no revision {revision!r} below the database's {current_revision(engine)}; {there}")


def downgrade(engine: Engine, revision: str) -> None:
    """Run the migrations down to ``revision``. Raises as :func:`check_downgrade`."""
    from alembic import command

    check_downgrade(engine, revision)
    with engine.begin() as connection:
        _lock(connection)
        command.downgrade(alembic_config(connection), revision)


def _lock(connection: Connection) -> None:
    """One process at a time changes the schema."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    elif connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(2111128)")


def alembic_config(connection: Any) -> Any:
    """Alembic's configuration on an open connection."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(migrations_folder()))
    config.attributes["connection"] = connection
    return config


def schema_drift(engine: Engine) -> list[str]:
    """The differences between the database and the tables in auditor.db.models."""
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext

    from auditor.db import indices  # noqa: F401, and the tables
    from auditor.db.base import Base

    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = [_in_words(difference) for difference in compare_metadata(context, Base.metadata)]
        return differences + _view_drift(inspect(connection))


def _view_drift(inspector: Inspector) -> list[str]:
    """The differences in the views, which Alembic does not compare."""
    from auditor.db.views import BOOSTS, LEADERBOARD

    found = []
    for view, expected in (("leaderboard", LEADERBOARD), ("boosts", BOOSTS)):
        if view not in inspector.get_view_names():
            found.append(f"missing view {view}")
            continue
        columns = [str(column["name"]) for column in inspector.get_columns(view)]
        if columns != list(expected):
            found.append(f"view {view}: expected the columns {', '.join(expected)}, got {', '.join(columns)}")
    return found


def _in_words(difference: Any) -> str:
    """``remove_column scans.surprise`` for Alembic's tuples of objects."""
    if isinstance(difference, list):
        return "; ".join(_in_words(part) for part in difference)
    names = [getattr(part, "name", part) for part in difference[1:] if part is not None]
    return f"{difference[0]} {'.'.join(str(name) for name in names if isinstance(name, str))}"
