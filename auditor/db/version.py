"""The version of the database's contents, which changes with every write, whichever process made it."""

import sqlite3
import threading

from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError


class DataVersion:
    """Reads the version; two equal versions mean that all that was committed is the same.

    SQLite counts the commits that a connection sees of others, so the version comes from a connection that is used for
    nothing else. In PostgreSQL it is the snapshot: which transactions are visible. Those of other databases of the same
    server, and transactions without an effect, also change it.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.is_quick = engine.dialect.name == "sqlite"
        """Whether reading takes microseconds, and waits for nobody."""
        self._own: sqlite3.Connection | None = None
        self._lock = threading.Lock()

    def read(self) -> str | None:
        """Return the version; None if there is none, because the database is in memory or does not respond."""
        try:
            return self._read_sqlite() if self.is_quick else self._read_postgresql()
        except (sqlite3.Error, SQLAlchemyError):
            self.close()
            return None

    def close(self) -> None:
        with self._lock:
            if self._own is not None:
                self._own.close()
                self._own = None

    def _read_sqlite(self) -> str | None:
        path = self.engine.url.database
        if path in (None, "", ":memory:"):
            return None
        with self._lock:
            if self._own is None:
                self._own = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
            return str(self._own.execute("PRAGMA data_version").fetchone()[0])

    def _read_postgresql(self) -> str | None:
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            return str(connection.scalar(text("SELECT pg_current_snapshot()::text")))
