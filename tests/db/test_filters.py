"""Lists made in SQL hold the same rows in the same order as ones made in plain Python from everything there is."""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from functools import cache
from itertools import groupby
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select, text, update
from sqlalchemy.orm import Session

from auditor.db import models as tables
from auditor.db.filters import SORTABLE, STATES
from auditor.db.published import store_published
from auditor.db.results import Filter, count_audits, list_results
from auditor.db.session import open_database
from auditor.db.store import Store
from auditor.records import Published
from auditor.records.results import ResultRow
from tests.factories.databases import database
from tests.factories.records import REQUEST, entry, record

MODELS = ("demo:a", "demo:B", "demo:ä", "demo:Z-1", "timm:a", "demo:[x]", "demo:a_b", "demo:a%b")
FEW = (0.25, 0.5, 0.75)
"""Few values, so that there are ties."""


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """150 audits of every kind, with times of their own."""
    with database(request, tmp_path_factory.mktemp("filled")) as url:
        engine = open_database(url)
        store, dice, begun = Store(engine), random.Random(0), datetime(2026, 1, 1, tzinfo=UTC)
        for number in range(150):
            _one(store, dice)
            with Session(engine) as session, session.begin():  # seconds apart, some equal
                when = begun + timedelta(seconds=dice.randrange(60))
                change = update(tables.Audit).where(tables.Audit.id == number + 1, tables.Audit.started_at.is_not(None))
                session.execute(change.values(started_at=when, seconds=dice.choice((None, 1.0, 2.0))))
        store_published(engine, [Published(model="demo:a", norm="Linf", eps=0.1, clean_accuracy=0.3)])
        with Session(engine) as session, session.begin():  # an audit without a clustering, one without a gap
            some = session.scalars(select(tables.Clustering).order_by(tables.Clustering.id).limit(30)).all()
            for part in some[::3]:
                session.delete(part)
            for part in some[1::3]:
                part.gap = None
        yield engine
        engine.dispose()


def _one(store: Store, dice: random.Random) -> None:
    model, sketch = dice.choice(MODELS), dice.choice((None, None, 64))
    request = REQUEST | {
        "samples": dice.choice((3, None)), "sketch": sketch, "protocol": dice.choice(("quick", "standard")),
        "linearization": dice.choice(("remove", "fold")),
    }  # fmt: skip
    asked = replace(
        entry(), model=model, source=model.partition(":")[0], dataset=dice.choice(("cifar10", "fashion_mnist")),
        eps=dice.choice((0.1, 0.2)),
    )  # fmt: skip
    scan_id, (job,) = store.create_scan(asked.source, request, [asked])
    state = dice.choice((*STATES, "done", "done"))
    if state == "queued" or not (attempt := store.claim(job.audit_id)):
        return
    if state == "cancelled":
        store.cancel(scan_id, "enough")
    elif state == "failed":
        store.fail(job.audit_id, attempt, "no weights")
    elif state == "done":
        flags = dice.choice(((), (), ("randomized",)))
        found = record(
            robust=dice.choice((*FEW, float("nan"))), clean_accuracy=dice.choice((*FEW, 0.3)), n=dice.choice((3, 500)),
            flags=flags, sketch=sketch,
        )  # fmt: skip
        (part,) = found.clusterings
        scores = replace(part.scores, gap=dice.choice((*FEW, float("nan"))), p_value=dice.choice(FEW))
        store.finish(job.audit_id, attempt, replace(found, clusterings=(replace(part, scores=scores),)))


def plainly(engine: Engine, filter: Filter, sort: str, limit: int | None) -> list[int]:
    """The ids of a list, from all rows there are."""
    rows, confirmed = _everything(engine)
    with engine.connect() as connection:
        mine = connection.scalars(
            select(tables.ScanAudit.audit_id).where(tables.ScanAudit.scan_id == filter.scan)
        ).all()
    if filter.scan is not None:
        rows = [row for row in rows if row.id in mine]
    elif not filter.history and filter.status in (None, "done", "failed"):
        states = ("done",) if filter.status == "done" else ("done", "failed")
        rows = _newest([row for row in rows if row.status in states], confirmed)
    rows = sorted((row for row in rows if _matches(row, filter)), key=lambda row: row.id)
    column = sort.removeprefix("-")
    present = [row for row in rows if getattr(row, column) is not None]
    present.sort(key=lambda row: getattr(row, column), reverse=sort.startswith("-"))
    return [row.id for row in (present + [row for row in rows if getattr(row, column) is None])[:limit]]


@cache
def _everything(engine: Engine) -> tuple[list[ResultRow], dict[int, datetime]]:
    with engine.connect() as connection:
        confirmed = dict(connection.execute(select(tables.Audit.id, tables.Audit.confirmed_at)).all())
    return list_results(engine, Filter(history=True), sort="model"), confirmed


def _newest(rows: list[ResultRow], confirmed: dict[int, datetime]) -> list[ResultRow]:
    def series(row: ResultRow) -> str:
        names = ("model", "dataset", "protocol", "norm", "eps", "linearization", "sketch", "samples")
        return repr([getattr(row, name) for name in names])

    groups = groupby(sorted(rows, key=series), series)
    return [max(group, key=lambda row: (confirmed[row.id], row.id)) for _, group in groups]


def _matches(row: ResultRow, filter: Filter) -> bool:
    names = (row.model, row.model.partition(":")[2])
    same = ("source", "dataset", "protocol", "linearization", "status", "correlation")
    return (
        all(getattr(filter, name) in (None, getattr(row, name)) for name in same)
        and filter.model in (None, *names)
        and (filter.match is None or any(fnmatchcase(name, filter.match) for name in names))
        and filter.flagged in (None, bool(row.flags))
    )


def _maybe(*values: object) -> st.SearchStrategy:
    return st.sampled_from((None, None, None, *values))


FILTERS = st.builds(
    Filter,
    scan=_maybe(1, 7, 999),
    model=_maybe("a", "demo:a", "demo:ä", "none", ""),
    match=_maybe("*", "demo:*", "a*", "[!a]*", "*_*", "*%*", "demo:[[]x]", "[", "A"),
    source=_maybe("demo", "timm", "x"),
    dataset=_maybe("cifar10", "x"),
    protocol=_maybe("quick", "full"),
    linearization=_maybe("fold"),
    correlation=_maybe("exact", "sketch"),
    status=_maybe(*STATES),
    flagged=_maybe(True, False),
    history=st.booleans(),
)
SORTS = st.builds(str.__add__, st.sampled_from(("", "-")), st.sampled_from(SORTABLE))


@pytest.mark.long
@settings(max_examples=150)
@given(filter=FILTERS, sort=SORTS, limit=st.sampled_from((None, None, 1, 5, 1000)))
def test_the_same_rows_as_plainly(filled: Engine, filter: Filter, sort: str, limit: int | None) -> None:
    found = list_results(filled, filter, sort=sort, limit=limit)
    assert [row.id for row in found] == plainly(filled, filter, sort, limit)


def test_there_is_something_to_sort(filled: Engine) -> None:
    latest = list_results(filled, Filter())
    assert 20 < len(latest) < len(list_results(filled, Filter(history=True))) == count_audits(filled) == 150
    assert {row.gap for row in latest} == {None, *FEW}
    assert any("clean_accuracy_mismatch" in row.flags for row in latest)
    assert {row.status for row in list_results(filled, Filter(status="failed"))} == {"failed"}


def test_a_model_that_is_well_again_is_not_among_those_that_fail(url: str) -> None:
    engine = open_database(url)
    store = Store(engine)
    for state in ("failed", "done"):
        _, (job,) = store.create_scan("demo", REQUEST, [entry()])
        attempt = store.claim(job.audit_id)
        assert attempt
        if state == "failed":
            store.fail(job.audit_id, attempt, "no weights")
            assert [row.id for row in list_results(engine, Filter(status="failed"))] == [job.audit_id]
        else:
            store.finish(job.audit_id, attempt, record())
    assert list_results(engine, Filter(status="failed")) == []
    assert len(list_results(engine, Filter(status="failed", history=True))) == 1
    engine.dispose()


@pytest.mark.long
@pytest.mark.sqlite("its query plan")
def test_sqlite_uses_the_index_over_the_latest(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path}/a.db")
    with engine.connect() as connection:
        asked = str(select(tables.Audit.id).where(tables.Audit.latest).compile(engine))
        plan = connection.execute(text(f"EXPLAIN QUERY PLAN {asked}")).all()
    assert "ix_audits_latest" in str(plan)
    engine.dispose()
