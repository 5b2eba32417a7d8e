"""What the gap depends on: differences and deviations against NumPy, on rows and cells whose answer is known."""

import math
from typing import Any

import numpy as np
import pytest

from benchmarks.study.gap import (
    GRID_FAMILIES,
    GRID_TRAININGS,
    SEEDS,
    Cell,
    by_epochs,
    by_training,
    conclusions,
    describe,
    differences,
    grid,
    mean_estimate,
    standard_deviations,
    usable,
)

GAPS = {"standard": (0.1, 0.3, 0.2, 0.4), "at": (0.5, 1.0, 0.4, 0.9)}


def rows() -> list[dict[str, Any]]:
    return [
        {
            "model": f"{data}/{family}/{training}", "norm": "Linf", "final": False, "clean": 0.9, "width": 1,
            "data": data, "family": family, "training": training,
            "measures": {"gap/remove": gap, "gap/fold": gap - 0.1},
            "robust": {"1": 0.6 if training == "at" else 0.0},
        }
        for training, gaps in GAPS.items()
        for (data, family), gap in zip(
            [(data, family) for data in ("fashion_mnist", "glyphs") for family in ("plain", "vgg")], gaps, strict=True
        )
    ]  # fmt: skip


def cells() -> dict[Cell, dict[str, float]]:
    random = np.random.default_rng(0)
    return {cell: {"gap/remove": float(random.normal())} for cell in grid()}


def test_differences_are_of_models_of_one_family_and_data_set() -> None:
    assert sorted(differences(rows(), "at", "standard")) == pytest.approx([0.2, 0.4, 0.5, 0.7])
    assert differences(rows()[:-1], "at", "standard") == pytest.approx([0.4, 0.7, 0.2])
    assert differences(rows(), "trades", "at") == []


def test_a_mean_has_an_interval_and_few_values_have_none() -> None:
    found = mean_estimate([0.4, 0.7, 0.2, 0.5])
    assert found.value == pytest.approx(0.45)
    assert 0.2 <= found.low < 0.45 < found.high <= 0.7
    assert math.isnan(mean_estimate([0.4, 0.7]).value)


@pytest.mark.parametrize("change", [{"clean": 0.3}, {"final": True}, {"norm": "L2"}, {"width": 2}])
def test_rows_that_do_not_count(change: dict[str, Any]) -> None:
    assert len(usable(rows())) == 8
    assert len(usable([rows()[0] | change, *rows()[1:]])) == 7


def test_deviations_are_those_within_a_family_and_training() -> None:
    found = standard_deviations(cells())
    for name, seeds in (("initial weights", SEEDS[:3]), ("order of the data", (SEEDS[0], *SEEDS[3:]))):
        variances = [
            np.var([cells()[Cell(family, training, 3, *pair)]["gap/remove"] for pair in seeds], ddof=1)
            for family in GRID_FAMILIES
            for training in GRID_TRAININGS
        ]
        assert found[name] == pytest.approx(np.sqrt(np.mean(variances)))


def test_lengths_are_compared_over_initial_weights_alone() -> None:
    found = by_epochs(cells())
    assert {len(values) for values in found.values()} == {3}
    assert {epochs for _, _, epochs in found} == {1, 3, 6}


def test_the_section_counts_what_it_says() -> None:
    assert by_training(rows())["at"] == list(GAPS["at"])
    text = "\n".join(describe(rows(), cells()))
    assert "| at | 4 | 0.70 (" in text
    assert "| batch norm folded against removed, models that have one | 8 | -0.10 (-0.10 to -0.10) |" in text
    counted = "\n".join(conclusions(rows(), cells()))
    assert "| 0.8 or more | 2 | 2 | 0 of 0 |" in counted
    assert "| 0.2 to 0.4 | 2 | 0 | 0 of 2 |" in counted
    assert "2 of 2 such models" in counted
    assert "nan" not in describe(rows(), {})[0]
