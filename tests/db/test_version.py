"""The version of the database's contents: the same until something is committed, by whomever."""

import pytest
from sqlalchemy import create_engine, text

from auditor.db.session import make_engine, open_database
from auditor.db.store import Store
from auditor.db.version import DataVersion
from tests.factories.records import REQUEST, done_audit, entry


def test_every_commit_changes_the_version(url: str) -> None:
    engine, other = open_database(url), open_database(url)
    version = DataVersion(engine)
    seen = [version.read()]
    for write in (
        lambda: Store(engine).create_scan("demo", REQUEST, [entry("a")]),
        lambda: Store(other).create_scan("demo", REQUEST, [entry("b")]),
        lambda: done_audit(Store(other), "c", identity="c"),
    ):
        write()
        seen.append(version.read())
    with other.begin() as connection:  # what is not committed yet is no other content
        connection.execute(text("UPDATE models SET description = 'new'"))
        if engine.dialect.name == "sqlite":
            assert version.read() == seen[-1]
    seen.append(version.read())
    assert None not in seen
    assert len(set(seen)) == len(seen)
    version.close()
    assert version.read() not in seen or engine.dialect.name == "postgresql"
    engine.dispose()
    other.dispose()


@pytest.mark.sqlite("the version of a PostgreSQL server changes with its other databases")
def test_reading_changes_nothing(tmp_path: str) -> None:
    engine = open_database(f"sqlite:///{tmp_path}/own.db")
    version = DataVersion(engine)
    assert len({version.read() for _ in range(5)}) == 1


@pytest.mark.parametrize("url", ["sqlite://", "postgresql+psycopg://nobody@127.0.0.1:1/none"])
def test_without_a_version_there_is_none(url: str) -> None:
    engine = create_engine(url) if url == "sqlite://" else make_engine(url)
    assert DataVersion(engine).read() is None
