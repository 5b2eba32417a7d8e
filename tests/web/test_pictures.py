"""Templates, adversarial images and dendrograms on pages: what is drawn, what is found, and what is said instead."""

import base64
import io
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.cluster.hierarchy import dendrogram, leaves_list

from auditor.clustering import average_linkage
from auditor.pixels import diverging_pixels, signed_limit
from auditor.web import response_cache
from auditor.web.figures.samples import shrink
from auditor.web.figures.templates import PER_PAGE, template_tiles
from auditor.web.figures.tree import draw_tree, tree_width
from tests.factories.audits import audited
from tests.factories.pictures import audit_of, matrix, saved, templates
from tests.web.serving import client


@pytest.fixture(autouse=True)
def _pages_are_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests change files, which pages may show for two seconds as they were."""
    monkeypatch.setattr(response_cache, "KEPT_SECONDS", 0)


def decoded(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


def test_tiles_are_the_templates_in_the_order_of_the_dendrogram() -> None:
    linearized, local = templates(4), templates(4, kind="local", seed=1)
    names, families = ("a", "b", "c", "d"), ("x", "y", "x", "y")
    drawn = template_tiles((linearized, local), names, families, (2, 0, 3, 1))
    assert [(tile.name, tile.family, tile.series) for tile in drawn.tiles] == [
        ("c", "x", 0), ("a", "x", 0), ("d", "y", 1), ("b", "y", 1),
    ]  # fmt: skip
    for tile, k in zip(drawn.tiles, (2, 0, 3, 1), strict=True):
        for picture, part in zip(tile.pictures, (linearized, local), strict=True):
            grey = part.values.mean(1)
            np.testing.assert_array_equal(decoded(picture.uri), diverging_pixels(grey, signed_limit(grey))[k])
            assert picture.alt == f"{tile.name}, {part.name}"


def test_colour_tiles_have_colours_beside_the_mean() -> None:
    drawn = template_tiles((templates(2, 3),), ("a", "b"), ("x", "x"), (0, 1))
    assert [picture.alt for picture in drawn.tiles[0].pictures] == [
        "a, linearized network, mean over channels", "a, linearized network, in colours",
    ]  # fmt: skip


@given(st.integers(3, 30), st.integers(0, 99))
def test_the_dendrogram_is_scipys(count: int, seed: int) -> None:
    points = np.random.default_rng(seed).normal(size=(count, 3))
    distance = np.linalg.norm(points[:, None] - points, axis=2)
    links = average_linkage(distance)[1]
    order = leaves_list(links).tolist()
    tree = draw_tree(distance, order, 10.0)
    assert tree is not None
    expected = dendrogram(links, no_plot=True)
    scale = (tree_width(count, 10.0) - 2) / links[:, 2].max()
    theirs = sorted((y[0] * scale, x[1], y[1] * scale, x[2], y[3] * scale)
                    for x, y in zip(expected["icoord"], expected["dcoord"], strict=True))  # fmt: skip
    number = r"(-?[\d.]+)"
    found = re.findall(f"M{number} {number}H{number}V{number}H{number}", tree.path)
    mine = sorted((float(a), float(b), float(c), float(d), float(e)) for a, b, c, d, e in found)
    assert len(mine) == count - 1
    np.testing.assert_allclose(sorted(one[2] for one in mine), sorted(one[2] for one in theirs), atol=0.06)
    assert sorted(one[1] for one in mine) == pytest.approx(sorted(one[1] for one in theirs), abs=0.06)


def test_a_tree_in_an_order_that_is_not_its_own_is_not_drawn() -> None:
    distance = np.abs(np.subtract.outer([0.0, 1.0, 10.0, 11.5], [0.0, 1.0, 10.0, 11.5]))
    assert draw_tree(distance, (1, 0, 2, 3), 1.0) is not None
    assert draw_tree(distance, (0, 2, 1, 3), 1.0) is None
    assert draw_tree(distance[:2, :2], (0, 1), 1.0) is None
    distance[0, 1] = distance[1, 0] = np.nan
    assert draw_tree(distance, (0, 1, 2, 3), 1.0) is None


def test_the_page_has_templates_and_an_order_to_choose() -> None:
    parts = (matrix(5, "weights", (4, 3, 2, 1, 0)), matrix(5, "features", (1, 0, 2, 3, 4)))
    number = audit_of(5, templates(5), templates(5, kind="local"), clusterings=parts)
    server = client()
    page = server.get(f"/audits/{number}").text
    assert page.count('alt="class 2, ') == 2
    assert "Left: linearized network, scale from" in page
    assert "Right: local linear maps, mean over 64 random images" in page
    headings = [re.findall(r'text-anchor="end">(class \d)<', server.get(f"/audits/{number}?order={one}").text)[:10]
                for one in ("own", "C", "F")]  # fmt: skip
    c, f = [f"class {k}" for k in (4, 3, 2, 1, 0)], [f"class {k}" for k in (1, 0, 2, 3, 4)]
    assert headings == [[*c, *f], [*c, *c], [*f, *f]]
    trees = [server.get(f"/audits/{number}?order={one}").text.count('class="tree"') for one in ("own", "C", "F")]
    assert trees[1] == trees[2] == 1
    assert trees[0] == 2
    assert server.get(f"/audits/{number}?order=odd").status_code == 422


@pytest.mark.long
def test_a_thousand_classes_have_a_page_with_a_search() -> None:
    number = audit_of(1000, templates(1000, side=4))
    server = client()
    page = server.get(f"/audits/{number}").text
    assert page.count("<img") == 10
    assert f'<a href="/audits/{number}/templates">' in page
    assert "computed for up to 100 classes" in page
    first = server.get(f"/audits/{number}/templates").text
    assert re.findall(r'alt="(class \d+),', first) == [f"class {k}" for k in range(999, 999 - PER_PAGE, -1)]
    following = re.search(r'rel="next" href="([^"]+)"', first)
    assert following is not None
    second = server.get(f"/audits/{number}/templates{following[1]}").text
    assert re.findall(r'alt="(class \d+),', second)[0] == f"class {999 - PER_PAGE}"
    found = server.get(f"/audits/{number}/templates?match=CLASS 77").text
    assert sorted(set(re.findall(r'alt="(class \d+),', found))) == sorted(
        f"class {k}" for k in range(1000) if "class 77" in f"class {k}"
    )
    assert "11 of 1000 classes match CLASS 77." in found
    family = server.get(f"/audits/{number}/templates?match=family 3&page=2").text
    assert 'rel="prev"' in family
    none = server.get(f"/audits/{number}/templates?match=%3Cb%3E").text
    assert "0 of 1000 classes match &lt;b&gt;." in none
    assert server.get(f"/audits/{number}/templates?page=99").status_code == 200
    beyond = server.get(f"/audits/{number}/templates?match=class 9&page=99").text
    assert '<a rel="prev" href="?match=class+9&amp;page=2"' in beyond
    assert "<img" in beyond
    assert 'rel="next"' not in beyond
    assert server.get("/audits/99/templates").status_code == 404


@pytest.mark.long
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "This audit stored no templates, or they were pruned; `auditor scan … --force` stores them"),
        ({"not_measurable": ("linearize: sinh",)}, "were not measurable (linearize: sinh)."),
    ],
)
def test_old_rows_say_why_there_are_no_templates(changes: dict[str, object], message: str) -> None:
    number = audit_of(3, **changes)
    for address in (f"/audits/{number}", f"/audits/{number}/templates"):
        answer = client().get(address)
        assert answer.status_code == 200
        assert message in answer.text


def test_a_sketch_says_that_it_computes_no_templates() -> None:
    number = audited("a", 50, sketch=64)
    assert "not computed, because C was estimated by a sketch." in client().get(f"/audits/{number}").text


def _attacked(path: Path, **changes: object) -> int:
    names = {"classes": ("cat", "dog", "ship"), "superclasses": ("animal", "animal", "thing")}
    return audit_of(3, **names | {"adversarials": str(path)} | changes)


@pytest.mark.long
def test_adversarial_images_are_filtered_by_class_and_attack(tmp_path: Path) -> None:
    made, number = saved(tmp_path / "a.npz", 60), _attacked(tmp_path / "a.npz")
    server = client()
    page = server.get(f"/audits/{number}").text
    assert "60 of 60 samples that an attack broke." in page
    assert page.count("<img") == 3 * 24
    assert re.findall(r"sample (\d+), (fgsm|pgd-20), Linf [\d.]+<", page)[:2] == [("10", "fgsm"), ("11", "pgd-20")]
    first = re.search(r'<img src="([^"]+)" alt="Sample 10: adversarial image, predicted dog">', page)
    assert first is not None
    expected = np.rint(made.images[0, 0] * 255)
    np.testing.assert_array_equal(decoded(first[1])[..., 0], expected)
    filtered = server.get(f"/audits/{number}?class=dog&attack=pgd-20").text
    assert "10 of 60 samples" in filtered
    assert set(re.findall(r"<strong>(\w+ → \w+)</strong>", filtered)) == {"dog → ship"}
    last = server.get(f"/audits/{number}?page=3").text
    assert last.count("<img") == 3 * 12
    assert 'rel="prev"' in last
    assert 'rel="next"' not in last
    kept = re.search(r'rel="next" href="([^"]+)"', server.get(f"/audits/{number}?attack=fgsm&order=C").text)
    assert kept is not None
    assert kept[1] == "?order=C&amp;attack=fgsm&amp;page=2#samples"
    assert "0 of 60 samples" in server.get(f"/audits/{number}?class=%3Cb%3E").text


@pytest.mark.long
def test_a_missing_or_foreign_file_is_one_line(tmp_path: Path) -> None:
    number = _attacked(tmp_path / "a.npz")
    server = client()

    def line() -> str:
        answer = server.get(f"/audits/{number}")
        assert answer.status_code == 200
        (found,) = re.findall(r'id="samples"><h3>Adversarial images</h3>\s*<p class="remark">(.*)</p>', answer.text)
        assert str(tmp_path) not in answer.text
        return str(found)

    assert line().startswith("the file a.npz is not on this machine any more")
    saved(tmp_path / "a.npz", identity="another")
    assert "has the adversarial images of another audit" in line()
    (tmp_path / "a.npz").write_bytes(b"PK")
    assert "a.npz is no file of adversarial images" in line()
    without = _attacked(tmp_path / "a.npz", adversarials=None)
    assert "this audit saved no adversarial images" in server.get(f"/audits/{without}").text
    screened = _attacked(tmp_path / "a.npz", adversarials=None, robust_accuracy=float("nan"), protocol="screen")
    assert "Adversarial images" not in server.get(f"/audits/{screened}").text


def test_large_pictures_are_drawn_smaller() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (224, 336, 3)).astype(np.uint8)
    assert shrink(pixels).shape == (75, 112, 3)
    whole = np.repeat(np.repeat(pixels[:56, :56], 4, 0), 4, 1)
    assert np.abs(shrink(whole).astype(int) - np.repeat(np.repeat(pixels[:56, :56], 2, 0), 2, 1)).max() == 0
    assert shrink(pixels[:100, :100]) is not None
    np.testing.assert_array_equal(shrink(pixels[:100, :100]), pixels[:100, :100])


def test_the_comparison_shows_what_only_one_withstands(tmp_path: Path) -> None:
    """A withstands samples 10 to 79, B samples 0 to 59; B's file has samples 10 to 69 only."""
    path = tmp_path / "b.npz"
    first = audited("strong", 70, first=10)
    second = audited("weak", 60, adversarials=str(path), identity="weak")
    server = client()
    address = f"/compare?a=demo:strong@{first}&b=demo:weak@{second}"
    page = server.get(address).text
    numbers = ", ".join(str(k) for k in range(60, 80))
    assert f"20 samples: {numbers}." in page
    assert f"10 samples: {', '.join(str(k) for k in range(10))}." in page
    assert "No pictures: the file b.npz is not on this machine any more" in page
    assert "No pictures: this audit saved no adversarial images" in page
    saved(path, 60, model="demo:weak", identity="weak")
    page = server.get(address).text
    assert re.findall(r"sample (\d+), ", page) == [str(k) for k in range(60, 70)]
    assert "without a picture: 10 of 20." in page


@pytest.mark.long
def test_pages_with_pictures_load_no_torch(tmp_path: Path) -> None:
    saved(tmp_path / "a.npz")
    number = _attacked(tmp_path / "a.npz", templates=(templates(3),))
    code = (
        "import sys\nfrom auditor.config import settings\nfrom auditor.db.results import load_detail\n"
        "from auditor.db.session import open_database\n"
        "from auditor.web.audit.pictures import build_samples, build_templates\n"
        "engine = open_database(settings().database_url)\n"
        f"detail = load_detail(engine, {number})\n"
        "assert build_templates(engine, detail).tiles and build_samples(detail).tiles\n"
        "assert 'torch' not in sys.modules and 'matplotlib' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
