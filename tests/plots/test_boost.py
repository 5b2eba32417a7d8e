"""Figures of a fine-tuning run: curves, both C, and words where there is none."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from auditor.plots import draw_boost, save
from auditor.plots.boost import NOT_MEASURED, PRUNED
from auditor.records import Clustering
from tests.factories.checkpoint_rows import row
from tests.factories.figures import parts, texts

ROW = row(Path())


@pytest.mark.long
def test_curves_and_both_matrices_with_their_scores(tmp_path: Path) -> None:
    names, families, (before,) = parts(10, "weights")
    after = replace(before, scores=replace(before.scores, gap=0.5))
    figure = draw_boost("a title", "words", ROW.history, 1, before, after, names, families)
    written = texts(figure)
    assert {"a title", "words", "best: epoch 1", "clean", "PGD"} <= set(written)
    assert any(one.startswith("before: C, linearized") for one in written)
    assert any(one.startswith("after: C, linearized") and "gap 0.50" in one for one in written)
    save(figure, tmp_path / "run.png")
    assert (tmp_path / "run.png").stat().st_size > 10_000


def test_the_curves_are_those_of_the_history() -> None:
    figure = draw_boost("a title", "words", ROW.history, 1, None, None)
    accuracies, gap, loss = figure.axes[:3]
    clean, pgd = accuracies.get_lines()[:2]
    assert list(clean.get_xdata()) == [0, 1, 2]
    assert list(clean.get_ydata()) == pytest.approx([90, 80, 80])
    assert list(pgd.get_ydata()) == pytest.approx([40, 50, 45])
    assert list(gap.get_lines()[0].get_ydata()) == pytest.approx([np.nan, 0.2, 0.3], nan_ok=True)
    assert list(loss.get_lines()[0].get_ydata()) == pytest.approx([np.nan, 1.5, 1.2], nan_ok=True)
    assert len(figure.axes) == 3


def test_a_pruned_matrix_and_one_that_was_never_measured_are_said_so() -> None:
    names, families, (part,) = parts(10, "weights")
    pruned: Clustering = replace(part, matrix=None)
    written = texts(draw_boost("a title", "words", ROW.history, 1, pruned, None, names, families))
    assert {f"C before: {PRUNED}", f"C after: {NOT_MEASURED}"} <= set(written)


def test_a_model_without_a_gap() -> None:
    history = [epoch | {"gap": None} for epoch in ROW.history]
    assert NOT_MEASURED in texts(draw_boost("a title", "words", history, 0, None, None))
