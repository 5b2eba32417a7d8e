"""Errors by class: against loops over samples, closed forms, and an enumeration of all relabellings."""

import math
from collections import OrderedDict
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sqlalchemy import text

from auditor.clustering.permutation import gap_p_value
from auditor.config import settings
from auditor.db.results import load_detail
from auditor.db.session import open_database
from auditor.db.store import Store
from auditor.records import Verdicts
from auditor.results import class_errors as module
from auditor.results.class_errors import NO_PAIRS, NOTHING_BROKEN, OLDER, ONE_SUPERCLASS, PRUNED, class_errors
from auditor.results.serialize import nan_to_none, serialize_detail
from tests.factories.records import done_audit

NAMES = ["a", "b", "c", "d", "e"]
FAMILIES = ["x", "x", "y", "y", "z"]


def verdicts(labels: list[int], clean: list[int], after: list[int]) -> Verdicts:
    """Samples by their true class, the class of the clean image, and that of the adversarial one."""
    true, first, last = (np.array(values, np.int64) for values in (labels, clean, after))
    predicted = np.where(first == true, last, first)
    survived = (first == true) & (last == true)
    return Verdicts(
        indices=np.arange(len(true)), correct=first == true, survived=survived, labels=true, predicted=predicted,
        broken_at=np.where((first == true) & ~survived, 0, -1),
    )  # fmt: skip


@st.composite
def samples(draw: st.DrawFn) -> Verdicts:
    """Samples of five classes, each class with at least one correctly classified one."""
    classes = st.integers(0, 4)
    rows = draw(st.lists(st.tuples(classes, classes, classes), min_size=1, max_size=40))
    rows += [(k, k, draw(classes)) for k in range(5)]
    return verdicts(*(list(column) for column in zip(*rows, strict=True)))


@pytest.mark.long
@given(samples())
def test_all_numbers_are_those_of_a_loop_over_samples(found: Verdicts) -> None:
    errors = class_errors(found, NAMES, FAMILIES, permutations=5)
    rows = list(zip(found.labels, found.predicted, found.correct, found.survived, strict=True))
    for i in range(5):
        one = errors.classes[i]
        mine = [row for row in rows if row[0] == i]
        assert (one.name, one.superclass, one.n) == (NAMES[i], FAMILIES[i], len(mine))
        assert (one.correct, one.survived) == (sum(row[2] for row in mine), sum(row[3] for row in mine))
        low, high = binomtest(one.survived, one.n).proportion_ci(method="wilson")
        assert (one.robust_accuracy, one.low, one.high) == pytest.approx((one.survived / one.n, low, high))
        for j in range(5):
            assert errors.confusion[i, j] == sum(row[1] == j for row in mine)
            into = sum(row[1] == j and row[2] and not row[3] for row in mine)
            assert errors.attack_success.matrix[i, j] == pytest.approx(into / one.correct)
    right = sum(FAMILIES[row[0]] == FAMILIES[row[1]] for row in rows)
    assert errors.superclass_robust_accuracy == pytest.approx(right / len(rows))
    broken = [row for row in rows if row[2] and not row[3]]
    assert errors.broken == len(broken)
    if broken:
        inside = sum(FAMILIES[row[0]] == FAMILIES[row[1]] for row in broken)
        assert errors.severity == pytest.approx(inside / len(broken))
        low, high = binomtest(inside, len(broken)).proportion_ci(method="wilson")
        assert (errors.severity_low, errors.severity_high) == pytest.approx((low, high))
        assert errors.severity_chance == pytest.approx(sum(0 if row[0] == 4 else 1 / 4 for row in broken) / len(broken))
    else:
        assert math.isnan(errors.severity)
        assert errors.reasons["severity"] == errors.attack_success.scores.reasons["gap"] == NOTHING_BROKEN


@pytest.mark.long
@given(samples())
def test_the_p_value_is_the_share_of_all_relabellings_that_are_at_least_as_mild(found: Verdicts) -> None:
    errors = class_errors(found, NAMES, FAMILIES)
    broken = found.correct & ~found.survived
    if not broken.any():
        assert math.isnan(errors.severity_p_value)
        return
    first, last = found.labels[broken], found.predicted[broken]
    shares = [np.mean([labels[i] == labels[j] for i, j in zip(first, last, strict=True)])
              for labels in permutations(FAMILIES)]  # fmt: skip
    assert errors.severity_p_value == pytest.approx(np.mean([share >= errors.severity - 1e-12 for share in shares]))


def test_many_relabellings_are_drawn_and_the_observed_one_counts() -> None:
    """Twelve classes in pairs, and every broken sample becomes its sibling: hardly any relabelling is as mild."""
    labels = list(range(12)) * 3
    found = verdicts(labels, labels, [k ^ 1 for k in labels])
    errors = class_errors(found, [str(k) for k in range(12)], [str(k // 2) for k in range(12)], permutations=99)
    assert (errors.severity, errors.severity_p_value) == (1, 1 / 100)
    assert errors.severity_chance == pytest.approx(1 / 11)
    assert errors.attack_success.scores.gap == 1


def test_the_scores_of_attack_success_are_those_of_its_symmetric_half() -> None:
    found = verdicts([0, 0, 1, 2, 2, 3, 4], [0, 0, 1, 2, 2, 3, 4], [1, 0, 1, 3, 3, 0, 4])
    errors = class_errors(found, NAMES, FAMILIES)
    # a to b: 1/2, c to d: 1, d to a: 1; halved by the way back, and then by the largest, 1/2
    pairs = {(0, 1): 0.5, (2, 3): 1.0, (0, 3): 1.0}
    scores = errors.attack_success.scores
    assert scores.intra == pytest.approx((pairs[0, 1] + pairs[2, 3]) / 2)
    assert scores.inter == pytest.approx(pairs[0, 3] / 8)
    assert scores.gap == pytest.approx(scores.intra - scores.inter)
    assert sorted(scores.leaf_order) == list(range(5))
    assert math.isnan(scores.effective_rank)


def test_c_says_where_each_broken_sample_would_go() -> None:
    found = verdicts([0, 0, 2, 4], [0, 0, 2, 4], [1, 3, 0, 0])
    c = np.eye(5) + 0.1 * (np.arange(5) == 1)  # all but b itself are nearest to b, and b to a
    errors = class_errors(found, NAMES, FAMILIES, c=c)
    assert (errors.severity, errors.severity_by_c) == (0.25, 0.5)
    assert "severity_by_c" not in errors.reasons
    c[3] = c[:, 3] = math.nan
    for matrix, reason in ((c, "C is not defined for a class"), (None, "no C")):
        errors = class_errors(found, NAMES, FAMILIES, c=matrix, no_c="no C")
        assert math.isnan(errors.severity_by_c)
        assert errors.reasons == {"severity_by_c": reason}


@pytest.mark.parametrize(("families", "reason"), [(NAMES, NO_PAIRS), (["x"] * 5, ONE_SUPERCLASS)])
def test_without_a_hierarchy_nothing_is_said_of_superclasses(families: list[str], reason: str) -> None:
    errors = class_errors(verdicts([0, 1], [0, 1], [1, 1]), NAMES, families)
    assert errors.reasons["severity"] == errors.reasons["superclass_robust_accuracy"] == reason
    values = (errors.superclass_robust_accuracy, errors.severity, errors.severity_chance, errors.severity_p_value)
    assert all(map(math.isnan, values))
    assert errors.confusion.tolist()[0] == [0, 1, 0, 0, 0]


def test_a_class_without_correct_samples_has_no_success_rate() -> None:
    errors = class_errors(verdicts([0, 1], [0, 2], [1, 2]), NAMES, FAMILIES)
    assert np.isnan(errors.attack_success.matrix[1:]).all()
    assert errors.attack_success.matrix[0].tolist() == [0, 1, 0, 0, 0]
    assert errors.attack_success.scores.reasons["gap"] == "a class has no correctly classified sample"
    assert math.isnan(errors.classes[2].robust_accuracy)
    assert errors.severity == 1


def test_a_thousand_classes_take_fewer_permutations(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(module, "gap_p_value", lambda *given: asked.append(given[2]) or 0.5)
    for classes in (200, 201):
        class_errors(verdicts([0], [0], [1]), list(map(str, range(classes))), ["x", "x"] + ["y"] * (classes - 2))
    assert asked == [9999, 999]


def test_a_test_is_made_once_for_the_same_verdicts_and_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages compute the errors at each view."""
    monkeypatch.setattr(module, "_tests", OrderedDict())
    monkeypatch.setattr(module, "MOST_TESTS", 3)
    seeds: list[int] = []
    monkeypatch.setattr(module, "gap_p_value", lambda *given: seeds.append(given[-1]) or gap_p_value(*given))
    found = verdicts([0, 1, 2, 3, 4], [0, 1, 2, 3, 4], [1, 0, 2, 4, 3])
    first = class_errors(found, NAMES, FAMILIES, permutations=5)
    again = class_errors(found, NAMES, FAMILIES, permutations=5)
    assert len(seeds) == 1
    assert again.severity_p_value == first.severity_p_value
    assert again.attack_success.scores.p_value == first.attack_success.scores.p_value
    class_errors(found, NAMES, FAMILIES, permutations=5, seed=1)
    class_errors(found, NAMES, ["x", "y", "x", "y", "z"], permutations=5)
    class_errors(verdicts([0, 1, 2, 3, 4], [0, 1, 2, 3, 4], [1, 0, 3, 4, 3]), NAMES, FAMILIES, permutations=5)
    assert seeds == [0, 1, 0, 0]
    assert len(module._tests) == 3
    class_errors(found, NAMES, FAMILIES, permutations=5)  # is no longer kept
    assert len(seeds) == 5


def test_a_stored_audit_with_and_without_its_classes() -> None:
    engine = open_database(settings().database_url)
    audit_id = done_audit(Store(engine))
    shown = nan_to_none(serialize_detail(load_detail(engine, audit_id)))["errors"]
    assert shown["confusion"] == [[1, 0, 0], [0, 0, 1], [0, 1, 0]]
    assert [row["survived"] for row in shown["classes"]] == [1, 0, 0]
    assert (shown["broken"], shown["severity"], shown["severity_chance"]) == (1, 0, 0.5)
    assert shown["attack_success"]["matrix"] == [[0, 0, 0], [0, 0, 1], [None, None, None]]
    for statement, reason in (("UPDATE verdicts SET labels = NULL", OLDER), ("DELETE FROM verdicts", PRUNED)):
        with engine.begin() as connection:
            connection.execute(text(statement))
        shown = nan_to_none(serialize_detail(load_detail(engine, audit_id)))["errors"]
        assert (shown["classes"], shown["confusion"], shown["severity"]) == ([], None, None)
        assert shown["reasons"] == {"classes": reason}
    screened = done_audit(Store(engine), "b", identity="j", attacks=(), verdicts=None)
    assert serialize_detail(load_detail(engine, screened))["errors"] is None


def test_the_order_of_samples_does_not_matter() -> None:
    found = verdicts([0, 1, 2, 3, 4, 0], [0, 1, 2, 3, 4, 1], [1, 1, 3, 0, 4, 1])
    order = [3, 1, 5, 0, 2, 4]
    names = ("indices", "correct", "survived", "labels", "predicted", "broken_at")
    turned = replace(found, **{name: getattr(found, name)[order] for name in names})
    one, other = (class_errors(each, NAMES, FAMILIES) for each in (found, turned))
    np.testing.assert_array_equal(one.confusion, other.confusion)
    assert (one.severity, one.severity_p_value, one.classes) == (other.severity, other.severity_p_value, other.classes)
