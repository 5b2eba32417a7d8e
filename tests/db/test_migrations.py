"""Migrations up, down and up again, from each revision to each, on both databases: what is stored stays as it is."""

import struct
import zlib
from datetime import UTC, datetime
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pytest
from alembic import command
from sqlalchemy import JSON, Engine, MetaData, Table, create_engine, event, inspect, select, text

from auditor.db.codec import pack_floats, pack_numbers
from auditor.db.results import load_detail
from auditor.db.session import HEAD, _prepare_sqlite, alembic_config, migrations_folder, schema_drift, upgrade
from auditor.db.views import LEADERBOARD

pytestmark = pytest.mark.migrations

REVISIONS = (
    "0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009", "0010", "0011", "0012", "0013", "0014",
    "0015", "0016", "0017", "0018",
)  # fmt: skip
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
MATRIX = zlib.compress(struct.pack("<9f", *range(9)))


def opened(url: str) -> Engine:
    """As auditor opens one, but at no revision yet."""
    engine = create_engine(url)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
    return engine


def downgrade(engine: Engine, revision: str) -> None:
    with engine.begin() as connection:
        command.downgrade(alembic_config(connection), revision)


def add(engine: Engine, table: str, **values: Any) -> None:
    """A row with these values in the columns that there are, and something in those that have to be filled."""
    known = Table(table, MetaData(), autoload_with=engine)
    row = {name: value for name, value in values.items() if name in known.c}
    for column in known.c:
        if column.name not in row and not column.nullable and column.server_default is None:
            kind = column.type.python_type
            row[column.name] = NOON if kind is datetime else {} if isinstance(column.type, JSON) else kind()
    with engine.begin() as connection:
        connection.execute(known.insert().values(**row))


def fill(engine: Engine) -> None:
    """A little of everything, one audit of each state."""
    add(engine, "models", id=1, name="demo:a", source="demo", dataset="cifar10", training={"method": "at"})
    add(engine, "scans", id=1, source="demo", state="running", request={"seed": 0})
    states = ("done", "failed", "cancelled", "queued", "running")
    for number, state in enumerate(states, 1):
        ended = NOON.replace(minute=number) if number < 4 else None
        add(
            engine, "audits", id=number, model_id=1, state=state, confirmed_at=ended, dataset="cifar10", norm="Linf",
            eps=0.1, protocol="quick", linearization="remove", samples=3, flags=[], notes=["a note"], not_measurable=[],
            classes=["x", "y", "z"], superclasses=["s", "s", "t"], robust_accuracy=0.5, n=3, attempt=number,
            reason=f"because {number}", threat_model="Linf", device="cpu", versions={"torch": "2"},
        )  # fmt: skip
        add(engine, "scan_audits", scan_id=1, audit_id=number, reused=False)
    for number, kind in enumerate(("weights", "features"), 1):
        add(
            engine,
            "clusterings",
            id=number,
            audit_id=1,
            kind=kind,
            gap=0.4,
            size=3,
            matrix=MATRIX,
            leaf_order=[2, 0, 1],
        )
    add(engine, "attack_scores", id=1, audit_id=1, position=0, attack="fgsm", n=3, broken=1, robust_accuracy=0.5)
    bits = zlib.compress(b"\x80")
    add(engine, "verdicts", audit_id=1, n=1, indices=zlib.compress(bytes(8)), correct=bits, survived=bits)
    later = {
        "curves": {
            "n": 1, "norm": "Linf", "largest": 0.4, "sizes": pack_floats(np.array([0.25])),
            "found_by": pack_numbers(np.array([1])), "attacks": ["fmn"],
        },
        "corruptions": {"corruption": "fog", "severity": 2, "n": 1, "n_right": 1, "accuracy": 1.0, "verdicts": bits},
        "certificates": {"method": "bounds", "n": 1, "certified": bits, "certified_accuracy": 0.25, "high": 0.5},
    }  # fmt: skip
    for name in later.keys() & inspect(engine).get_table_names():
        add(engine, name, audit_id=1, **later[name])


def stored(engine: Engine, like: dict[str, list[dict]] | None = None) -> dict[str, list[dict]]:
    """All rows of all tables; of the columns in ``like`` only, where it is given."""
    found: dict[str, list[dict]] = {}
    names = like or [name for name in inspect(engine).get_table_names() if name != "alembic_version"]
    for name in names:
        table = Table(name, MetaData(), autoload_with=engine)
        with engine.connect() as connection:
            rows = [dict(row._mapping) for row in connection.execute(select(table).order_by(*table.primary_key))]
        wanted = like[name][0] if like and like[name] else None
        found[name] = [{key: row[key] for key in row if wanted is None or key in wanted} for row in rows]
    return found


def _mark(low: str, high: str) -> tuple[pytest.MarkDecorator, ...]:
    """All the way and the newest step always run, the other steps with the long tests."""
    if (low, high) in [("0001", HEAD), tuple(REVISIONS[-2:])]:
        return ()
    return (pytest.mark.long if (low, high) in pairwise(REVISIONS) else pytest.mark.slow,)


PAIRS = [pytest.param(low, high, marks=_mark(low, high)) for low, high in combinations(REVISIONS, 2)]


@pytest.mark.long
@pytest.mark.parametrize(("low", "high"), PAIRS)
def test_up_down_and_up_again(url: str, low: str, high: str) -> None:
    engine = opened(url)
    upgrade(engine, low)
    fill(engine)
    before = stored(engine)
    upgrade(engine, high)
    after = stored(engine)
    assert stored(engine, before) == before
    downgrade(engine, low)
    assert stored(engine) == before
    upgrade(engine, high)
    assert stored(engine) == after
    upgrade(engine)
    assert schema_drift(engine) == []
    engine.dispose()


@pytest.mark.slow
@pytest.mark.parametrize("low", REVISIONS[:-1])
def test_down_from_the_newest_and_up_again(url: str, low: str) -> None:
    """What is pruned or runs on a lease, too: the numbers stay, the matrix is one of NaN below 0004."""
    engine = opened(url)
    upgrade(engine)
    fill(engine)
    add(engine, "workers", name="host:1:1", queue="cpu", audit_id=5)
    add(engine, "attack_progress", audit_id=5, key="k", state=b"x")
    with engine.begin() as connection:
        connection.execute(text("UPDATE clusterings SET matrix = NULL WHERE id = 1"))
        connection.execute(text("UPDATE audits SET worker = 'host:1:1', losses = 2, queue = 'cpu' WHERE id = 5"))
    before = stored(engine)
    downgrade(engine, low)
    between = stored(engine)
    assert stored(engine, between)["audits"] == between["audits"]
    assert len(between["clusterings"]) == 2
    upgrade(engine)
    assert schema_drift(engine) == []
    after = stored(engine)
    blank = after["clusterings"][0].pop("matrix")
    if low < "0004":  # which knows what was pruned
        assert [str(value) for value in struct.unpack("<9f", zlib.decompress(blank))] == ["nan"] * 9
    else:
        assert blank is None
    assert before["clusterings"][0].pop("matrix") is None
    for name in ("models", "scan_audits", "clusterings", "attack_scores", "verdicts"):
        assert after[name] == before[name]
    kept = between["audits"][0].keys()
    for was, now in zip(before["audits"], after["audits"], strict=True):
        assert {key: now[key] for key in kept} == {key: was[key] for key in kept}
    detail = load_detail(engine, 1)
    assert detail.clusterings["weights"].scores.gap == 0.4
    assert (detail.curve is None, detail.certificate is None) == (low < "0012", low < "0014")
    engine.dispose()


@pytest.mark.long
def test_0004_marks_the_latest_and_counts_what_is_pending(url: str) -> None:
    engine = opened(url)
    upgrade(engine, "0003")
    fill(engine)  # audits 1 to 5 of one series; the failed one was confirmed last
    asked = {"dataset": "cifar10", "norm": "Linf", "protocol": "quick", "linearization": "remove", "samples": 3}
    rows = (  # id, model, state, minute, and what is asked otherwise
        (11, 1, "done", 0, {}),
        (12, 2, "done", 5, {}),
        (13, 2, "done", 5, {}),
        (14, 2, "done", 7, {"sketch": 64}),
        (15, 2, "done", 1, {"sketch": None, "samples": None}),
        (16, 2, "failed", 2, {"samples": None}),
        (17, 2, "cancelled", 9, {"samples": None}),
        (18, 2, "done", 3, {"eps": 0.2}),
    )
    add(engine, "models", id=2, name="demo:b", source="demo")
    for number, model, state, minute, other in rows:
        values = asked | {"eps": 0.1} | other
        add(
            engine, "audits", id=number, model_id=model, state=state, confirmed_at=NOON.replace(minute=minute),
            flags=[], **values,
        )  # fmt: skip
    add(engine, "scans", id=2, source="demo", state="done")
    add(engine, "scans", id=3, source="demo", state="running")
    add(engine, "scan_audits", scan_id=2, audit_id=11, reused=False)
    add(engine, "scan_audits", scan_id=3, audit_id=5, reused=True)  # somebody else's
    with engine.connect() as connection:
        board = connection.execute(text("SELECT * FROM leaderboard ORDER BY audit_id")).all()
    upgrade(engine, "0004")

    def ids(query: str) -> list[int]:
        with engine.connect() as connection:
            return list(connection.scalars(text(query)))

    assert ids("SELECT id FROM audits WHERE latest ORDER BY id") == [2, 13, 14, 16, 18]
    assert ids("SELECT id FROM audits WHERE latest_done ORDER BY id") == [1, 13, 14, 15, 18]
    assert ids("SELECT pending FROM scans ORDER BY id") == [2, 0, 0]
    with engine.connect() as connection:  # the view says the same, in the same columns
        again = connection.execute(text("SELECT * FROM leaderboard ORDER BY audit_id"))
        later = (
            "screen_score", "margin", "local_gap", "data_margin", "extra_attacks", "certified_accuracy",
            "smoothed_certified_accuracy",
        )  # fmt: skip
        assert tuple(again.keys()) == tuple(name for name in LEADERBOARD if name not in later)
        assert again.all() == board
    engine.dispose()


def test_the_revisions_tried_are_all_there_are() -> None:
    files = (migrations_folder() / "versions").glob("[0-9]*.py")
    assert tuple(sorted(file.name[:4] for file in files)) == REVISIONS
    assert REVISIONS[-1] == HEAD


def misnamed(engine: Engine) -> list[str]:
    """The constraints that are not named as auditor.db.models says: each database has names of its own."""
    found, inspector = [], inspect(engine)
    for table in inspector.get_table_names():
        if table == "alembic_version":
            continue
        expected = {(inspector.get_pk_constraint(table)["name"], f"pk_{table}")}
        for key in inspector.get_foreign_keys(table):
            expected.add((key["name"], f"fk_{table}_{key['constrained_columns'][0]}_{key['referred_table']}"))
        for unique in inspector.get_unique_constraints(table):
            expected.add((unique["name"], f"uq_{table}_{unique['column_names'][0]}"))
        names = [check["name"] for check in inspector.get_check_constraints(table)]
        expected |= {(name, name if name and str(name).startswith(f"ck_{table}_") else "a name") for name in names}
        found += [f"{table}: {name} is not {right}" for name, right in expected if name != right]
    return found


@pytest.mark.long
@pytest.mark.parametrize("revision", REVISIONS)
def test_every_constraint_has_its_name(url: str, revision: str) -> None:
    engine = opened(url)
    upgrade(engine)
    downgrade(engine, revision)
    assert misnamed(engine) == []
    engine.dispose()


@pytest.mark.long
@pytest.mark.parametrize(
    "column",
    ["x INTEGER PRIMARY KEY", "x INTEGER UNIQUE", "x INTEGER REFERENCES scans (id)", "x INTEGER CHECK (x > 0)"],
    ids=["primary key", "unique", "foreign key", "check"],
)
def test_a_constraint_without_a_name_is_noticed(url: str, column: str) -> None:
    engine = opened(url)
    upgrade(engine)
    own = "" if "PRIMARY" in column else ", y INTEGER, CONSTRAINT pk_odd PRIMARY KEY (y)"
    with engine.begin() as connection:
        connection.execute(text(f"CREATE TABLE odd ({column}{own})"))
    assert len(misnamed(engine)) == 1
    engine.dispose()
