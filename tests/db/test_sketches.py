"""Sketches in the database: beside exact results, in the view, and through migrations up and down."""

import dataclasses

import pandas
import pytest
from alembic import command
from sqlalchemy import Engine, inspect, text

from auditor.db.results import Filter, list_results, load_detail
from auditor.db.session import alembic_config, open_database, schema_drift, upgrade
from auditor.db.store import Store
from tests.factories.records import REQUEST, entry, record


def _store(engine: Engine, sketch: int | None, gap: float) -> int:
    """A done audit with this gap and, of a sketch, an error of 0.02."""
    store = Store(engine)
    _, (job,) = store.create_scan("demo", REQUEST | {"sketch": sketch}, [entry()])
    found = record()
    (part,) = found.clusterings
    scores = dataclasses.replace(part.scores, gap=gap, **({} if sketch is None else {"gap_error": 0.02}))
    found = dataclasses.replace(found, sketch=sketch, clusterings=(dataclasses.replace(part, scores=scores),))
    assert store.finish(job.audit_id, store.claim(job.audit_id), found)
    return job.audit_id


def _board(engine: Engine) -> list[tuple]:
    with engine.connect() as connection:
        board = pandas.read_sql("SELECT sketch, gap, gap_error FROM leaderboard ORDER BY gap", connection)
    return [tuple(None if pandas.isna(value) else value for value in row) for row in board.itertuples(index=False)]


@pytest.mark.long
def test_each_number_of_probes_has_its_own_newest_result(url: str) -> None:
    engine = open_database(url)
    for sketch, gap in ((None, 0.1), (None, 0.2), (64, 0.3), (64, 0.4), (32, 0.5)):
        _store(engine, sketch, gap)
    expected = [(None, 0.2, None), (64, 0.4, 0.02), (32, 0.5, 0.02)]
    assert _board(engine) == expected
    found = list_results(engine, Filter(), sort="gap")
    assert [(row.sketch, row.gap, row.gap_error) for row in found] == expected
    assert [row.correlation for row in found] == ["exact", "sketch", "sketch"]
    assert [row.sketch for row in list_results(engine, Filter(correlation="exact"))] == [None]
    assert {row.sketch for row in list_results(engine, Filter(correlation="sketch"))} == {32, 64}
    assert load_detail(engine, found[1].id).clusterings["weights"].scores.gap_error == 0.02
    engine.dispose()


@pytest.mark.long
def test_down_and_up_again_no_sketch_passes_for_an_exact_result(url: str) -> None:
    engine = open_database(url)
    exact, sketched = _store(engine, None, 0.2), _store(engine, 64, 0.3)
    with engine.begin() as connection:
        command.downgrade(alembic_config(connection), "0002")
    assert "sketch" not in {column["name"] for column in inspect(engine).get_columns("audits")}
    assert "gap_error" not in {column["name"] for column in inspect(engine).get_columns("clusterings")}
    with engine.connect() as connection:
        assert connection.execute(text("SELECT audit_id, gap FROM leaderboard")).all() == [(exact, 0.2)]
        assert connection.scalar(text("SELECT COUNT(*) FROM clusterings")) == 2
    upgrade(engine)
    assert schema_drift(engine) == []
    assert _board(engine) == [(None, 0.2, None)]
    (cancelled,) = list_results(engine, Filter(status="cancelled"))
    assert (cancelled.id, cancelled.gap) == (sketched, 0.3)
    assert "a sketch of 64 probes" in cancelled.reason
    assert load_detail(engine, exact).verdicts.indices.tolist() == [7, 1, 9]
    engine.dispose()
