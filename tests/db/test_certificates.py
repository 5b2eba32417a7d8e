"""Certificates in the database: in and out, sorted, and gone with their audit."""

import math

import numpy as np
import pytest
from alembic import command
from sqlalchemy import Engine, inspect, text

from auditor.config import settings
from auditor.db.filters import Filter
from auditor.db.results import list_results, load_detail
from auditor.db.session import alembic_config, open_database, schema_drift, upgrade
from auditor.db.store import Store
from auditor.records.certificates import Certificate
from tests.factories.records import REQUEST, entry, record


@pytest.fixture
def engine() -> Engine:
    return open_database(settings().database_url)


@pytest.fixture
def store(engine: Engine) -> Store:
    return Store(engine)


def done(store: Store, name: str, certificate: Certificate | None) -> int:
    _, (job,) = store.create_scan("demo", REQUEST, [entry(name)])
    assert store.finish(job.audit_id, store.claim(job.audit_id), record(name, identity=name, certificate=certificate))
    return job.audit_id


def bounds(accuracy: float) -> Certificate:
    return Certificate(
        method="bounds", parameters={"by_lines": 1}, certified=np.arange(8) < 8 * accuracy, accuracy=accuracy, low=0.1,
        high=0.9,
    )  # fmt: skip


SMOOTHED = Certificate(
    method="smoothing", parameters={"sigma": 0.25}, certified=np.array([True, False, True]), accuracy=2 / 3, low=0.2,
    high=0.9, radii=np.array([0.5, 0.0, 0.25]), clean_accuracy=1.0, abstained=0.0,
)  # fmt: skip


def test_they_go_in_and_come_out(store: Store, engine: Engine) -> None:
    numbers = [done(store, name, found) for name, found in (("a", bounds(0.25)), ("b", SMOOTHED), ("c", None))]
    first, second, third = (load_detail(engine, number) for number in numbers)
    assert third.certificate is None
    assert first.certificate.certified.tolist() == [True] * 2 + [False] * 6
    assert first.certificate.parameters == {"by_lines": 1}
    assert first.certificate.radii is None
    assert math.isnan(first.certificate.clean_accuracy)
    assert (first.row.certified_accuracy, first.row.smoothed_certified_accuracy) == (0.25, None)
    assert second.certificate.radii.tolist() == [0.5, 0.0, 0.25]
    assert (second.certificate.accuracy, second.certificate.clean_accuracy) == (2 / 3, 1.0)
    assert (second.row.certified_accuracy, second.row.smoothed_certified_accuracy) == (None, 2 / 3)


@pytest.mark.parametrize("sort", ["certified_accuracy", "-certified_accuracy"])
def test_results_are_sorted_by_them(sort: str, store: Store, engine: Engine) -> None:
    done(store, "c", None)
    for name, accuracy in (("a", 0.5), ("b", 0.25)):
        done(store, name, bounds(accuracy))
    found = [row.certified_accuracy for row in list_results(engine, Filter(), sort=sort)]
    assert found == [*sorted(found[:2], reverse=sort.startswith("-")), None]
    assert [row.certified_accuracy for row in list_results(engine, Filter(), sort=sort, limit=1)] == found[:1]


def test_they_are_gone_with_their_audit(store: Store, engine: Engine) -> None:
    done(store, "a", bounds(0.5))
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM audits"))
        assert connection.scalar(text("SELECT COUNT(*) FROM certificates")) == 0


@pytest.mark.long
def test_the_public_view_has_both_ends(url: str) -> None:
    """The certified accuracies through a downgrade, too, which leaves the certificates where they are."""
    engine = open_database(url)
    store = Store(engine)
    done(store, "a", bounds(0.25))
    done(store, "b", SMOOTHED)
    done(store, "c", None)
    done(store, "d", bounds(0.0))
    query = text(
        "SELECT model, certified_accuracy, smoothed_certified_accuracy, certified_accuracy <= robust_accuracy "
        "FROM leaderboard ORDER BY model"
    )
    expected = [("demo:a", 0.25, None, 1), ("demo:b", None, 2 / 3, None), ("demo:c", None, None, None)]
    for _ in range(2):
        with engine.connect() as connection:
            rows = [tuple(row) for row in connection.execute(query)]
        assert rows == [*expected, ("demo:d", 0.0, None, 1)]
        with engine.begin() as connection:
            command.downgrade(alembic_config(connection), "0015")
        assert "certified_accuracy" not in {column["name"] for column in inspect(engine).get_columns("leaderboard")}
        upgrade(engine)
    assert schema_drift(engine) == []
    engine.dispose()
