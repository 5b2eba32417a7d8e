"""Grey and RGB: convert images to the channels of a model's input."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from auditor.errors import DataError

GREY_WITHIN = 4
"""Levels of 255 by which the channels of a grey picture may differ: lossy formats round each by itself."""
REPEATED = "grey pictures: repeated in the 3 channels of the model's input"


def fit_channels(
    images: NDArray[Any], channels: int | None, convert: str | None
) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Images ``(N, C, H, W)``, uint8 or float in [0, 1], with ``channels`` channels, and notes on the conversion.

    Grey images become RGB, and RGB images without colours become grey; ``convert="grey"`` also removes colours.

    Raises:
        DataError: the images have colours and ``convert`` is not set, or the model takes neither 1 channel nor 3.
    """
    if images.shape[1] == 3 and (convert == "grey" or (channels == 1 and not has_colours(images))):
        images = to_grey(images)
    if channels == 1 and images.shape[1] == 3:
        raise DataError(colours_error("the images"))
    if channels == 3 and images.shape[1] == 1:
        return np.repeat(images, 3, axis=1), (REPEATED,)
    check_channels(channels)
    return images, ()


def check_channels(channels: int | None) -> None:
    """Raises DataError: pictures have 1 channel or 3, and the model takes another number."""
    if channels not in (None, 1, 3):
        raise DataError(f"expected a model of grey (1 channel) or RGB pictures (3), got one of {channels} channels")


def colours_error(where: object) -> str:
    """The error for colours in the pictures of a model of one channel."""
    return (
        f"expected grey pictures because the model's input_size has 1 channel, got colours (RGB) in {where}: "
        'set channels = "grey" in zoo.toml to convert them, or correct input_size'
    )


def has_colours(images: NDArray[Any]) -> bool:
    """Whether the 3 channels ``(N, 3, H, W)`` of some pixel differ by more than rounding."""
    within = GREY_WITHIN if images.dtype == np.uint8 else GREY_WITHIN / 255
    spread = np.maximum.reduce(images, axis=1) - np.minimum.reduce(images, axis=1)
    return bool(spread.max(initial=0) > within)


def to_grey(images: NDArray[Any]) -> NDArray[Any]:
    """The luma of ITU-R 601 ``(N, 1, H, W)``, bytes by PIL's ``convert("L")``."""
    if images.dtype == np.uint8:
        rows = [np.asarray(Image.fromarray(image.transpose(1, 2, 0)).convert("L")) for image in images]
        return np.array(rows, np.uint8)[:, None]
    luma: NDArray[Any] = np.einsum("nchw,c->nhw", images, np.array([0.299, 0.587, 0.114], images.dtype))[:, None]
    return luma.clip(0, 1)
