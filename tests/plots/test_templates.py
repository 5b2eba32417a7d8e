"""Templates as a printed figure: the arrays that are drawn, against NumPy."""

import numpy as np
import pytest

from auditor.pixels import DIVERGING, colour_pixels, diverging_pixels
from auditor.plots import draw_templates
from auditor.plots.templates import _panel, tile_pixels
from auditor.records.templates import Templates
from tests.factories.figures import texts
from tests.factories.pictures import templates


def test_a_grey_tile_is_the_template_in_signed_colours_on_one_scale() -> None:
    values = np.zeros((2, 1, 2, 2))
    values[0, 0] = [[4.0, -4.0], [0.0, 2.0]]
    values[1, 0] = 2.0
    pixels, limit = tile_pixels(Templates(kind="linearized", values=values, size=(2, 2)))
    assert limit == pytest.approx(4.0)
    assert tuple(pixels[0, 0, 0]) == DIVERGING[4]
    assert tuple(pixels[0, 0, 1]) == DIVERGING[0]
    assert tuple(pixels[0, 1, 0]) == DIVERGING[2]
    np.testing.assert_array_equal(pixels[1, 0, 0], pixels[0, 1, 1])  # 2 has one colour in all pictures


def test_colours_stand_beside_the_mean_over_channels() -> None:
    part = templates(4, 3, 5)
    pixels, limit = tile_pixels(part)
    grey = part.values.mean(1)
    assert limit == pytest.approx(np.quantile(np.abs(grey), 0.995))
    np.testing.assert_array_equal(pixels[:, :, :5], diverging_pixels(grey, limit))
    assert (pixels[:, :, 5] == 255).all()
    end = np.quantile(np.abs(part.values), 0.995)
    np.testing.assert_array_equal(pixels[:, :, 6:], colour_pixels(part.values, end))


def test_pictures_are_in_the_given_order_under_a_bar_of_their_superclass() -> None:
    part, order = templates(3, 1, 20), (2, 0, 1)
    image, places, _ = _panel(part, order, ["#ff0000", "#00ff00", "#0000ff"])
    tiles, _ = tile_pixels(part)
    for (left, above), k, color in zip(places, order, ((255, 0, 0), (0, 255, 0), (0, 0, 255)), strict=True):
        top, x = round(above + 2), round(left + 0.5)
        np.testing.assert_array_equal(image[top : top + 20, x : x + 20], tiles[k])
        np.testing.assert_array_equal(image[top - 1, x], color)


@pytest.mark.parametrize(("classes", "channels"), [(10, 1), (10, 3), (100, 1), (1000, 3)])
def test_few_classes_are_named_and_all_have_superclasses(classes: int, channels: int) -> None:
    names = [f"class {k}" for k in range(classes)]
    families = [f"family {k % 4}" for k in range(classes)]
    parts = [templates(classes, channels, 4), templates(classes, channels, 4, "local")][: 2 if classes < 1000 else 1]
    written = texts(draw_templates("a model", "words", names, families, range(classes), parts))
    assert {"a model", *families} < set(written)
    assert (set(names) < set(written)) == (classes == 10)
    assert [part.name for part in parts] == [one for one in written if one in {part.name for part in parts}]
