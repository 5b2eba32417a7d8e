"""Audits under corruptions are compared by the share of corruptions under which each image is right."""

import numpy as np
import pytest
from scipy.stats import ttest_rel

from auditor.config import settings
from auditor.db.results import Filter, list_results, load_detail
from auditor.db.session import open_database
from auditor.db.store import Store
from auditor.records.comparisons import ModelAt, OnlyOne
from auditor.results.comparison import compare_details
from auditor.results.corruptions import by_corruption, by_severity
from auditor.results.group_comparison import compare_group
from auditor.results.regressions import find_regressions, regression_p_value
from auditor.statistics import mean_interval, wilson_interval
from tests.factories.corruptions import corrupted_audit, corruption_scores

RANDOM = np.random.default_rng(3)
CHANCE = RANDOM.random(40)
GOOD = RANDOM.random((75, 40)) < CHANCE
WORSE = GOOD & (RANDOM.random((75, 40)) < 0.9)


def test_a_drop_that_no_worst_case_shows_is_a_regression() -> None:
    """No image is right under all corruptions, before or after: McNemar's test on that would see nothing."""
    assert not GOOD.all(0).any()
    engine = open_database(settings().database_url)
    store = Store(engine)
    before, after = (corrupted_audit(store, right) for right in (GOOD, WORSE))
    rows = {row.id: row for row in list_results(engine, Filter(history=True))}
    expected = ttest_rel(GOOD.mean(0), WORSE.mean(0), alternative="greater").pvalue
    assert regression_p_value(engine, rows[before], rows[after]) == pytest.approx(expected)
    assert expected < 1e-6
    (found,) = find_regressions(engine, rows[before], rows[after])
    assert "one-sided paired t-test p" in found
    assert list(find_regressions(engine, rows[after], rows[before])) == []


def test_a_comparison_is_the_paired_t_test() -> None:
    engine = open_database(settings().database_url)
    first, second = (corrupted_audit(Store(engine), right, name=name) for right, name in ((WORSE, "a"), (GOOD, "b")))
    found = compare_details(load_detail(engine, first), load_detail(engine, second))
    expected = ttest_rel(WORSE.mean(0), GOOD.mean(0))
    ends = expected.confidence_interval()
    robust = found.robust
    assert (robust.a, robust.b) == pytest.approx((WORSE.mean(), GOOD.mean()))
    assert (robust.low, robust.high, robust.p_value) == pytest.approx((*ends, expected.pvalue))
    assert (robust.both, robust.mcnemar_p, found.samples) == (None, None, OnlyOne(only_a=(), only_b=()))
    assert found.more_robust == ModelAt(model="demo:b", id=second)
    assert "paired t-test p" in found.verdict
    group = compare_group(engine, ["demo:a", "demo:b"])
    assert group.only is None


def test_the_table_of_corruptions() -> None:
    scores = corruption_scores(GOOD)
    table = by_corruption(scores)
    assert len(table) == 15
    for number, row in enumerate(table):
        part = GOOD[5 * number : 5 * number + 5]
        assert (row.accuracy, row.low, row.high) == pytest.approx(mean_interval(part.mean(0)))
        assert row.severities == pytest.approx(part.mean(1))
        assert (row.lows[2], row.highs[2]) == wilson_interval(int(part[2].sum()), 40)
    assert by_severity(scores) == pytest.approx(GOOD.reshape(15, 5, 40).mean((0, 2)))
