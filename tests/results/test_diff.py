"""Scans side by side, and done audits measured again."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest
from sqlalchemy import Engine

from auditor.config import settings
from auditor.db.results import Filter, list_results
from auditor.db.session import open_database
from auditor.db.store import Store
from auditor.errors import UsageError
from auditor.records import AuditRecord, AuditRequest, JobContext, Measurement, Verdicts
from auditor.results.diff import NOT_REPRODUCED, diff_scans
from auditor.results.reverify import flag_difference, longest_unverified
from auditor.scans.local import LocalExecutor
from auditor.scans.request import ScanRequest
from tests.factories.curves import curve_of
from tests.factories.records import entry, record
from tests.factories.reporters import Nowhere, Silent

N = 200


@pytest.fixture
def store() -> Store:
    return Store(open_database(settings().database_url))


def made(name: str, robust: int, *, gap: float = 0.4, seed: int = 0, **changes: Any) -> AuditRecord:
    """A record of ``robust`` of N samples that survive, the first ones."""
    survived = np.arange(N) < robust
    verdicts = Verdicts(
        indices=np.arange(N),
        correct=np.ones(N, np.bool_),
        survived=survived,
        pictures=np.arange(N).astype(np.uint64),
    )
    one = record(name, f"{name}-{robust}-{gap}-{seed}", robust / N, verdicts=verdicts, n=N, images_sha256="images")
    part = one.clusterings[0]
    return replace(one, clusterings=(replace(part, scores=replace(part.scores, gap=gap)),), **changes)


def scan(store: Store, records: dict[str, AuditRecord | str], **options: Any) -> int:
    """A scan that finds these records, or fails with these words."""

    def measure(_: Any, one: Any, __: Any, context: JobContext) -> AuditRecord | None:
        found = records[one.model.removeprefix("demo:")]
        if isinstance(found, str):
            raise ValueError(found)
        return found if context.needs_measuring(found.identity) else None

    request = ScanRequest(measurement=Measurement(audit=AuditRequest(protocol="quick"), samples=None), **options)
    entries = [entry(name) for name in records]
    executor = LocalExecutor(store=store, measure=measure, reporter=Silent())
    return executor.run_scan(Nowhere(), "demo", entries, request).scan_id


def test_new_gone_changed_failed_and_worse(store: Store) -> None:
    base = {name: made(name, 150) for name in "abcdefg"}
    first = scan(store, base)
    second = scan(
        store,
        {
            "a": base["a"],
            "b": "broken now",
            "c": made("c", 120, weights_sha256="v" * 64),
            "d": made("d", 149, weights_sha256="v" * 64),
            "e": made("e", 150, gap=0.1),
            "f": made("f", 150, seed=1, flags=("zero_gradients",)),
            "h": made("h", 10),
        },
    )
    found = diff_scans(store.engine, first, second, gap_drop=0.1)
    models = {name: f"demo:{name}" for name in "abcdefgh"}
    assert found.new == [models["h"]]
    assert found.gone == [models["g"]]
    assert found.same == [models["a"]]
    assert found.failed.keys() == {models["b"]}
    assert found.changed == {
        models["c"]: "other weights",
        models["d"]: "other weights",
        models["e"]: "the same weights, other images or settings",
        models["f"]: "the same weights, other images or settings",
    }
    assert found.regressions.keys() == {models[name] for name in "bcef"}
    assert found.regressions[models["c"]][0].startswith("a robust accuracy of 60.0 % instead of 75.0 %")
    assert found.regressions[models["e"]] == ["a gap of 0.10 instead of 0.40"]
    assert found.regressions[models["f"]] == ["the new flag zero_gradients"]
    assert found.alarming
    assert not diff_scans(store.engine, first, second, gap_drop=0.5).regressions.keys() & {models["e"]}
    assert not diff_scans(store.engine, first, first, gap_drop=0).alarming
    assert diff_scans(store.engine, None, first, gap_drop=0).new == []


def test_what_stopped_early_is_not_compared(store: Store) -> None:
    first = scan(store, {"a": made("a", 190, flags=("stopped_early",))})
    second = scan(store, {"a": made("a", 10, flags=("stopped_early",))})
    found = diff_scans(store.engine, first, second, gap_drop=0.1)
    assert found.not_compared == {"demo:a": "stopped early, so on other images"}
    assert not found.alarming


def test_no_such_scan(store: Store) -> None:
    with pytest.raises(UsageError, match="there is no scan 7"):
        diff_scans(store.engine, None, 7, gap_drop=0)


def test_measured_again_and_the_same(store: Store) -> None:
    base = {name: made(name, 150) for name in "ab"}
    first = scan(store, base)
    second = scan(store, base, reverify=("demo:a",))
    found = diff_scans(store.engine, first, second, gap_drop=0.1)
    assert (found.reverified, found.not_reproduced, sorted(found.same)) == (["demo:a"], [], ["demo:a", "demo:b"])
    assert len(list_results(store.engine, Filter(history=True))) == 2, "what came to the same is not stored twice"


def test_measured_again_and_not_the_same_is_flagged_and_said(store: Store) -> None:
    base = {"a": made("a", 150)}
    first = scan(store, base)
    other = made("a", 149)
    second = scan(store, {"a": replace(other, identity=base["a"].identity)}, reverify=("demo:a",))
    found = diff_scans(store.engine, first, second, gap_drop=0.1)
    assert found.not_reproduced == ["demo:a"]
    assert found.alarming
    (row,) = list_results(store.engine, Filter())
    assert row.flags == [NOT_REPRODUCED]
    assert "other verdicts on 1 of 200 samples" in row.notes[-1]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, None),
        ({"gap": 0.4004}, None),
        ({"gap": 0.42}, "a gap of 0.4200 (weights) instead of 0.4000"),
        ({"robust": 140}, "other verdicts on 10 of 200 samples"),
    ],
)
def test_what_counts_as_the_same(store: Store, changes: dict[str, Any], words: str | None) -> None:
    scan(store, {"a": made("a", 150)})
    ((number,),) = [[row.id] for row in list_results(store.engine, Filter())]
    found = flag_difference(store.engine, number, made("a", **{"robust": 150, **changes}))
    assert (found is None) == (words is None)
    assert words is None or words in found.notes[-1]


def test_each_model_gets_its_turn(store: Store) -> None:
    names = "abcde"
    for name in names:
        scan(store, {name: made(name, 150)})
    request = ScanRequest(measurement=Measurement(audit=AuditRequest(protocol="quick"), samples=None)).to_json()
    engine: Engine = store.engine
    turns = []
    entries = [entry(name) for name in names]
    for _ in range(3):
        turn = longest_unverified(engine, entries, request, 2)
        turns.append([model.removeprefix("demo:") for model in turn])
        scan(store, {name: made(name, 150) for name in names}, reverify=tuple(turn))
    assert turns == [["a", "b"], ["c", "d"], ["e", "a"]]
    assert longest_unverified(engine, [entry("z")], request, 2) == []


def test_chance_among_many_models_is_no_regression(store: Store) -> None:
    """One model of twenty loses 5 samples and gains none: p is 0.031, as chance explains among twenty."""
    names = [f"m{i}" for i in range(20)]
    before = scan(store, {name: made(name, 100) for name in names})
    after = scan(store, {name: made(name, 95 if name == "m0" else 100, seed=1) for name in names})
    assert diff_scans(store.engine, before, after, gap_drop=None).regressions == {}
    worse = scan(store, {name: made(name, 80 if name == "m0" else 100, seed=2) for name in names})
    assert list(diff_scans(store.engine, before, worse, gap_drop=None).regressions) == ["demo:m0"]


@pytest.mark.parametrize(
    ("smaller", "larger", "worse"), [(30, 10, True), (30, 20, False), (10, 30, False), (0, 0, False)]
)
def test_smaller_critical_radii_are_a_regression(store: Store, smaller: int, larger: int, worse: bool) -> None:
    """The same verdicts at eps: only the curves tell the two results apart. By the sign test, one-sided."""
    sizes = np.linspace(0.05, 0.3, N)
    change = np.ones(N)
    change[:smaller], change[smaller : smaller + larger] = 0.9, 1.1
    before = scan(store, {"a": made("a", 150, curve=curve_of(sizes))})
    after = scan(store, {"a": made("a", 150, seed=1, curve=curve_of(sizes * change))})
    found = diff_scans(store.engine, before, after, gap_drop=0.1).regressions
    p = binomtest(smaller, smaller + larger, alternative="greater").pvalue if smaller + larger else 1.0
    assert (p <= 0.05) == worse
    reason = "a smaller critical radius on more samples than a larger one (one-sided sign test p"
    assert [reasons[0].startswith(reason) for reasons in found.values()] == [True] * worse


def test_curves_of_different_searches_are_not_compared_and_a_line_says_so(store: Store) -> None:
    sizes = np.linspace(0.05, 0.3, N)
    before = scan(store, {"a": made("a", 150, curve=curve_of(sizes, search="minimal"))})
    after = scan(store, {"a": made("a", 150, seed=1, curve=curve_of(0.9 * sizes))})
    found = diff_scans(store.engine, before, after, gap_drop=0.1)
    assert found.regressions == {}
    assert "curves not compared: measured by different searches, minimal and minimal-2" in str(found.not_compared)


def test_one_curve_alone_is_no_regression(store: Store) -> None:
    before = scan(store, {"a": made("a", 150, curve=curve_of(np.full(N, 0.2)))})
    after = scan(store, {"a": made("a", 150, seed=1)})
    assert diff_scans(store.engine, before, after, gap_drop=0.1).regressions == {}


def test_chance_among_many_curves_is_no_regression(store: Store) -> None:
    """One curve of twenty has 5 smaller sizes and no larger one: p is 0.031, as chance explains among twenty."""
    sizes, few = np.full(N, 0.2), np.where(np.arange(N) < 5, 0.1, 0.2)
    names = [f"m{i}" for i in range(20)]
    before = scan(store, {name: made(name, 100, curve=curve_of(sizes)) for name in names})
    after = {name: made(name, 100, seed=1, curve=curve_of(few if name == "m0" else sizes)) for name in names}
    assert diff_scans(store.engine, before, scan(store, after), gap_drop=None).regressions == {}
