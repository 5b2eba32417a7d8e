"""``auditor results compare``: the numbers, and results that cannot be compared."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from scipy.stats import binomtest

from auditor.records.certificates import Certificate, CertificateMethod
from auditor.statistics import Paired, wilson_interval
from tests.factories.audits import N, audited, compare
from tests.factories.command import run
from tests.factories.curves import curve_of


def test_the_better_one_wins_whichever_comes_first() -> None:
    number = audited("strong", 80)
    audited("middling", 60)
    for names, sign in ((("demo:strong", "demo:middling"), 1), (("middling", "strong"), -1)):
        found = compare(*names)
        robust = found["robust"]
        table = Paired(60, 20, 0, 20) if sign == 1 else Paired(60, 0, 20, 20)
        assert [robust[key] for key in ("both", "only_a", "only_b", "neither")] == list(dataclasses.astuple(table))
        assert robust["difference"] == pytest.approx(0.2 * sign)
        assert (robust["low"], robust["high"]) == pytest.approx(table.interval())
        assert robust["mcnemar_p"] == pytest.approx(binomtest(20, 20).pvalue)
        assert found["clean"]["mcnemar_p"] == 1
        assert found["more_robust"] == {"model": "demo:strong", "id": number}
        assert "demo:strong@1 is more robust than demo:middling@2: by 20.0 points" in found["verdict"]
        assert (found["a"]["gap"], found["b"]["gap"]) == (0.4, 0.4)


def test_chance_is_no_difference_and_flags_are_no_verdict() -> None:
    audited("middling", 60)
    audited("twin", 62)
    audited("odd", 50, flags=("zero_gradients",))
    assert compare("middling", "twin")["verdict"].startswith("no significant difference in robustness: -2.0 points")
    flagged = compare("middling", "odd")
    assert flagged["more_robust"] is None
    assert "demo:odd@3 is flagged (zero_gradients)" in flagged["verdict"]


def test_only_the_shared_samples_count() -> None:
    audited("strong", 80)
    audited("middling", 90, numbers=range(40, 190))
    found = compare("strong", "middling")
    assert (found["n"], found["robust"]["both"], found["robust"]["neither"]) == (60, 40, 0)
    assert (found["a"]["n"], found["b"]["n"]) == (100, 150)


def test_the_pair_with_most_images_is_chosen_and_an_id_names_another() -> None:
    few = audited("strong", 10, numbers=range(20))
    audited("strong", 80)
    audited("middling", 60)
    assert compare("strong", "middling")["n"] == N
    assert compare(f"strong@{few}", "middling")["n"] == 20
    assert compare(f"demo:strong@{few}", "strong")["robust"]["both"] == 10


def test_the_table_for_people() -> None:
    audited("strong", 80)
    audited("middling", 60)
    shown = run("results", "compare", "strong", "middling").stdout
    assert "quick, Linf 0.1, 100 samples of both" in shown
    assert "survive every attack" in shown
    low, high = Paired(60, 20, 0, 20).interval()
    assert f"+20.0 ({100 * low:+.1f} to {100 * high:+.1f})" in shown
    assert "is more robust than" in shown.splitlines()[-1]


def _certificate(method: CertificateMethod, certified: int) -> Certificate:
    """A certificate of the first samples of N."""
    low, high = wilson_interval(certified, N)
    return Certificate(
        method=method,
        parameters={"by_intervals": certified, "by_lines": 0} if method == "bounds" else {"sigma": 0.25},
        certified=np.arange(N) < certified,
        accuracy=certified / N,
        low=low,
        high=high,
    )


def test_certified_accuracies_are_shown_where_a_result_has_one() -> None:
    audited("strong", 80)
    audited("middling", 60)
    assert "certified" not in run("results", "compare", "strong", "middling").stdout
    audited("proven", 70, certificate=_certificate("bounds", 55))
    audited("smoothed", 70, certificate=_certificate("smoothing", 40))
    shown = run("results", "compare", "proven", "middling").stdout
    assert ["certified", "55.0", "–"] in [line.split() for line in shown.splitlines()]
    found = compare("strong", "proven")
    assert [found[side]["certified_accuracy"] for side in "ab"] == [None, 0.55]
    smoothed = run("results", "compare", "proven", "smoothed").stdout
    assert ["smoothed", "certified", "–", "40.0"] in [line.split() for line in smoothed.splitlines()]
    assert "smoothed certified: of the smoothed model" in smoothed
    audited("unproven", 70, certificate=_certificate("bounds", 0))
    assert "certified 0: " in run("results", "compare", "proven", "unproven").stdout


def test_curves_of_different_searches_are_not_compared() -> None:
    sizes = [0.1] * N
    audited("old", 80, curve=curve_of(sizes, search="minimal"))
    audited("new", 60, curve=curve_of(sizes))
    found = compare("old", "new")
    assert found["curves"] is None
    shown = run("results", "compare", "old", "new").stdout
    assert "curves not compared: measured by different searches, minimal and minimal-2; repeat the older" in shown
    audited("newer", 60, curve=curve_of(sizes))
    assert compare("new", "newer")["curves"]["ties"] == N


@pytest.mark.long
@pytest.mark.parametrize(
    ("other", "arguments", "message"),
    [
        ({"data": 1}, ("a", "b"), "100 of the 100 samples that share a number are not the same picture"),
        ({"numbers": range(N, 2 * N)}, ("a", "b"), "share no samples"),
        ({"digest": None}, ("a", "b"), "--force"),
        ({"dataset": "cifar10"}, ("a", "b"), "demo:a has the dataset fashion_mnist, demo:b cifar10"),
        ({"norm": "L2"}, ("a", "b"), "demo:a has the norm Linf, demo:b L2"),
        ({"eps": 0.05}, ("a", "b"), "demo:a was attacked within eps 0.1, demo:b within 0.05"),
        ({"protocol": "standard"}, ("a", "b"), "has the protocol quick, demo:b standard"),
        ({"protocol": "screen"}, ("a", "b"), "demo:b was not attacked under screen"),
        ({}, ("a", "a"), "both are the same result"),
        ({}, ("a", "c"), "no result of 'c'"),
        ({}, ("demo:a", "demo:bb"), "did you mean demo:b"),
        ({}, ("a", "b@77"), "with id 77"),
        ({}, ("a", "b", "--protocol", "full"), "under full"),
    ],
)
def test_results_that_differ_in_their_setting_are_refused(other: dict, arguments: tuple, message: str) -> None:
    audited("a", 50)
    audited("b", 50, **other)
    result = run("results", "compare", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.long
def test_compare_never_imports_torch() -> None:
    audited("a", 50)
    audited("b", 20)
    code = (
        "import sys\nfrom auditor.cli import main\n"
        "try:\n    main(['results', 'compare', 'a', 'b'])\nexcept SystemExit as end:\n    assert not end.code\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_equal_robust_accuracies_share_a_rank() -> None:
    for name, robust in (("a", 80), ("b", 60), ("c", 60), ("d", 60), ("e", 20)):
        audited(name, robust)
    audited("f", 80, flags=("randomized",))
    lines = run("results", "list").stdout.splitlines()[2:8]
    assert [line.split()[:2] for line in lines] == [
        ["1", "demo:a"], ["2", "demo:b"], ["2", "demo:c"], ["2", "demo:d"], ["5", "demo:e"], ["–", "demo:f"],
    ]  # fmt: skip
