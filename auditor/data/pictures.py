"""Picture files through PIL, in 8 bits a channel."""

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from auditor.data.channels import REPEATED, check_wanted, colours, has_colours
from auditor.data.transforms import pipeline
from auditor.errors import DataError, first_line
from auditor.records import Transform

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
NOT_READ = (".avif", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jxl", ".tga")
GREY = ("L", "1", "LA", "La")
"""PIL's modes that have no colours."""
FRAMES = "have several frames, of which the first counts"
ROTATED = "have an EXIF orientation, which is not applied"
TRANSPARENT = "have transparent pixels, which count in the colour that lies under them"


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


def read(
    paths: Sequence[Path], transform: Transform | None, *, grey: bool, channels: int | None = None
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """The pictures ``(N, C, H, W)``, transformed, and notes on them.

    Args:
        paths: of the pictures.
        transform: how they become the model's input.
        grey: whether they are read in 1 channel, else in 3.
        channels: C, which 1 channel is repeated for; with 1, colours are converted only if the transform says so.

    Raises:
        DataError: a picture cannot be read, has colours where it must not, or they are not all of one size.
    """
    check_wanted(channels)
    apply = pipeline(transform)
    lossless = channels == 1 and (transform is None or transform.channels != "grey")
    found: Counter[str] = Counter()
    pixels: NDArray[np.uint8] | None = None
    for number, path in enumerate(paths):
        with _opened(path) as picture:
            found.update(_peculiar(picture))
            found[REPEATED] += picture.mode in GREY
            converted = picture.convert("L" if grey and picture.mode in GREY else "RGB")
        if lossless and converted.mode == "RGB" and has_colours(np.asarray(converted).transpose(2, 0, 1)[None]):
            raise DataError(colours(path))
        image = np.asarray(apply(converted.convert("L" if grey else "RGB")))
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
    notes = [f"{found[what]} of {len(paths)} pictures {what}" for what in (FRAMES, ROTATED, TRANSPARENT) if found[what]]
    notes += [REPEATED] if channels == 3 and (grey or found[REPEATED] == len(paths)) else []
    made = pixels[:, None] if grey else pixels.transpose(0, 3, 1, 2)
    return np.repeat(made, 3, axis=1) if grey and channels == 3 else made, tuple(notes)


def _peculiar(picture: Image.Image) -> Iterator[str]:
    """What of a picture does not reach the model."""
    if getattr(picture, "n_frames", 1) > 1:
        yield FRAMES
    with suppress(Exception):  # a damaged EXIF block is none
        if picture.getexif().get(ExifTags.Base.Orientation, 1) != 1:
            yield ROTATED
    if picture.has_transparency_data and np.asarray(picture.convert("RGBA"))[..., 3].min() < 255:
        yield TRANSPARENT


def _size(image: NDArray[np.uint8]) -> str:
    return f"{image.shape[1]} x {image.shape[0]}"


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """A picture that is neither a decompression bomb nor of more than 8 bits a channel, which PIL would cut off."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                if picture.mode.startswith(("I", "F")) or any(
                    ";16" in str(tile) for tile in getattr(picture, "tile", ())
                ):
                    raise ValueError(
                        f"it has more than 8 bits a channel (mode {picture.mode}): convert it to 8 bits, "
                        "or bring an .npz file of float images in [0, 1]"
                    )
                yield picture
    except Exception as error:  # PIL's decoders raise whatever a damaged file leads them to
        raise DataError(f"cannot read the picture {path}: {first_line(error)}") from error
