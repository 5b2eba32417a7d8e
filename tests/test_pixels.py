"""Values as pixels, against NumPy."""

import base64
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from auditor.pixels import (
    DIVERGING,
    colour_pixels,
    data_uri,
    difference_pixels,
    diverging_pixels,
    image_pixels,
    mean_channel,
    png_bytes,
    signed_limit,
)

RED, WHITE, BLUE = DIVERGING[4], DIVERGING[2], DIVERGING[0]


def test_signs_are_colours_and_what_is_beyond_the_scale_is_clipped() -> None:
    pixels = diverging_pixels(np.array([-9.0, -2.0, 0.0, 2.0, 9.0, np.nan]), 2.0)
    assert [tuple(pixel) for pixel in pixels] == [BLUE, BLUE, WHITE, RED, RED, WHITE]


@given(st.floats(-1, 1), st.floats(1e-30, 1e30))
def test_a_colour_lies_between_its_anchors(share: float, limit: float) -> None:
    (pixel,) = diverging_pixels(np.array([share * limit]), limit)
    place = (share + 1) / 2 * 4
    expected = [np.interp(place, range(5), [anchor[k] for anchor in DIVERGING]) for k in range(3)]
    assert np.abs(pixel - np.array(expected)).max() <= 1.5  # 255 colours


def test_colours_are_grey_at_zero_and_each_channel_has_its_sign() -> None:
    values = np.zeros((1, 3, 1, 2))
    values[0, :, 0, 1] = 1.0, -1.0, 0.5
    grey, coloured = colour_pixels(values, 1.0)[0, 0]
    assert tuple(grey) == (128, 128, 128)
    assert tuple(coloured) == (255, 0, 191)


def test_the_scale_is_symmetric_common_and_robust() -> None:
    values = np.random.default_rng(0).normal(size=(10, 1, 20, 20))
    assert signed_limit(values) == signed_limit(-values) == pytest.approx(np.quantile(np.abs(values), 0.995))
    assert signed_limit(np.zeros(5)) == 1.0
    spike = np.zeros((100, 100))
    spike[0, 0] = -3.0
    assert signed_limit(spike) == 3.0


def test_images_of_any_number_of_channels() -> None:
    images = np.random.default_rng(0).random((2, 3, 4, 5)).astype(np.float32)
    np.testing.assert_array_equal(image_pixels(images), np.rint(images * 255).transpose(0, 2, 3, 1).astype(np.uint8))
    grey = image_pixels(images[:, :1])
    assert grey.shape == (2, 4, 5, 3)
    assert (grey == grey[..., :1]).all()
    assert image_pixels(images[:, :2]).shape == (2, 4, 5, 3)


def test_differences_of_colour_images_are_colours() -> None:
    differences = np.random.default_rng(0).uniform(-0.1, 0.1, (2, 3, 4, 4))
    np.testing.assert_array_equal(difference_pixels(differences, 0.1), colour_pixels(differences, 0.1))
    grey = difference_pixels(differences[:, :2], 0.1)
    np.testing.assert_array_equal(grey, diverging_pixels(mean_channel(differences[:, :2]), 0.1))


def test_a_picture_as_a_uri_is_the_picture() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 7, 3)).astype(np.uint8)
    head, _, text = data_uri(png_bytes(pixels)).partition(",")
    assert head == "data:image/png;base64"
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))), pixels)
