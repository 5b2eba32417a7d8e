"""The base of all tables: constraint names, times in UTC, JSON."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, overload

from sqlalchemy import JSON, ColumnElement, DateTime, LargeBinary, MetaData, String
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Session
from sqlalchemy.types import TypeDecorator

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite

NAMES = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class UtcDateTime(TypeDecorator[datetime]):
    """Times with a zone in Python, UTC in every database."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return None if value is None else value.replace(tzinfo=UTC) if value.tzinfo is None else value


@overload
def iso(time: datetime) -> str: ...
@overload
def iso(time: None) -> None: ...
def iso(time: datetime | None) -> str | None:
    """ISO 8601, to the second."""
    return time.isoformat(timespec="seconds") if time else None


def as_python_sorts(session: Session, column: ColumnElement[Any]) -> ColumnElement[Any]:
    """A column to sort by: text by its code points, as SQLite and Python sort."""
    if session.get_bind().dialect.name == "postgresql" and isinstance(column.type, String):
        return column.collate("C")
    return column


def inserting(session: Session, table: type["Base"]) -> "postgresql.Insert | sqlite.Insert":
    """An INSERT in the dialect of the session's database, which supports ON CONFLICT."""
    if session.get_bind().dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table)
    from sqlalchemy.dialects import sqlite

    return sqlite.insert(table)


def upsert(session: Session, table: type["Base"], key: str, values: dict[str, Any]) -> None:
    """Insert a row, or update the row with the same ``key``; safe under concurrent writers."""
    made = inserting(session, table).values(values)
    session.execute(made.on_conflict_do_update(index_elements=[key], set_=values))


def increment(session: Session, counter: type["Base"], name: str) -> None:
    """Add one to the row ``name`` of a table of counters; safe under concurrent writers."""
    made = inserting(session, counter).values(name=name, value=1)
    value = counter.__table__.c.value + 1
    session.execute(made.on_conflict_do_update(index_elements=["name"], set_={"value": value}))


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map = {  # noqa: RUF012
        datetime: UtcDateTime(),
        dict[str, Any]: JSON(),
        list[Any]: JSON(),
        bytes: LargeBinary(),
        str: String(),
    }
