"""Arrays as people save them: one sensible reading gives the same samples, and anything else one line."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from auditor.data import load_images
from auditor.errors import DataError
from tests.data import layouts

COLOUR = layouts.random_pixels(20, 8, 8, 3)
COLOUR[0, 0, 0] = (0, 128, 255)
FIRST = COLOUR.transpose(0, 3, 1, 2)
FLOATS = FIRST.astype(np.float32) / np.float32(255)
LABELS = np.arange(20) % 10


def _load(folder: Path, images: np.ndarray, labels: np.ndarray = LABELS, **more: object) -> object:
    np.savez(folder / "d.npz", images=images, labels=labels, **more)
    return load_images("cifar10", None, folder / "d.npz")


IMAGES: dict[str, Callable[[], np.ndarray]] = {
    "bytes, channels first": lambda: FIRST,
    "bytes, channels last": lambda: COLOUR,
    "floats, channels last": lambda: COLOUR / np.float32(255),
    "doubles": lambda: FIRST / 255,
    "int64": lambda: FIRST.astype(np.int64),
    "uint16": lambda: COLOUR.astype(np.uint16),
    "int32, not contiguous": lambda: np.asfortranarray(FIRST.astype(np.int32)),
    "big-endian floats": lambda: FLOATS.astype(">f4"),
}


@pytest.mark.parametrize("case", IMAGES)
def test_images_of_any_order_and_type_are_the_same(case: str, tmp_path: Path) -> None:
    found = _load(tmp_path, IMAGES[case]())
    np.testing.assert_allclose(found.images, FLOATS, atol=1e-7)
    assert found.images.dtype == np.float32
    assert found.notes == ()


def test_half_floats_are_read_as_they_are(tmp_path: Path) -> None:
    found = _load(tmp_path, FLOATS.astype(np.float16))
    assert np.array_equal(found.images, FLOATS.astype(np.float16).astype(np.float32))


@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64, np.int16])
def test_grey_images_without_a_channel(kind: type, tmp_path: Path) -> None:
    grey = FIRST[:, 0]
    found = _load(tmp_path, (grey / 255).astype(kind) if kind in (np.float32, np.float64) else grey.astype(kind))
    np.testing.assert_allclose(found.images, FLOATS[:, :1], atol=1e-7)


def test_truth_values_are_zero_and_one(tmp_path: Path) -> None:
    found = _load(tmp_path, FIRST > 127)
    assert np.array_equal(found.images, (FIRST > 127).astype(np.float32))


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (lambda x: x * np.float32(1.0000001), "pixels clipped to [0, 1]: values from 0 to 1.00000012 (float32)"),
        (lambda x: x - np.float32(1e-8), "pixels clipped to [0, 1]: values from -9.99999994e-09 to 1 (float32)"),
        (lambda x: x * 1.0002, "pixels clipped to [0, 1]: values from 0 to 1.0002"),
        (lambda x: (x * 1.0008).astype(np.float16), "pixels clipped to [0, 1]: values from"),
    ],
)
def test_rounding_beyond_the_ends_is_clipped_and_noted(change: Callable, note: str, tmp_path: Path) -> None:
    found = _load(tmp_path, change(FLOATS))
    np.testing.assert_allclose(found.images, FLOATS, atol=2e-3)
    assert (found.images.min(), found.images.max()) == (0, 1)
    (said,) = found.notes
    assert said.startswith(note)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (FLOATS * 255, r"got values from 0 to 255 \(float32\): divide by 255, or save them as uint8"),
        (FIRST.astype(np.float64), "divide by 255, or save them as uint8"),
        (FLOATS * 16, r"got values from 0 to 16 .*scale them to \[0, 1\]"),
        (FLOATS * 2 - 1, r"got values from -1 to 1 .*scaled to \[-1, 1\]\? Save \(x \+ 1\) / 2"),
        ((FLOATS - 0.45) / 0.225, r"are they normalized\? Save x \* std \+ mean, and set mean and std in zoo.toml"),
        (FLOATS * 1000, r"got values from 0 to 1000 .*scale them to \[0, 1\]"),
        (
            FIRST.astype(np.uint16) * 257,
            r"expected integer pixels from 0 to 255, got values from 0 to 65535 \(uint16\)",
        ),
        (FIRST.astype(np.int16) - 128, "expected integer pixels from 0 to 255, got values from -128 to 127"),
        (FIRST.view(np.int8), "expected integer pixels from 0 to 255, got values from -128 to"),
        (np.where(FLOATS > 0.5, np.nan, FLOATS), "values NaN or infinite"),
        (np.where(FLOATS > 0.5, np.inf, FLOATS), "values NaN or infinite"),
        (FLOATS.astype(np.complex64), "expected images of bytes 0 to 255 or floats in .*, got complex64"),
        (FIRST.astype(str), "got <U"),
        (FIRST.reshape(20, -1), r"expected images \(N, H, W, C\), .* got uint8 \(20, 192\)"),
        (np.repeat(FIRST, 2, axis=1), r"C 1 or 3, got uint8 \(20, 6, 8, 8\)"),
        (np.concatenate([COLOUR, COLOUR[..., :1]], axis=3), r"C 1 or 3, got uint8 \(20, 8, 8, 4\)"),
        (FIRST.transpose(1, 2, 3, 0), r"C 1 or 3, got uint8 \(3, 8, 8, 20\)"),
        (FIRST[:, :, :3, :3], r"shape \(20, 3, 3, 3\) of the images fits NHWC and NCHW: save an array layout"),
        (FIRST[:, :1, :, :1], r"shape \(20, 1, 8, 1\) of the images fits NHWC and NCHW"),
        (FLOATS[:, :, :, :3], r"shape \(20, 3, 8, 3\) of the images fits NHWC and NCHW"),
    ],
)
def test_images_that_are_refused(images: np.ndarray, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message) as caught:
        _load(tmp_path, images)
    assert "\n" not in str(caught.value)


def test_the_layout_decides_where_the_shape_does_not(tmp_path: Path) -> None:
    small = FIRST[:, :, :3, :3]
    first, last = (_load(tmp_path, small, layout=name).images for name in ("NCHW", "NHWC"))
    assert np.array_equal(first, FLOATS[:, :, :3, :3])
    assert np.array_equal(last, FLOATS[:, :, :3, :3].transpose(0, 3, 1, 2))
    with pytest.raises(DataError, match="expected a layout of NHWC or NCHW, got 'NWHC'"):
        _load(tmp_path, small, layout="NWHC")
    with pytest.raises(DataError, match=r"expected images NHWC, C 1 or 3, got uint8 \(20, 3, 8, 8\)"):
        _load(tmp_path, FIRST, layout="NHWC")


@pytest.mark.parametrize(
    "labels",
    [
        LABELS.astype(np.uint8), LABELS.astype(np.int8), LABELS.astype(np.float32), LABELS.astype(np.float16),
        LABELS[:, None], LABELS[:, None].astype(np.float64), np.eye(10)[LABELS], np.eye(10, dtype=bool)[LABELS],
        np.eye(10, dtype=np.uint8)[LABELS],
    ],
)  # fmt: skip
def test_labels_of_any_type_are_the_same(labels: np.ndarray, tmp_path: Path) -> None:
    found = _load(tmp_path, FIRST, labels)
    assert found.labels.tolist() == LABELS.tolist()
    assert found.labels.dtype == np.int64


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (LABELS + 1, "expected labels from 0 to 9, got 1 to 10: they seem to count from 1, subtract 1"),
        ((LABELS + 1).astype(np.float32), "they seem to count from 1"),
        (np.eye(11)[LABELS + 1], r"or one-hot rows \(20, 10\), got float64 \(20, 11\)"),
        (LABELS + 100, "expected labels from 0 to 9, got 100 to 109"),
        (LABELS - 1, "expected labels from 0 to 9, got -1 to 8"),
        (LABELS.astype(np.uint8) - np.uint8(1), "expected labels from 0 to 9, got 0 to 255"),
        (LABELS + 0.5, r"got fractions or NaN \(float64\)"),
        (np.where(LABELS == 3, np.nan, LABELS), "got fractions or NaN"),
        (0.9 * np.eye(10)[LABELS] + 0.01, r"got float64 \(20, 10\)"),
        (LABELS.astype(str), "expected 20 integer labels .*, the numbers of the classes from 0, got <U"),
        (LABELS.astype(bytes), r"numbers of the classes from 0, got \|S"),
        (LABELS.astype("datetime64[s]"), "numbers of the classes from 0, got datetime64"),
        (np.stack([LABELS, LABELS], 1), r"got int64 \(20, 2\)"),
        (LABELS[:0], r"got int64 \(0,\)"),
    ],
)
def test_labels_that_are_refused(labels: np.ndarray, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message) as caught:
        _load(tmp_path, FIRST, labels)
    assert "\n" not in str(caught.value)
