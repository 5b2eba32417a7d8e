"""Grey or RGB: images brought to the channels of a model's input."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from auditor.errors import DataError

GREY_WITHIN = 4
"""Levels of 255 by which the channels of a grey picture may differ: lossy formats round each by itself."""
REPEATED = "grey pictures: repeated in 3 channels, which the model takes"


def fit_channels(images: NDArray[Any], wanted: int | None, convert: str | None) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Images ``(N, C, H, W)``, uint8 or float in [0, 1], in the ``wanted`` channels, and notes on what was done.

    By themselves grey images become RGB, and RGB images without colours grey; ``convert="grey"`` takes colours away.

    Raises:
        DataError: there are colours, which nobody said to convert, or the model takes neither 1 channel nor 3.
    """
    if images.shape[1] == 3 and (convert == "grey" or (wanted == 1 and not has_colours(images))):
        images = to_grey(images)
    if wanted == 1 and images.shape[1] == 3:
        raise DataError(colours("the images"))
    if wanted == 3 and images.shape[1] == 1:
        return np.repeat(images, 3, axis=1), (REPEATED,)
    check_wanted(wanted)
    return images, ()


def check_wanted(wanted: int | None) -> None:
    """Raises DataError: pictures have 1 channel or 3, and the model takes another number."""
    if wanted not in (None, 1, 3):
        raise DataError(f"expected a model of grey (1 channel) or RGB pictures (3), got one of {wanted} channels")


def colours(where: object) -> str:
    """What to say of colours for a model of one channel."""
    return (
        f"expected grey pictures, since the model's input_size has 1 channel, got colours (RGB) in {where}: "
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
