"""Figures of one audit: what is drawn for few classes and for many, and what is left out."""

from dataclasses import replace

import numpy as np
import pytest

from auditor.plots import draw_errors, draw_model
from auditor.records import Clustering
from tests.factories.figures import parts, texts


@pytest.mark.parametrize("kinds", [("weights",), ("weights", "features"), ("weights", "deflated", "features")])
def test_each_matrix_has_its_heading_and_few_classes_their_names(kinds: tuple[str, ...]) -> None:
    names, families, made = parts(10, *kinds)
    written = texts(draw_model("a model", "words", names, families, made))
    headings = {"weights": "C, linearized", "deflated": "C without its leading", "features": "F, class means"}
    for kind in headings:
        assert any(one.startswith(headings[kind]) for one in written) == (kind in kinds)
    assert set(names) < set(written)


@pytest.mark.parametrize("classes", [10, 60])
def test_errors_are_two_matrices_under_one_tree(classes: int) -> None:
    names, families, (part,) = parts(classes, "weights")
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 5, (classes, classes)) + np.eye(classes, dtype=int)
    success = rng.random((classes, classes)) * ~np.eye(classes, dtype=bool)
    figure = draw_errors(
        "a model", "words", names, families, counts, replace(part, kind="attack_success", matrix=success)
    )
    drawn = [
        axes.images[0].get_array()
        for axes in figure.get_axes()
        if axes.images and len(axes.images[0].get_array()) == classes
    ]
    assert sorted(drawn[0].ravel()) == pytest.approx(sorted((counts / counts.sum(1, keepdims=True)).ravel()))
    assert sorted(drawn[1].ravel()) == pytest.approx(sorted(success.ravel()))
    written = texts(figure)
    for heading in ("Confusion after the attacks", "Attack success by class"):
        assert any(one.startswith(heading) for one in written)
    assert (set(names) < set(written)) == (classes == 10)


def test_errors_of_a_model_that_nothing_breaks_say_so() -> None:
    names, families, (part,) = parts(4, "weights")
    scores = replace(part.scores, gap=float("nan"), reasons={"gap": "the attacks broke no sample"})
    intact = Clustering(kind="attack_success", scores=scores, matrix=np.zeros((4, 4)))
    written = " ".join(texts(draw_errors("a model", "words", names, families, 9 * np.eye(4, dtype=int), intact)))
    assert "not defined: the attacks broke no sample" in written


@pytest.mark.parametrize("classes", [60, 300])
def test_many_classes_are_shown_by_the_colours_of_their_superclasses(classes: int) -> None:
    names, families, made = parts(classes, "weights")
    figure = draw_model("a model", "words " * 60, names, families, made)
    written = texts(figure)
    assert set(families) < set(written)
    assert not set(names) & set(written)
    (legend,) = [axes.get_legend() for axes in figure.findobj(lambda a: hasattr(a, "get_legend")) if axes.get_legend()]
    colours = {patch.get_facecolor() for patch in legend.get_patches()}
    assert len(colours) == len(set(families))


def test_an_f_that_lacks_classes_is_left_out_among_many_and_kept_among_few() -> None:
    for classes in (10, 60):
        names, families, made = parts(classes, "weights", "features")
        scores = replace(made[1].scores, gap=float("nan"), reasons={"gap": "a class has no samples"})
        gone = Clustering(kind="features", scores=scores, matrix=np.full((classes, classes), np.nan))
        written = " ".join(texts(draw_model("a model", "words", names, families, [made[0], gone])))
        assert "a class has no samples" in written
        assert ("F, class means" in written) == (classes == 10)
