"""Picture files through PIL, in 8 bits a channel."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from auditor.data.transforms import pipeline
from auditor.errors import DataError, first_line
from auditor.records import Transform

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


def all_grey(paths: Sequence[Path]) -> bool:
    """Whether each of the pictures has one channel of 8 bits; their headers say so, up to the first that has not.

    Raises:
        DataError: a picture cannot be read.
    """
    for path in paths:
        with _opened(path) as picture:
            if picture.mode != "L":
                return False
    return True


def read(paths: Sequence[Path], transform: Transform | None, *, grey: bool) -> NDArray[np.uint8]:
    """The pictures ``(N, C, H, W)``, transformed: C is 1 where ``grey``, else 3.

    Raises:
        DataError: a picture cannot be read, or they are not all of one size.
    """
    apply, mode = pipeline(transform), "L" if grey else "RGB"
    pixels: NDArray[np.uint8] | None = None
    for number, path in enumerate(paths):
        with _opened(path) as picture:
            image = np.asarray(apply(picture.convert(mode)))
        if pixels is None:
            pixels = np.empty((len(paths), *image.shape), np.uint8)
        if image.shape != pixels.shape[1:]:
            raise DataError(
                f"expected pictures of one size, got {_size(pixels[0])} ({paths[0]}) and {_size(image)} ({path}): "
                "make them so, or give the model a transform"
            )
        pixels[number] = image
    if pixels is None:
        raise DataError("expected at least one picture, got none")
    return pixels[:, None] if grey else pixels.transpose(0, 3, 1, 2)


def _size(image: NDArray[np.uint8]) -> str:
    return f"{image.shape[1]} x {image.shape[0]}"


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """A picture that is neither a decompression bomb nor of more than 8 bits a channel, which PIL would cut off."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                if picture.mode.startswith(("I", "F")):
                    raise ValueError(f"it has more than 8 bits a channel (mode {picture.mode})")
                yield picture
    except Exception as error:  # PIL's decoders raise whatever a damaged file leads them to
        raise DataError(f"cannot read the picture {path}: {first_line(error)}") from error
