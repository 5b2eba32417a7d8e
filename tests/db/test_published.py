"""Published figures: stored and updated, beside what was measured, contradictions noticed; the schema up and down."""

import dataclasses
import uuid

import numpy as np
import pandas
import pytest
from alembic import command
from scipy.stats import binomtest
from sqlalchemy import Engine, inspect, text

from auditor.db.mismatches import contradicts, same_eps
from auditor.db.published import store_published
from auditor.db.results import Filter, list_results, load_detail
from auditor.db.session import HEAD, alembic_config, current_revision, open_database, schema_drift, upgrade
from auditor.db.store import Store
from auditor.records import Published, Verdicts
from tests.factories.published import store_figures

BOTH = ["clean_accuracy_mismatch", "robust_accuracy_mismatch"]
CLAIM = Published(model="demo:a", norm="Linf", eps=0.1, clean_accuracy=0.9, autoattack_accuracy=0.6)


def _store_one(engine: Engine, **values: object) -> str:
    """The name of a model with one done audit, unlike all others."""
    name = uuid.uuid4().hex
    store_figures(Store(engine), name=name, **values)
    return f"demo:{name}"


def _board(engine: Engine, model: str) -> dict:
    with engine.connect() as connection:
        board = pandas.read_sql("SELECT * FROM leaderboard", connection)
    (row,) = board[board["model"] == model].to_dict("records")
    return row


@pytest.mark.long
def test_up_down_and_up_again_keeps_what_is_stored(url: str) -> None:
    engine = open_database(url)
    audit_id = store_figures(Store(engine), images_sha256="d" * 64, place="/zoo")
    for target in ("0001", "base"):
        with engine.begin() as connection:
            command.downgrade(alembic_config(connection), target)
        if target == "0001":
            tables = ("audits", "verdicts", "clusterings", "attack_scores")
            assert "published" not in inspect(engine).get_table_names()
            with engine.connect() as connection:
                counts = [connection.scalar(text(f"SELECT COUNT(*) FROM {table}")) for table in tables]
                assert connection.scalar(text("SELECT audit_id FROM leaderboard")) == audit_id
            assert counts == [1, 1, 1, 1]
            assert not {"dataset", "images_sha256"} & _columns(engine, "audits").keys()
            assert "place" not in _columns(engine, "models")
            with engine.begin() as connection:
                connection.execute(text("UPDATE models SET dataset = 'as it was'"))
            upgrade(engine)
            assert _columns(engine, "audits")["dataset"] is False
            assert _columns(engine, "models")["place"] is True
            assert load_detail(engine, audit_id).row.dataset == "as it was"
            assert load_detail(engine, audit_id).verdicts.indices.tolist() == [7, 1, 9]
    upgrade(engine)
    assert (schema_drift(engine), current_revision(engine)) == ([], HEAD)
    assert inspect(engine).get_pk_constraint("published")["name"] == "pk_published"
    engine.dispose()


def _columns(engine: Engine, table: str) -> dict[str, bool]:
    """Whether each column may be NULL."""
    return {column["name"]: column["nullable"] for column in inspect(engine).get_columns(table)}


def test_a_result_stays_with_the_data_set_it_was_made_on(shared: Engine) -> None:
    name = _store_one(shared, robust_accuracy=0.6)
    store_figures(Store(shared), name=name.removeprefix("demo:"), robust_accuracy=0.3, dataset="cifar10")
    rows = list_results(shared, Filter(model=name))
    assert [(row.dataset, row.robust_accuracy) for row in rows] == [("fashion_mnist", 0.6), ("cifar10", 0.3)]
    for row in rows:
        assert list_results(shared, Filter(model=name, dataset=row.dataset)) == [row]
        assert load_detail(shared, row.id).row == row
    with shared.connect() as connection:
        query = text("SELECT dataset, robust_accuracy FROM leaderboard WHERE model = :name ORDER BY 2 DESC")
        assert connection.execute(query, {"name": name}).all() == [("fashion_mnist", 0.6), ("cifar10", 0.3)]


def test_figures_are_made_updated_or_left(url: str) -> None:
    engine = open_database(url)
    other = dataclasses.replace(CLAIM, model="demo:b", unreliable=True, external_accuracy=0.1, venue="somewhere")
    assert store_published(engine, [CLAIM, other]) == {"demo:a": "new", "demo:b": "new"}
    mended = dataclasses.replace(CLAIM, clean_accuracy=0.95)
    assert store_published(engine, [mended, other]) == {"demo:a": "updated", "demo:b": "unchanged"}
    for name, expected in (("a", mended), ("b", other)):
        assert load_detail(engine, store_figures(Store(engine), name=name)).published == expected
    engine.dispose()


@pytest.mark.parametrize(
    ("changes", "claimed"),
    [
        ({}, 0.6),
        ({"external_accuracy": 0.55}, 0.55),
        ({"external_accuracy": 0.65}, 0.6),
        ({"autoattack_accuracy": None, "external_accuracy": 0.5}, 0.5),
        ({"autoattack_accuracy": None}, None),
        ({"norm": "L2"}, None),
        ({"norm": None, "eps": None, "corruptions_accuracy": 0.8}, None),
        ({"eps": None}, None),
        ({"eps": 0.10009}, 0.6),
        ({"eps": 0.1002}, None),
    ],
)
def test_a_robust_claim_holds_for_its_own_threat_model(shared: Engine, changes: dict, claimed: float | None) -> None:
    name = _store_one(shared, robust_accuracy=0.6)
    store_published(shared, [dataclasses.replace(CLAIM, model=name, **changes)])
    (row,) = list_results(shared, Filter(model=name))
    assert (row.claimed_clean_accuracy, row.claimed_robust_accuracy) == (0.9, claimed)
    assert row.claimed_unreliable is False
    board = _board(shared, name)
    assert board["claimed_clean_accuracy"] == 0.9
    assert board["claimed_robust_accuracy"] == claimed or (
        claimed is None and pandas.isna(board["claimed_robust_accuracy"])
    )
    assert board["claimed_unreliable"] == 0


@pytest.mark.parametrize(
    ("published", "eps", "same"),
    [
        (8 / 255, 8 / 255, True),
        (0.031, 8 / 255, True),
        (8 / 255, 0.031, False),
        (0.031, 0.03, False),
        (4 / 255, 8 / 255, False),
        (0.5, 0.5004, True),
        (0.5, 0.51, False),
    ],
)
def test_radii_that_are_the_same(published: float, eps: float, same: bool) -> None:
    assert same_eps(published, eps) is same


@pytest.mark.long
@pytest.mark.parametrize(
    ("measured", "protocol", "n", "flags"),
    [
        ({"clean_accuracy": 0.9}, "standard", 1000, []),
        ({"clean_accuracy": 0.885}, "standard", 100_000, []),
        ({"clean_accuracy": 0.85}, "standard", 1000, ["clean_accuracy_mismatch"]),
        ({"clean_accuracy": 0.95}, "standard", 1000, ["clean_accuracy_mismatch"]),
        ({"clean_accuracy": 0.85}, "standard", 100, []),
        ({"robust_accuracy": 0.5}, "standard", 1000, ["robust_accuracy_mismatch"]),
        ({"robust_accuracy": 0.7}, "standard", 1000, ["robust_accuracy_mismatch"]),
        ({"robust_accuracy": 0.7}, "full", 1000, ["robust_accuracy_mismatch"]),
        ({"robust_accuracy": 0.7}, "quick", 1000, []),
        ({"robust_accuracy": 0.5}, "quick", 1000, ["robust_accuracy_mismatch"]),
        ({"robust_accuracy": 0.5}, "quick", 100, []),
        ({"robust_accuracy": 0.585}, "full", 100_000, []),
        ({"robust_accuracy": 0.5, "norm": "L2"}, "standard", 1000, []),
        ({"clean_accuracy": 0.1, "robust_accuracy": 0}, "full", 1000, BOTH),
        ({"flags": ("randomized",), "clean_accuracy": 0.5}, "full", 1000, ["randomized", "clean_accuracy_mismatch"]),
        ({"clean_accuracy": float("nan"), "robust_accuracy": float("nan")}, "screen", 0, []),
    ],
)  # fmt: skip
def test_contradictions_are_flags_on_reading_and_in_the_view(
    shared: Engine, measured: dict, protocol: str, n: int, flags: list[str]
) -> None:
    name = _store_one(shared, protocol=protocol, **({"robust_accuracy": 0.6, "n": n} | measured))
    stored = list(measured.get("flags", ()))
    assert list_results(shared, Filter(model=name))[0].flags == stored
    store_published(shared, [dataclasses.replace(CLAIM, model=name)])
    (row,) = list_results(shared, Filter(model=name))
    assert row.flags == flags
    assert len(list_results(shared, Filter(model=name, flagged=True))) == bool(flags)
    board = _board(shared, name)
    assert board["ranked"] == (not flags)
    for flag in ("clean_accuracy_mismatch", "robust_accuracy_mismatch"):
        assert board[flag] == (flag in flags)


@pytest.mark.parametrize("n", [10, 256, 1000, 10_000])
def test_a_contradiction_is_outside_scipys_wilson_interval_and_two_points_away(n: int) -> None:
    generator = np.random.default_rng(n)
    for k in generator.integers(0, n + 1, 40):
        interval = binomtest(int(k), n).proportion_ci(0.999, method="wilson")
        for claimed in [*generator.uniform(0, 1, 40), interval.low - 1e-6, interval.high + 1e-6, 0.0, 1.0]:
            if not 0 <= claimed <= 1 or min(abs(claimed - interval.low), abs(claimed - interval.high)) < 1e-7:
                continue
            outside = not interval.low <= claimed <= interval.high
            assert contradicts(k / n, claimed, n) == (outside and abs(k / n - claimed) >= 0.02), (k, n, claimed)


def test_pictures_come_back_as_they_went_in(url: str) -> None:
    engine = open_database(url)
    verdicts = Verdicts(
        indices=np.array([3, 1]),
        correct=np.array([True, False]),
        survived=np.array([True, False]),
        pictures=np.array([2**64 - 1, 7], np.uint64),
    )
    audit_id = store_figures(Store(engine), verdicts=verdicts)
    np.testing.assert_array_equal(load_detail(engine, audit_id).verdicts.pictures, verdicts.pictures)
    engine.dispose()
