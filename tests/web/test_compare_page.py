"""The page that compares models: tables, drawings, matrices in one order, and plain messages."""

import re
from html import escape

import numpy as np
import pytest

from auditor.results.curves import compare_curves, comparison_pairs
from tests.factories.audits import audited
from tests.factories.curves import curve_of
from tests.factories.pictures import audit_of, matrix
from tests.web.serving import client


def compared(count: int) -> str:
    for k in range(count):
        audited(f"m{k}", 80 - 10 * k, first=k)
    answer = client().get("/compare?" + "&".join(f"model=m{k}" for k in range(count)))
    assert answer.status_code == 200
    return answer.text


@pytest.mark.long
@pytest.mark.parametrize("count", [2, 3, 5])
def test_every_pair_has_a_drawn_table_and_a_test(count: int) -> None:
    page = compared(count)
    pairs = count * (count - 1) // 2
    assert page.count('<figure class="pair">') == pairs
    first = re.search(
        r'aria-label="Of 100 samples, both withstand (\d+), only A (\d+), only B (\d+), and neither', page
    )
    assert tuple(map(int, first.groups())) == (70, 10, 0)
    assert page.count("<td>under every attack</td>") == pairs
    assert page.count("<td>without attack</td>") == pairs
    assert (">adjusted<" in page) == (count > 2)
    assert page.count('name="model" value="m') == count
    assert page.count('name="model"') == min(5, count + 1)
    assert page.count("withstands</h3>") == count
    assert "is more robust than" in page
    assert page.count('<tr><th scope="row">fgsm</th>') == 1


def test_the_old_parameters_still_work() -> None:
    audited("strong", 80)
    audited("weak", 20)
    server = client()
    old = server.get("/compare?a=strong&b=weak").text
    new = server.get("/compare?model=strong&model=weak").text
    assert old.partition("<main")[2] == new.partition("<main")[2]
    assert "demo:strong@1 is more robust than demo:weak@2: by 60.0 points" in old
    empty = server.get("/compare")
    assert (empty.status_code, empty.text.count('name="model"')) == (200, 3)
    assert '<option value="demo:weak">' in empty.text
    one = server.get("/compare?model=weak@2").text
    assert 'name="model" value="weak@2"' in one


@pytest.mark.long
def test_matrices_have_one_order_of_classes() -> None:
    orders = {"C": ((4, 3, 2, 1, 0), (1, 0, 2, 3, 4)), "F": ((0, 2, 4, 1, 3), (2, 1, 0, 4, 3))}
    numbers = [
        audit_of(5, clusterings=(matrix(5, "weights", orders["C"][k]), matrix(5, "features", orders["F"][k])))
        for k in range(2)
    ]
    address = "/compare?" + "&".join(f"model=demo:a@{number}" for number in numbers)
    for query, order in (
        ("", orders["C"][0]),
        ("B-C", orders["C"][1]),
        ("A-F", orders["F"][0]),
        ("odd", orders["C"][0]),
    ):
        page = client().get(f"{address}&order={query}").text
        headings = re.findall(r'text-anchor="end">(class \d)<', page)
        assert headings == [f"class {k}" for k in order] * 4
        assert page.count('<figure class="heatmap"') == 4
    assert 'order=B-F#matrices">F of B</a>' in page


def test_other_classes_have_no_order_in_common() -> None:
    numbers = [audit_of(count, clusterings=(matrix(count, "weights", tuple(range(count))),)) for count in (4, 5)]
    page = client().get("/compare?" + "&".join(f"model=demo:a@{number}" for number in numbers)).text
    assert "The models have different classes" in page
    assert page.count('<figure class="heatmap"') == 2


def test_what_differs_is_said_and_the_rest_is_shown() -> None:
    audited("a", 40)
    audited("b", 20, norm="L2", seed=3)
    page = client().get("/compare?model=a&model=b").text
    assert "A and B cannot be compared image by image: demo:a has the norm Linf, demo:b L2." in page
    assert '<tr><th scope="row">norm</th><td>Linf</td><td>L2</td></tr>' in page
    assert '<tr><th scope="row">seed</th><td>0</td><td>3</td></tr>' in page
    assert "are not listed, because not all models can be compared" in page
    assert "Attack by attack" in page
    assert page.count('<figure class="heatmap"') == 2


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("model=a&model=nothing", "no result of &#39;nothing&#39;"),
        ("model=a&model=demo:bb", "did you mean demo:b or demo:a?"),
        ("model=a&model=a", "are the same result"),
        ("model=a&model=b&model=a&model=b&model=a&model=b", "expected 2 to 5 models, got 6"),
        ("a=a&b=b@999", "no result of &#39;b&#39; with id 999"),
    ],
)
def test_unknown_names_and_wrong_numbers_keep_what_was_typed(query: str, words: str) -> None:
    audited("a", 40)
    audited("b", 20)
    answer = client().get(f"/compare?{query}")
    assert answer.status_code == 422
    assert words in answer.text
    assert 'role="alert"' in answer.text
    assert 'name="model" value="a"' in answer.text


def test_only_results_of_one_setting_are_joined_on_the_page_of_an_audit() -> None:
    numbers = [audited("a", 40 + k, robust_low=0.1, robust_high=0.9, identity=f"i{k}", seed=k // 2) for k in range(4)]
    page = client().get(f"/audits/{numbers[0]}").text
    history = page[page.index("<h3>History</h3>") :]
    assert history.count("2 of 4 results are of other settings, and not joined: seed 1.") == 2
    paths = re.findall(r'<path class="line [^"]+" d="([^"]*)"', history)
    assert [path.count("L") for path in paths] == [1, 1]


def test_the_picture_of_a_small_matrix_is_large_enough_to_see() -> None:
    import io

    from PIL import Image

    number = audit_of(10)
    answer = client().get(f"/api/v1/results/{number}/matrices/weights/picture")
    assert Image.open(io.BytesIO(answer.content)).size == (500, 500)


@pytest.mark.long
def test_curves_are_drawn_and_tested_pair_by_pair() -> None:
    """Of three models two have a curve: both are drawn, and one pair has a test of sizes."""
    sizes = np.linspace(0.01, 0.3, 100)
    audited("a", 70, curve=curve_of(sizes))
    audited("b", 60, curve=curve_of(np.where(np.arange(100) < 60, 0.8 * sizes, sizes)))
    audited("c", 50)
    page = client().get("/compare?model=a&model=b&model=c").text
    curves = page.partition('<h2 id="curves">')[2]
    assert "Robust accuracy at every radius" in curves
    drawn = curves.partition("</svg>")[0]
    assert drawn.count('class="line series-') == 2
    assert "<h3>A, B</h3>" in curves
    assert "<h3>A, C</h3>" not in curves
    compared = compare_curves(
        (curve_of(sizes), np.arange(100)), (curve_of(np.where(np.arange(100) < 60, 0.8 * sizes, sizes)), np.arange(100))
    )
    assert (compared.larger_a, compared.larger_b, compared.ties) == (60, 0, 40)
    for name, value in comparison_pairs(compared, "A", "B"):
        assert escape(name) in curves
        assert escape(value) in curves
