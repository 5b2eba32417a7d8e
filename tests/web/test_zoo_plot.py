"""The zoo plot: what is drawn, which models have names, what the page says, and what a pointer does."""

import itertools
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from playwright.sync_api import Page, expect
from scipy.stats import rankdata, spearmanr

from auditor.config import settings
from auditor.db.plot_models import count_settings, list_plot_models
from auditor.db.published import store_published
from auditor.db.results import Filter, list_results
from auditor.db.session import open_database
from auditor.records import Published
from auditor.records.certificates import NO_BOUND
from auditor.records.results import PlotModel
from auditor.results.counter_examples import find_counter_examples
from auditor.results.measures import PLOTTED
from auditor.results.ranking import setting_of
from auditor.web.figures.labels import Box, place_labels
from auditor.web.figures.zoo import (
    NARROWEST,
    WIDEST,
    View,
    Window,
    ZooPlot,
    marker,
    zoo_plot,
    zoo_plot_of_rows,
)
from tests.factories.audits import audited
from tests.factories.browser import launched, serving
from tests.factories.plot_models import ZOOS, plot_model
from tests.factories.records import result_row
from tests.web.serving import client


def drawn(models: list[PlotModel], *measures: str, **view: object) -> ZooPlot:
    plot = zoo_plot(models, *measures, view=View(**view))
    assert plot is not None
    return plot


def ids_of(examples: list[tuple[int, float, float, float]]) -> set[int]:
    return {number for number, *_ in examples}


def random_zoo(count: int, seed: int = 0) -> list[PlotModel]:
    return [
        plot_model(k, float(x), float(y)) for k, (x, y) in enumerate(np.random.default_rng(seed).random((count, 2)))
    ]


@given(ZOOS, st.integers(NARROWEST, WIDEST), st.text(max_size=3))
@example([(0.5, 0.5, "m" * 60)] * 60, NARROWEST, "m")
@example([(0.0, 0.0, "a"), (1.0, 1.0, "b"), (0.0, 1.0, "c"), (1.0, 0.0, "d")], WIDEST, "")
def test_names_neither_overlap_nor_leave_the_plot(zoo: list, width: int, find: str) -> None:
    models = [plot_model(k, x, y, model=f"demo:{name}") for k, (x, y, name) in enumerate(zoo)]
    plot = drawn(models, width=width, find=find)
    assert len(plot.labels) <= 8
    frame = Box(plot.left, plot.top, plot.right, plot.bottom)
    assert all(frame.contains(label.box) for label in plot.labels)
    assert not any(a.box.overlaps(b.box) for a, b in itertools.combinations(plot.labels, 2))
    assert all(label.text for label in plot.labels)


def test_names_go_where_they_cover_fewest_points() -> None:
    frame = Box(0, 0, 400, 400)
    (label,) = place_labels([("name", 200, 200)], [(200, 200), (220, 200)], frame)
    assert label.box.right < 200
    (label,) = place_labels([("name", 2, 200)], [(2, 200)], frame)
    assert label.box.left > 2
    assert place_labels([("a" * 30, 20, 20)], [], Box(0, 0, 40, 40)) == ()
    many = [(f"m{k}", 200.0, 20.0 + 20 * k) for k in range(18)]
    assert len(place_labels(many, [], frame)) == 8


@pytest.mark.parametrize("falling", [False, True])
def test_counter_examples_are_far_from_the_trend(falling: bool) -> None:
    rng = np.random.default_rng(1)
    x = np.arange(14.0)
    y = x + rng.normal(size=14)
    y[[2, 9]] = (20, -3)
    y = 0.5 + (-y if falling else y) / 50
    models = [plot_model(k, a, b) for k, (a, b) in enumerate(zip(x, y, strict=True))]
    assert (spearmanr(x, y).statistic < 0) == falling
    expected_ranks = rankdata(-x if falling else x)
    expected = {k for k in range(14) if abs(expected_ranks[k] - rankdata(y)[k]) >= 7}
    assert expected == {2, 9}
    assert ids_of(find_counter_examples(models)) == expected
    plot = drawn(models)
    sides = {one.model: one.side for one in plot.examples}
    if falling:
        assert sides == {"demo:m2": "low gap, low robust accuracy", "demo:m9": "high gap, high robust accuracy"}
        assert "robust accuracy falls as gap rises" in plot.rule
    else:
        assert sides == {"demo:m2": "low gap, high robust accuracy", "demo:m9": "high gap, low robust accuracy"}
    assert "at least half of the 14 unflagged models, which is 7 places" in plot.rule
    assert {label.text for label in plot.labels} >= {"m2", "m9"}
    flagged = [replace(one, flags=["zero_gradients"]) if one.id == 2 else one for one in models]
    assert ids_of(find_counter_examples(flagged)) == {9}
    assert find_counter_examples(models[:3]) == []


def test_at_most_twenty_counter_examples_are_listed() -> None:
    plot = drawn(random_zoo(400))
    assert len(plot.examples) == 20
    assert plot.far > 20
    differences = [abs(one.x_rank - one.y_rank) for one in plot.examples]
    if "falls" not in plot.rule:
        assert differences == sorted(differences, reverse=True)


def test_only_rows_with_both_measures_are_drawn() -> None:
    assert zoo_plot([]) is None
    values = {"robust_accuracy": 0.5, "robust_low": 0.4, "robust_high": 0.6, "gap": 0.1, "effective_rank": 3.0}
    rows = [
        result_row(**values),
        result_row(id=2, **values | {"gap": None}),
        result_row(id=3, status="failed", **values),
    ]
    plot = zoo_plot_of_rows(rows)
    assert [point.id for point in plot.points] == [1]
    assert plot.points[0].lines == ("demo:a", "gap 0.10", "robust accuracy 50.0 % (40.0 to 60.0)", "not recorded")
    assert [point.id for point in zoo_plot_of_rows(rows, "effective_rank", "robust_accuracy").points] == [1, 2]
    sideways = zoo_plot_of_rows(rows, "robust_accuracy", "gap").points[0]
    assert re.match(r"M[\d.]+ [\d.]+H[\d.]+M", sideways.path)


def test_both_ends_are_drawn_and_a_bound_of_0_says_so() -> None:
    ends = {"y_interval": (0.4, 0.6)}
    models = [
        plot_model(1, 0.1, 0.5, certified=0.25, **ends),
        plot_model(2, 0.2, 0.5, certified=0.0, **ends),
        plot_model(3, 0.3, 0.5, **ends),
    ]
    plot = drawn(models)
    some, none, unknown = plot.points
    scale = (plot.bottom - plot.top) / 1.04  # pixels from 0 to 1
    assert [float(re.search(r"V([\d.]+)M", point.certified_path)[1]) for point in (some, none)] == pytest.approx(
        [some.y + 0.25 * scale, some.y + 0.5 * scale], abs=0.2
    )
    assert unknown.certified_path == ""
    assert some.lines[3] == "certified 25.0 %"
    assert none.lines[3] == f"certified 0.0 %: {NO_BOUND}"
    assert plot.certificates.endswith(f"Certified 0: {NO_BOUND}.")
    assert "lower bound" in drawn(models[:1]).certificates
    assert "Certified 0" not in drawn(models[:1]).certificates
    assert drawn(models[2:]).certificates == ""
    sideways = drawn([plot_model(1, 0.5, 0.1, x_interval=(0.4, 0.6), certified=0.25)]).points[0]
    assert re.match(r"M[\d.]+ [\d.]+H[\d.]+M", sideways.certified_path)


def test_groups_share_the_last_colour_beyond_seven_and_can_be_hidden() -> None:
    models = [plot_model(k, 0.1 * k, 0.1, architecture=f"net{k % 9 if k < 18 else 0}") for k in range(20)]
    plot = drawn(models, by="architecture")
    assert [group.name for group in plot.groups] == [*(f"net{k}" for k in range(6)), "other"]
    assert {point.kind for point in plot.points} == set(range(7))
    assert sum(group.count for group in plot.groups) == 20
    hidden = drawn(models, by="architecture", hidden=("net0", "nothing"))
    assert hidden.count == 20
    assert {point.group for point in hidden.points} == {*(f"net{k}" for k in range(1, 6)), "other"}
    assert [group.hidden for group in hidden.groups] == [True] + [False] * 6
    assert hidden.x_range == plot.x_range
    assert [group.name for group in drawn(models, by="source").groups] == ["demo"]
    regularized = [plot_model(1, 0, 0, training={"method": "at", "beta": 0.3}), plot_model(2, 0, 0, training={})]
    assert {group.name for group in drawn(regularized).groups} == {"adversarial + regularizer", "not recorded"}


def test_a_window_draws_a_part_with_its_own_axes() -> None:
    models = random_zoo(100)
    plot = drawn(models, window=Window(0.2, 0.4, None, 0.5))
    assert {point.id for point in plot.points} == {one.id for one in models if 0.2 <= one.x <= 0.4 and one.y <= 0.5}
    assert (plot.x_range, plot.y_range[1]) == ((0.2, 0.4), 0.5)
    assert plot.statements == drawn(models).statements
    assert drawn(models, window=Window(0.4, 0.2)).points == ()


@pytest.mark.parametrize(
    "view",
    [{"window": Window(x_to=0.5)}, {"hidden": ("net1",), "by": "architecture"}],
    ids=["a box", "a hidden group"],
)
def test_counter_examples_are_listed_if_they_are_drawn(view: dict) -> None:
    models = [replace(one, architecture=f"net{one.id % 2}") for one in random_zoo(60)]
    everything, part = drawn(models), drawn(models, **view)
    visible = {point.id for point in part.points}
    assert part.examples == tuple(one for one in everything.examples if one.id in visible)
    assert 0 < part.far == len(visible & ids_of(find_counter_examples(models)))
    assert 0 < part.far_undrawn == everything.far - part.far
    assert everything.far_undrawn == 0


@pytest.mark.parametrize("kind", range(7))
def test_markers_are_closed_paths_around_the_point(kind: int) -> None:
    path = marker(kind, 100, 50)
    assert path.endswith("z")
    x, y = map(float, re.match(r"M([\d.]+) ([\d.]+)", path).groups())
    assert abs(x - 100) <= 6
    assert abs(y - 50) <= 6


def test_every_measure_is_read_as_the_rows_have_it() -> None:
    for k in range(3):
        audited(f"m{k}", 30 + 10 * k, robust_low=0.1, robust_high=0.8)
    audited("other", 50, norm="L2")
    engine = open_database(settings().database_url)
    store_published(engine, [
        Published(model="demo:m1", norm="Linf", eps=0.1, clean_accuracy=0.4, autoattack_accuracy=0.9),
        Published(model="demo:other", norm="Linf", eps=0.1, clean_accuracy=1.0, autoattack_accuracy=0.9),
    ])  # fmt: skip
    rows = list_results(engine, Filter(status="done"))
    for x, y in [*((name, "robust_accuracy") for name in PLOTTED), ("clean_accuracy", "claimed_clean_accuracy")]:
        expected = {}
        for row in rows:
            if (one := row.plot_model(x, y)) is not None:
                expected.setdefault(setting_of(row), {})[one.id] = one
        assert set(count_settings(engine, x, y)) == expected.keys(), x
        for setting, models in expected.items():
            found = list_plot_models(engine, setting, x, y, 100)
            assert {one.id: one for one in found} == models
    (setting,) = (one for one in count_settings(engine, "gap", "robust_accuracy") if one[2] == "Linf")
    assert [one.model for one in list_plot_models(engine, setting, "gap", "robust_accuracy", 2)] == [
        "demo:m2",
        "demo:m1",
    ]


def test_the_page_has_the_plot_and_the_same_values_as_a_table() -> None:
    for k in range(5):
        audited(f"m{k}", 10 * k, robust_low=0.0, robust_high=1.0)
    server = client()
    page = server.get("/zoo?x=clean_accuracy&find=m3").text
    assert "Spearman&#39;s ρ of clean accuracy and robust accuracy" in page
    assert page.count('class="point ') == 5
    assert len(re.findall(r'class="point [^"]* found"', page)) == 1
    table = page[page.index('id="values"') :]
    assert [f"demo:m{k}</a>" in table for k in range(5)] == [True] * 5
    assert "40.0 % (0.0 to 100.0)" in table
    assert "The plot as a table: 5 models" in page
    unknown = server.get("/zoo?setting=nothing")
    assert unknown.status_code == 422
    problem = "No model has gap and robust accuracy under &#39;nothing&#39;. Choose another setting."
    assert f'role="alert">{problem}</p>' in unknown.text
    assert "<svg viewBox" not in unknown.text
    setting = re.search(r"<option selected>([^<]+)</option>", page)[1]
    assert server.get("/zoo", params={"setting": setting}).status_code == 200
    hidden = server.get("/zoo?hide=adversarial&by=training").text
    assert 'href="/zoo?by=training" aria-label="Show adversarial, 5 models"' in hidden
    assert "0 of 5 models are drawn." in hidden
    zoomed = server.get("/zoo?y_from=0.15&y_to=0.35&find=m").text
    assert "2 of 5 models are drawn." in zoomed
    assert '<a href="/zoo?find=m" class="all">' in zoomed
    assert "No model has both measures yet" in server.get("/zoo?x=claimed_robust_accuracy").text


@pytest.mark.parametrize(
    "query",
    [
        "x=nothing",
        "y=model",
        "by=flags",
        "width=5",
        "width=100000",
        "x_from=nan",
        "x_from=inf",
        "x_from=1e300",
        "y_to=a",
    ],
)
def test_invalid_parameters_are_refused(query: str) -> None:
    assert client().get(f"/zoo?{query}").status_code == 422


def ready(page: Page) -> None:
    expect(page.locator("figure.zoo[data-ready]")).to_be_visible()


@pytest.mark.long
def test_tooltip_box_legend_and_search() -> None:
    for k in range(12):
        training = {"method": "at" if k % 2 else "standard"}
        audited(f"m{k}", 5 + 8 * k, robust_low=0.05, robust_high=0.95, training=training)
    with serving() as server, launched() as browser:
        page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.goto(f"{server}/zoo?x=robust_accuracy&y=effective_rank")
        expect(page.locator("figure.zoo[data-ready] svg[width='1408']")).to_be_visible()

        frame = page.locator("figure.zoo .frame > svg").bounding_box()
        point = page.locator(".point").first
        x, y = (frame[axis] + float(point.get_attribute(f"data-{axis}")) for axis in ("x", "y"))
        page.mouse.move(x + 8, y + 8)  # near is enough
        tip = page.locator(".tip")
        expect(tip).to_have_text("demo:m11\nrobust accuracy 93.0 % (5.0 to 95.0)\neffective rank 2.00\nadversarial")
        box = tip.bounding_box()
        assert 0 < box["y"] - y < 40
        assert min(abs(box["x"] - x), abs(box["x"] + box["width"] - x)) < 40
        page.mouse.move(5, 5)
        expect(tip).to_be_hidden()

        page.mouse.move(frame["x"] + 60, frame["y"] + 30)
        page.mouse.down()
        page.mouse.move(frame["x"] + frame["width"] / 2, frame["y"] + frame["height"] - 60, steps=4)
        page.mouse.up()
        expect(page.get_by_text("of 12 models are drawn.")).to_be_visible()
        assert "x_from=" in page.url
        assert 0 < page.locator(".point").count() < 12
        ready(page)
        page.reload()
        expect(page.get_by_text("of 12 models are drawn.")).to_be_visible()
        page.get_by_role("link", name="Show the whole plot").click()
        expect(page.locator(".point")).to_have_count(12)
        assert "x_from=" not in page.url
        assert "y=effective_rank" in page.url

        page.get_by_role("link", name="Hide adversarial, 6 models").click()
        expect(page.locator(".point")).to_have_count(6)
        page.get_by_role("link", name="Show adversarial, 6 models").click()
        expect(page.locator(".point")).to_have_count(12)
        page.go_back()
        expect(page.locator(".point")).to_have_count(6)
        page.go_forward()
        expect(page.locator(".point")).to_have_count(12)
        ready(page)

        field = page.get_by_label("Find a model")
        field.press_sequentially("M1")
        expect(page.locator(".point.found")).to_have_count(3)
        field.press("Enter")
        expect(page.locator(".names text").first).to_have_text(re.compile("^m1"))
        expect(field).to_be_focused()
        page.locator("select[name=x]").select_option("gap")
        expect(page.get_by_text("Spearman's ρ of gap and effective rank")).to_be_visible()
        assert "find=M1" in page.url
        assert problems == []


@pytest.mark.long
def test_the_plot_fits_a_phone_and_needs_no_script() -> None:
    for k in range(12):
        audited(f"a-rather-long-name-of-a-model-{k}", 5 + 8 * k, robust_low=0.05, robust_high=0.95)
    with serving() as server, launched() as browser:
        phone = browser.new_context(viewport={"width": 390, "height": 844}).new_page()
        phone.goto(f"{server}/zoo")
        expect(phone.locator("figure.zoo[data-ready] svg[width='358']")).to_be_visible()
        assert "width" not in phone.url
        for page in (
            phone,
            browser.new_context(java_script_enabled=False, viewport={"width": 390, "height": 844}).new_page(),
        ):
            page.goto(f"{server}/zoo")
            assert page.evaluate("document.documentElement.scrollWidth") <= 390
            expect(page.locator(".point")).to_have_count(12)
        page.locator("summary", has_text="Range of the axes").click()
        page.locator("input[name=y_from]").fill("0.5")
        page.get_by_role("button", name="Show").click()
        expect(page.get_by_text("6 of 12 models are drawn.")).to_be_visible()
        page.get_by_role("link", name="Hide adversarial, 12 models").click()
        expect(page.get_by_text("0 of 12 models are drawn.")).to_be_visible()
