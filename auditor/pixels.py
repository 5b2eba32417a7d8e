"""From values to RGB pixels and PNG: signed arrays in diverging colours, signed colours around grey, images."""

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[Any]
Pixels = NDArray[np.uint8]

DIVERGING = ((33, 102, 172), (146, 197, 222), (247, 247, 247), (244, 165, 130), (178, 24, 43))
"""ColorBrewer's RdBu, blue first."""
CLIPPED = 0.995
"""The quantile of absolute values at which a signed scale ends, so that single pixels do not make all others pale."""


def signed_limit(values: Values) -> float:
    """The end of a symmetric scale for signed values; 1 if all of them are 0."""
    sizes = np.abs(values[np.isfinite(values)])
    limit = float(np.quantile(sizes, CLIPPED)) if sizes.size else 0.0
    limit = limit if limit > 0 else float(sizes.max(initial=0.0))
    return limit if limit > 0 else 1.0


def mean_channel(values: Values) -> Values:
    """The mean over the channels: ``(N, C, H, W)`` to ``(N, H, W)``."""
    mean: Values = values.mean(axis=1)
    return mean


def diverging_pixels(values: Values, limit: float) -> Pixels:
    """Signed values of any shape as ``(…, 3)``: blue at ``-limit`` and below, white at 0, red at ``limit``."""
    table = np.array([interpolate(DIVERGING, k / 254) for k in range(255)], np.uint8)
    share = np.nan_to_num(values / limit, nan=0.0).clip(-1, 1)
    pixels: Pixels = table[np.rint((share + 1) * 127).astype(np.uint8)]
    return pixels


def colour_pixels(values: Values, limit: float) -> Pixels:
    """Signed RGB values ``(N, 3, H, W)`` as ``(N, H, W, 3)``: grey at 0, each channel dark at ``-limit``."""
    share = np.nan_to_num(values / limit, nan=0.0).clip(-1, 1)
    pixels: Pixels = np.rint((share + 1) * 127.5).astype(np.uint8).transpose(0, 2, 3, 1)
    return pixels


def difference_pixels(differences: Values, limit: float) -> Pixels:
    """Signed differences of images ``(N, C, H, W)`` as ``(N, H, W, 3)``: RGB in colours, others in diverging ones."""
    if differences.shape[1] == 3:
        return colour_pixels(differences, limit)
    return diverging_pixels(mean_channel(differences), limit)


def image_pixels(images: Values) -> Pixels:
    """Images ``(N, C, H, W)`` in [0, 1] as ``(N, H, W, 3)``; C is 1 or 3, of others the mean is drawn."""
    pixels: Pixels = np.rint(np.nan_to_num(images).clip(0, 1) * 255).astype(np.uint8)
    if pixels.shape[1] not in (1, 3):
        pixels = np.rint(pixels.mean(axis=1, keepdims=True)).astype(np.uint8)
    return np.repeat(pixels, 3, axis=1).transpose(0, 2, 3, 1) if pixels.shape[1] == 1 else pixels.transpose(0, 2, 3, 1)


def interpolate(anchors: Sequence[tuple[int, int, int]], share: float) -> tuple[int, int, int]:
    """A colour between the anchors: 0 is the first, 1 the last."""
    place = min(max(share, 0.0), 1.0) * (len(anchors) - 1)
    left = min(int(place), len(anchors) - 2)
    part = place - left
    red, green, blue = (round(a + part * (b - a)) for a, b in zip(anchors[left], anchors[left + 1], strict=True))
    return red, green, blue


def png_bytes(pixels: Pixels) -> bytes:
    """Encode ``(H, W, 3)`` as PNG."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", optimize=True)
    return out.getvalue()


def data_uri(png: bytes) -> str:
    """A PNG file as a data URI."""
    return "data:image/png;base64," + base64.b64encode(png).decode()
