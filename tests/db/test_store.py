"""The store: claims, attempts, reuse; what goes in comes out."""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from auditor.config import settings
from auditor.db.codec import (
    pack_bits,
    pack_indices,
    pack_matrix,
    pack_numbers,
    unpack_bits,
    unpack_indices,
    unpack_matrix,
    unpack_numbers,
)
from auditor.db.results import Filter, list_results, load_detail
from auditor.db.session import open_database
from auditor.db.store import Store
from auditor.errors import UsageError
from auditor.records.screening import Screening
from auditor.records.targeted import TargetedScore
from tests.factories.records import REQUEST, done_audit, entry, record


@pytest.fixture
def engine() -> Engine:
    return open_database(settings().database_url)


@pytest.fixture
def store(engine: Engine) -> Store:
    return Store(engine)


def test_what_goes_in_comes_out(store: Store, engine: Engine) -> None:
    audit_id = done_audit(store)
    (row,) = list_results(engine, Filter())
    expected = record()
    assert row.id == audit_id
    for name in ("robust_accuracy", "clean_accuracy", "n", "affinity_error", "weights_sha256", "seconds", "batch_size"):
        assert getattr(row, name) == getattr(expected, name)
    assert (row.gap, row.silhouette, row.gap_centred, row.status) == (0.4, None, None, "done")
    assert row.notes == ["a note"]
    detail = load_detail(engine, audit_id)
    assert detail.classes == ("x", "y", "z")
    assert detail.attacks == expected.attacks
    part = detail.clusterings["weights"]
    assert part.scores.leaf_order == (2, 0, 1)
    assert math.isnan(part.scores.silhouette)
    assert part.scores.reasons == {"silhouette": "no reason"}
    np.testing.assert_array_equal(part.matrix, np.eye(3))
    for name in ("indices", "correct", "survived", "labels", "predicted", "broken_at"):
        np.testing.assert_array_equal(getattr(detail.verdicts, name), getattr(expected.verdicts, name))


def test_success_rates_of_targeted_attacks_go_in_and_come_out(store: Store, engine: Engine) -> None:
    score = TargetedScore(targets=9, n=40, within_n=30, within=12, across_n=40, across=2)
    assert load_detail(engine, done_audit(store, targeted=score)).targeted == score
    assert load_detail(engine, done_audit(store, "b", identity="j")).targeted is None
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT COUNT(*) FROM audits WHERE targeted IS NOT NULL")) == 1


def test_verdicts_of_an_older_auditor_have_no_classes(store: Store, engine: Engine) -> None:
    old = replace(record().verdicts, labels=None, predicted=None, broken_at=None)
    audit_id = done_audit(store, verdicts=old)
    with engine.connect() as connection:
        row = connection.execute(text("SELECT labels, predicted, broken_at FROM verdicts")).one()
    assert tuple(row) == (None, None, None)
    found = load_detail(engine, audit_id).verdicts
    assert (found.labels, found.predicted, found.broken_at) == (None, None, None)
    np.testing.assert_array_equal(found.survived, old.survived)


def test_only_what_an_attack_changed_is_stored(store: Store, engine: Engine) -> None:
    """500 samples of 10 classes take fewer bytes than two for each sample, and those without a loss only the labels."""
    rng = np.random.default_rng(0)
    labels, correct = rng.integers(0, 10, 500), rng.random(500) < 0.9
    survived = correct & (rng.random(500) < 0.5)
    broken = correct & ~survived
    predicted = np.where(survived, labels, (labels + rng.integers(1, 10, 500)) % 10)
    whole = replace(
        record().verdicts, indices=np.arange(500), correct=correct, survived=survived, labels=labels,
        predicted=predicted, broken_at=np.where(broken, rng.integers(0, 7, 500), -1),
    )  # fmt: skip
    intact = replace(whole, correct=correct | True, survived=correct | True, predicted=labels, broken_at=0 * labels - 1)
    for number, verdicts in enumerate((whole, intact)):
        audit_id = done_audit(store, f"m{number}", identity=f"i{number}", verdicts=verdicts)
        found = load_detail(engine, audit_id).verdicts
        for name in ("labels", "predicted", "broken_at"):
            np.testing.assert_array_equal(getattr(found, name), getattr(verdicts, name))
    with engine.connect() as connection:
        sizes = connection.execute(
            text("SELECT LENGTH(labels), LENGTH(predicted), LENGTH(broken_at) FROM verdicts ORDER BY audit_id")
        ).all()
    assert sum(sizes[0]) < 800
    assert tuple(sizes[1])[1:] == (1, 1)


def test_a_screening_goes_in_and_comes_out(store: Store, engine: Engine) -> None:
    screening = Screening(
        score=0.25, margin=0.03, local_gap=math.nan, gap=0.4, data_margin=math.inf, findings=("zero_gradients",),
        statistics={"margin/smooth": 0.03, "radius/leaves": math.nan}, reasons={"local_gap": "more than 100 classes"},
    )  # fmt: skip
    audit_id = done_audit(store, screening=screening)
    other = done_audit(store, "b", identity="j")
    by_id = {row.id: row for row in list_results(engine, Filter(), sort="-screen_score")}
    assert list(by_id) == [audit_id, other]
    row = by_id[audit_id]
    assert (row.screen_score, row.margin, row.local_gap, row.data_margin) == (0.25, 0.03, None, None)
    assert by_id[other].screen_score is None
    found = load_detail(engine, audit_id).screening
    assert (found.score, found.gap, found.findings, found.reasons) == (
        0.25,
        0.4,
        ("zero_gradients",),
        screening.reasons,
    )
    assert math.isnan(found.local_gap)
    assert found.statistics["margin/smooth"] == 0.03
    assert load_detail(engine, other).screening is None
    with engine.connect() as connection:
        view = connection.execute(text("SELECT screen_score, margin FROM leaderboard WHERE model = 'demo:a'")).one()
    assert tuple(view) == (0.25, 0.03)


def test_an_audit_that_ends_as_a_screen_joins_the_screens(store: Store, engine: Engine) -> None:
    """A triage attacks this model no more; its older attacked result stays the newest attacked one."""
    attacked = done_audit(store)
    _, (job,) = store.create_scan("demo", REQUEST, [entry()])
    assert store.finish(job.audit_id, store.claim(job.audit_id), record(identity="s", protocol="screen", n=0))
    rows = {row.id: row for row in list_results(engine, Filter())}
    assert rows.keys() == {attacked, job.audit_id}
    assert (rows[job.audit_id].protocol, rows[job.audit_id].samples) == ("screen", 0)
    assert rows[attacked].protocol == "quick"


def test_a_job_is_claimed_once(store: Store) -> None:
    _, (job,) = store.create_scan("demo", REQUEST, [entry()])
    assert store.claim(job.audit_id) == 1
    assert store.claim(job.audit_id) is None


def test_writes_of_an_old_attempt_are_refused(store: Store, engine: Engine) -> None:
    _, (job,) = store.create_scan("demo", REQUEST, [entry()])
    attempt = store.claim(job.audit_id)
    assert not store.finish(job.audit_id, attempt + 1, record())
    assert not store.fail(job.audit_id, attempt - 1, "late")
    assert list_results(engine, Filter()) == []
    assert store.finish(job.audit_id, attempt, record())
    assert not store.finish(job.audit_id, attempt, record(robust=0.9))
    assert not store.fail(job.audit_id, attempt, "late")
    (row,) = list_results(engine, Filter())
    assert row.robust_accuracy == 0.5


def test_cancel_ends_what_is_not_done(store: Store, engine: Engine) -> None:
    scan_id, jobs = store.create_scan("demo", REQUEST, [entry("a"), entry("b"), entry("c")])
    store.finish(jobs[0].audit_id, store.claim(jobs[0].audit_id), record())
    attempt = store.claim(jobs[1].audit_id)
    store.cancel(scan_id, "interrupted")
    states = {row.model: (row.status, row.reason) for row in list_results(engine, Filter(scan=scan_id))}
    cancelled = ("cancelled", "interrupted")
    assert states == {"demo:a": ("done", None), "demo:b": cancelled, "demo:c": cancelled}
    assert not store.finish(jobs[1].audit_id, attempt, record("b"))
    assert [row.model for row in list_results(engine, Filter())] == ["demo:a"]


def test_reuse_leaves_one_audit_and_makes_it_the_newest(store: Store, engine: Engine) -> None:
    first = done_audit(store, identity="old weights", robust=0.2)
    second = done_audit(store, identity="new weights", robust=0.8)
    assert [row.id for row in list_results(engine, Filter())] == [second]
    scan_id, (job,) = store.create_scan("demo", REQUEST, [entry()])
    attempt = store.claim(job.audit_id)
    assert store.find_done("demo:a", "old weights") == first
    assert store.find_done("demo:a", "no such") is None
    assert store.find_done("demo:b", "old weights") is None
    assert store.reuse(scan_id, job.audit_id, attempt, first)
    # The model has its old weights again: its old result is the one that holds.
    assert [row.id for row in list_results(engine, Filter())] == [first]
    assert [row.id for row in list_results(engine, Filter(scan=scan_id))] == [first]
    assert {row.id for row in list_results(engine, Filter(history=True))} == {first, second}


@pytest.mark.long
def test_four_writers_at_once(store: Store, engine: Engine) -> None:
    def write(number: int) -> None:
        for _ in range(10):
            done_audit(store, "shared")
            done_audit(store, f"own{number}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert len(list_results(engine, Filter(history=True))) == 80
    assert len(list_results(engine, Filter())) == 5


def test_filters_sort_and_limit(store: Store, engine: Engine) -> None:
    done_audit(store, "a", robust=0.1, flags=("zero_gradients",))
    done_audit(store, "b", robust=0.9)
    done_audit(store, "c", robust=math.nan)
    _, (job,) = store.create_scan("demo", REQUEST, [entry("d")])
    store.fail(job.audit_id, store.claim(job.audit_id), "no weights")

    def names(sort: str = "-robust_accuracy", limit: int | None = None, **filters: object) -> str:
        rows = list_results(engine, Filter(**filters), sort=sort, limit=limit)
        return "".join(row.model.removeprefix("demo:") for row in rows)

    assert names() == "bacd"
    assert names("robust_accuracy") == "abcd"
    assert names("model") == "abcd"
    assert names("-model", 2) == "dc"
    assert names(flagged=True) == "a"
    assert names(flagged=False, status="done") == "bc"
    assert names(status="failed") == "d"
    assert names(match="demo:[ab]") == "ba"
    assert names(model="demo:c") == "c"
    assert names(source="timm") == names(dataset="x") == names(protocol="full") == names(linearization="fold") == ""
    assert names(match="[ab]") == "ba"
    assert names(model="c") == "c"
    with pytest.raises(UsageError, match="cannot sort by 'beauty'"):
        names("beauty")
    with pytest.raises(UsageError, match="no status 'lost'"):
        names(status="lost")


@given(st.lists(st.booleans(), max_size=70))
def test_bits_survive_packing(bits: list[bool]) -> None:
    array = np.array(bits, np.bool_)
    np.testing.assert_array_equal(unpack_bits(pack_bits(array), len(bits)), array)


@given(st.lists(st.integers(0, 2**40)), st.integers(1, 9))
def test_indices_and_matrices_survive_packing(indices: list[int], size: int) -> None:
    np.testing.assert_array_equal(unpack_indices(pack_indices(np.array(indices, np.int64))), indices)
    matrix = np.random.default_rng(size).standard_normal((size, size))
    matrix[0, 0] = np.nan
    np.testing.assert_array_equal(unpack_matrix(pack_matrix(matrix), size), matrix.astype(np.float32))


@given(st.lists(st.integers(0, 2**40)) | st.lists(st.integers(0, 9)) | st.lists(st.just(999)))
def test_numbers_survive_packing_in_no_more_bytes_than_they_need(numbers: list[int]) -> None:
    packed = pack_numbers(np.array(numbers, np.int64))
    np.testing.assert_array_equal(unpack_numbers(packed), numbers)
    size = next(size for size in (1, 2, 4, 8) if max(numbers, default=0) < 2 ** (8 * size))
    assert len(packed) <= 1 + size * len(numbers)
