"""Figures: what is drawn is what was measured, and can be read."""

import base64
import io
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import binomtest

from auditor.records import AttackScore, Clustering, ClusteringScores
from auditor.records.results import ResultRow
from auditor.results.history import setting_differences
from auditor.web.figures.bars import attack_bars, interval_bar
from auditor.web.figures.colors import UNDEFINED, diverging, sequential
from auditor.web.figures.heatmap import heatmap, png, share_heatmap
from auditor.web.figures.lines import curves, history
from auditor.web.figures.scale import Scale, around
from auditor.web.render import render
from tests.factories.records import result_row


def clustering(matrix: np.ndarray, order: tuple[int, ...], kind: str = "weights", **scores: float) -> Clustering:
    values = {"intra": 0.5, "inter": 0.1, "gap": 0.4, "silhouette": 0.1, "rand_index": 0.2, "cophenetic": 0.9}
    values |= {"p_value": 0.01, "effective_rank": 4.0} | scores
    return Clustering(kind=kind, scores=ClusteringScores(**values, leaf_order=order), matrix=matrix)


def symmetric(side: int, seed: int = 0) -> np.ndarray:
    matrix = np.random.default_rng(seed).uniform(-1, 1, (side, side))
    matrix = (matrix + matrix.T) / 2
    np.fill_diagonal(matrix, 1)
    return matrix


def row(number: int, gap: float | None, robust: float | None, **changes: object) -> ResultRow:
    values = {
        "id": number, "model": f"demo:m{number}", "gap": gap, "robust_accuracy": robust, "robust_low": robust,
        "robust_high": robust, "training": {"method": "at"}, "architecture": "net", "n": 100, "clean_accuracy": 0.9,
        "finished_at": f"2026-01-{number:02}T02:00:00+00:00",
    }  # fmt: skip
    return result_row(**values | changes)


@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e3), st.integers(4, 10))
def test_ticks_are_round_numbers_where_the_scale_puts_them(low: float, width: float, number: int) -> None:
    scale = Scale(low, low + width, 0, 1000)
    ticks = scale.ticks(number)
    assert 1 <= len(ticks) <= number + 1
    for tick in ticks:
        assert tick.at == pytest.approx((float(tick.label.replace("−", "-")) - low) / width * 1000, abs=0.02)
        assert -0.01 <= tick.at <= 1000.01


@given(st.lists(st.floats(-10, 10) | st.just(math.nan), max_size=5))
def test_the_range_around_values_holds_them(values: list[float]) -> None:
    low, high = around(values, least=0.2)
    assert high - low >= 0.2 - 1e-9
    assert all(low <= value <= high for value in values if math.isfinite(value))


@pytest.mark.parametrize("scale", [diverging, sequential])
def test_what_is_written_on_a_cell_can_be_read(scale) -> None:
    def luminance(color: str) -> float:
        parts = [int(color[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))

    for value in np.linspace(-1, 1, 201):
        light, dark = sorted(map(luminance, scale(value)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_a_heatmap_says_the_matrix_in_dendrogram_order() -> None:
    matrix, order = symmetric(4), (2, 0, 3, 1)
    matrix[2, 0] = matrix[0, 2] = math.nan
    drawn = heatmap(clustering(matrix, order), "abcd", ["x", "y", "x", "y"])
    assert drawn.names == ("c", "a", "d", "b")
    for cell in drawn.cells:
        first, second = order[cell.row], order[cell.column]
        value = matrix[first, second]
        said = "not defined" if math.isnan(value) else f"{value:.2f}".replace("-", "−")
        assert cell.label == f"{'abcd'[first]} and {'abcd'[second]}: {said}"
        assert cell.fill == (UNDEFINED if math.isnan(value) else diverging(value)[0])
    assert [(block.start, block.size, block.family) for block in drawn.blocks] == [(0, 2, "x"), (2, 2, "y")]


def test_distances_are_shares_of_their_rows_largest() -> None:
    distances = np.array([[0.0, 2, 4], [2, 0, 1], [4, 1, 0]])
    drawn = heatmap(clustering(distances, (0, 1, 2), "features"), "abc", "xyz")
    assert [cell.label.rpartition(" ")[2] for cell in drawn.cells[:6]] == [
        "0.00",
        "0.50",
        "1.00",
        "1.00",
        "0.00",
        "0.50",
    ]


def test_many_classes_are_a_picture() -> None:
    matrix = symmetric(1000)
    names = [f"class {k}" for k in range(1000)]
    drawn = heatmap(clustering(matrix, tuple(range(1000))), names, ["a"] * 500 + ["b"] * 500)
    assert not drawn.cells
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(drawn.picture.partition(",")[2]))))
    assert pixels.shape == (500, 500, 3)
    blocks = matrix.reshape(500, 2, 500, 2).mean((1, 3))
    for i, j in ((0, 0), (3, 499), (250, 17)):
        expected = [int(diverging(blocks[i, j])[0][k : k + 2], 16) for k in (1, 3, 5)]
        assert np.abs(pixels[i, j] - np.array(expected)).max() <= 2  # 256 colours
    assert "class 3" not in render_heatmap(drawn)


def test_an_odd_number_of_classes_and_undefined_entries_make_a_picture() -> None:
    matrix = symmetric(501)
    matrix[0, 0] = math.nan
    pixels = np.asarray(Image.open(io.BytesIO(png(matrix, True))))
    assert pixels.shape == (251, 251, 3)
    assert (pixels[0, 0] == int(UNDEFINED[1:3], 16)).all()


def test_a_pruned_matrix_is_not_drawn() -> None:
    part = Clustering(kind="weights", scores=clustering(symmetric(2), (0, 1)).scores, matrix=None)
    assert heatmap(part, "ab", "xy") is None


def test_shares_are_drawn_from_light_to_the_darkest_largest() -> None:
    shares, order = np.array([[0.5, 0.25, 0.0], [0, 1, 0], [math.nan] * 3]), (1, 0, 2)
    drawn = share_heatmap("confusion", "words", shares, order, "abc", "xxy")
    assert (drawn.heading, drawn.scores, drawn.ends) == ("Confusion after the attacks", "words", ("0 %", "100.0 %"))
    for cell in drawn.cells:
        first, second = order[cell.row], order[cell.column]
        value = shares[first, second]
        said = "not defined" if math.isnan(value) else f"{100 * value:.1f} %"
        assert cell.label == f"{'abc'[first]} to {'abc'[second]}: {said}"
        assert cell.value == (f"{100 * value:.0f}" if value > 0 else "")
        assert cell.fill == (UNDEFINED if math.isnan(value) else sequential(1 - value)[0])
    assert [(block.start, block.size, block.family) for block in drawn.blocks] == [(0, 2, "x")]
    assert "0 %" in render_heatmap(drawn)
    nothing = share_heatmap("attack_success", "", np.zeros((60, 60)), range(60), ["k"] * 60, ["x"] * 60)
    assert not nothing.cells
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(nothing.picture.partition(",")[2]))))
    assert (pixels[0, 0] == [int(sequential(1)[0][k : k + 2], 16) for k in (1, 3, 5)]).all()


def test_bars_have_wilsons_interval() -> None:
    attacks = [AttackScore(attack="fgsm", parameters={}, n=90, broken=30, robust_accuracy=0.6, seconds=1.0)]
    clean, fgsm = attack_bars(row(1, 0.1, 0.6), attacks)
    for bar, hits in ((clean, 90), (fgsm, 60)):
        low, high = binomtest(hits, 100).proportion_ci(method="wilson")
        assert (bar.value, bar.low, bar.high) == pytest.approx((hits, 100 * low, 100 * high))
    assert "run on 90 images, broke 30" in fgsm.label
    assert interval_bar(row(1, 0.1, None)) is None


def test_history_joins_results_of_one_setting_only() -> None:
    nights = [row(k, 0.1 * k, 0.2 * k) for k in (3, 1, 2)]
    robust, gap = history(nights[0], nights)
    assert [mark.label.rpartition(" ")[2] for mark in robust.lines[0].marks] == ["1", "2", "3"]
    assert [tick.label for tick in gap.x_ticks] == ["2026-01-01", "2026-01-03"]
    assert (len(robust.lines), robust.note) == (1, "")
    assert history(nights[0], nights[:1]) == ()
    others = [row(4, 0.2, 0.3, seed=1), row(5, 0.2, 0.3, n=50), row(6, 0.2, 0.3, norm="L2")]
    robust, gap = history(nights[0], [*nights, *others])
    for drawn in (robust, gap):
        joined, apart = drawn.lines
        assert joined.path.count("L") == 2
        assert apart.path == ""
        assert [mark.label.partition("; ")[2] for mark in apart.marks] == [
            "another setting: seed 1, audit 4", "another setting: 50 images, audit 5",
        ]  # fmt: skip
        assert drawn.note == "2 of 5 results are of other settings, and not joined: seed 1, 50 images."


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, []),
        ({"device": "cuda", "batch_size": 7, "weights_sha256": "w"}, []),
        ({"seed": 3}, ["seed 3"]),
        ({"n": 50, "images_sha256": "other"}, ["50 images"]),
        ({"n": None}, ["no images"]),
        ({"images_sha256": "other"}, ["other images"]),
        ({"linearization": "fold"}, ["batch norm folded"]),
        ({"sketch": 64}, ["C a sketch of 64 probes"]),
        ({"versions": {"torch": "2.9", "scipy": "1"}}, ["numpy unknown", "scipy 1", "torch 2.9"]),
    ],
)
def test_settings_differ_in_all_that_changes_numbers(changes: dict, words: list[str]) -> None:
    first = row(1, 0.1, 0.2, versions={"torch": "2.8", "numpy": "2"}, images_sha256="i")
    assert setting_differences(first, replace(first, **changes)) == words


def test_small_matrices_are_large_pictures() -> None:
    pixels = np.asarray(Image.open(io.BytesIO(png(symmetric(10), True, least=500))))
    assert pixels.shape == (500, 500, 3)
    small = np.asarray(Image.open(io.BytesIO(png(symmetric(10), True))))
    np.testing.assert_array_equal(pixels[::50, ::50], small)
    np.testing.assert_array_equal(pixels[49::50, 49::50], small)
    assert np.asarray(Image.open(io.BytesIO(png(symmetric(300), True, least=500)))).shape == (600, 600, 3)


def test_curves_skip_what_an_epoch_lacks() -> None:
    epochs = [{"number": 0, "robust": 0.1}, {"number": 1, "robust": None}, {"number": 2, "robust": 0.3}]
    drawn = curves(epochs, {"robust": "robust accuracy", "gap": "gap"}, "validation")
    (line,) = drawn.lines
    assert [mark.label for mark in line.marks] == ["epoch 0: robust accuracy 0.100", "epoch 2: robust accuracy 0.300"]
    assert curves(epochs, {"gap": "gap"}, "validation") is None


def render_heatmap(drawn: object) -> str:
    from auditor.web.render import environment

    template = environment().from_string("{% import 'figures.html' as figures %}{{ figures.heatmap(map) }}")
    return template.render(map=drawn)


def test_a_missing_value_is_an_error_and_not_a_blank() -> None:
    with pytest.raises(Exception, match="is undefined"):
        render("report.html")
