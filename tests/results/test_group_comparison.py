"""Two to five results beside each other: which settings differ, the tests of every two, what only one withstands."""

import itertools

import pytest
from scipy.stats import binomtest

from auditor.config import settings
from auditor.db.session import open_database
from auditor.errors import NotFoundError, UsageError
from auditor.results.comparison import compare
from auditor.results.group_comparison import GroupComparison, compare_group
from auditor.statistics import holm
from tests.factories.audits import audited


def group(*names: str) -> GroupComparison:
    return compare_group(open_database(settings().database_url), names)


def test_two_results_are_compared_as_the_command_does() -> None:
    audited("a", 70)
    audited("b", 50, first=10)
    found = group("demo:a", "b")
    (pair,) = found.pairs
    assert pair.found == compare(open_database(settings().database_url), "a", "b", None)
    assert found.only == (tuple(range(10)) + tuple(range(60, 70)), ())
    assert (found.shared, found.differences) == (100, ())


@pytest.mark.parametrize("count", [3, 5])
def test_only_one_of_all_withstands(count: int) -> None:
    """Model k withstands samples 10 k to 10 k + 49."""
    for k in range(count):
        audited(f"m{k}", 50, first=10 * k)
    found = group(*(f"m{k}" for k in range(count)))
    assert len(found.pairs) == count * (count - 1) // 2
    withstands = [set(range(10 * k, 10 * k + 50)) for k in range(count)]
    for k, only in enumerate(found.only):
        others = set().union(*(withstands[j] for j in range(count) if j != k))
        assert set(only) == withstands[k] - others
    p_values = [binomtest(10 * (b - a), 20 * (b - a)).pvalue for a, b in itertools.combinations(range(count), 2)]
    assert [pair.adjusted["robust"] for pair in found.pairs] == pytest.approx(holm(p_values))
    assert {pair.found.more_robust for pair in found.pairs} == {None}


def test_the_adjusted_p_value_decides_among_three() -> None:
    audited("a", 54)
    audited("b", 49)
    audited("c", 48)
    assert compare(open_database(settings().database_url), "a", "c", None).more_robust.model == "demo:a"
    found = group("a", "b", "c")
    verdicts = {(pair.first, pair.second): pair.found.verdict for pair in found.pairs}
    assert verdicts[1, 2].startswith("no significant difference")
    assert "McNemar p, adjusted, 0.094" in verdicts[0, 2]
    audited("far", 5)
    assert "(B minus C: 95 % interval" in group("a", "b", "far").pairs[2].found.verdict


@pytest.mark.long
@pytest.mark.parametrize(
    ("changes", "name", "values", "obstacle"),
    [
        ({"norm": "L2"}, "norm", ("Linf", "L2"), "demo:a has the norm Linf, demo:b L2"),
        ({"dataset": "digits"}, "data set", ("fashion_mnist", "digits"), "demo:a has the dataset fashion_mnist"),
        ({"eps": 0.2}, "ε", ("0.1", "51/255"), "within eps 0.1"),
        ({"protocol": "standard"}, "protocol", ("quick", "standard"), "protocol"),
        ({"data": 1}, "digest of the images", None, "are not the same picture"),
        ({"numbers": range(100, 200)}, None, None, "share no samples"),
        ({"digest": None}, "digest of the images", None, "before auditor recorded the images"),
        ({"seed": 3}, "seed", ("0", "3"), None),
        ({"linearization": "fold"}, "batch norm", ("removed", "folded"), None),
        ({"numbers": range(50)}, "number of images", ("100", "50"), None),
    ],
)
def test_settings_that_differ_are_named(
    changes: dict, name: str | None, values: tuple[str, str] | None, obstacle: str | None
) -> None:
    audited("a", 40)
    audited("b", 20, **changes)
    found = group("a", "b")
    if name:
        named = dict(found.differences)
        assert name in named
        assert values is None or named[name] == values
    (pair,) = found.pairs
    if obstacle:
        assert obstacle in pair.obstacle
        assert found.only is None
    else:
        assert pair.obstacle is None


def test_pairs_that_fit_are_compared_beside_one_that_does_not() -> None:
    audited("a", 40)
    audited("b", 20)
    audited("c", 20, norm="L2")
    found = group("a", "b", "c")
    assert [pair.obstacle is None for pair in found.pairs] == [True, False, False]
    assert found.pairs[0].adjusted["robust"] == found.pairs[0].found.robust.mcnemar_p
    assert found.only is None


def test_of_several_results_those_of_one_setting_are_chosen() -> None:
    first = audited("a", 40, norm="L2")
    audited("a", 40)
    audited("b", 40)
    second = audited("b", 30, norm="L2", numbers=range(60))
    audited("c", 20, norm="L2")
    assert [one.row.norm for one in group("a", "b", "c").details] == ["L2"] * 3
    assert [one.row.norm for one in group("a", "b").details] == ["Linf"] * 2
    assert [one.row.id for one in group(f"a@{first}", f"demo:b@{second}").details] == [first, second]


@pytest.mark.parametrize(
    ("names", "error", "words"),
    [
        (["a"], UsageError, "expected 2 to 5 models, got 1"),
        (["a"] * 6, UsageError, "expected 2 to 5 models, got 6"),
        (["a", "nothing"], NotFoundError, "no result of 'nothing'"),
        (["a", "a"], UsageError, "are the same result"),
        (["a", "b", "b"], UsageError, "b and b are the same result"),
    ],
)
def test_what_cannot_be_compared(names: list[str], error: type[Exception], words: str) -> None:
    audited("a", 40)
    audited("b", 20)
    with pytest.raises(error, match=words):
        group(*names)
