"""Picture files through PIL, in 8 bits a channel."""

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from auditor.data.channels import REPEATED, check_channels, colours_error, has_colours
from auditor.data.transforms import pipeline
from auditor.errors import DataError, first_line
from auditor.files import open_regular, read_limited
from auditor.records import Transform

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
NOT_READ = (".avif", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jxl", ".tga")
GREY = ("L", "1", "LA", "La")
"""PIL's modes that have no colours."""
LARGEST = 1 << 30
"""Bytes of the largest file that is read; PIL's limit of pixels is reached by half of it, uncompressed."""
FRAMES = "have several frames; only the first is used"
ROTATED = "have an EXIF orientation, which is not applied"
TRANSPARENT = "have transparent pixels; their hidden colours are used"


def read_file(path: Path) -> bytes:
    """The bytes of a picture file, as they are stored. Raises DataError if it cannot be read, or is too large."""
    try:
        return read_limited(path, LARGEST)
    except (OSError, ValueError, MemoryError) as error:
        raise DataError(f"cannot read the picture {path}: {first_line(error)}") from error


def all_grey(paths: Sequence[Path]) -> bool:
    """Whether each picture has one channel of 8 bits; reads headers up to the first picture that has more.

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
    """Read and transform pictures: ``(N, C, H, W)``, and notes on them.

    Args:
        paths: the picture files.
        transform: how a picture becomes the model's input.
        grey: read 1 channel instead of 3.
        channels: C; grey is repeated for C = 3; for C = 1 colours are an error, unless the transform makes them grey.

    Raises:
        DataError: a picture cannot be read, has colours that would be lost, or the pictures differ in size.
    """
    check_channels(channels)
    apply = pipeline(transform)
    lossless = channels == 1 and (transform is None or transform.channels != "grey")
    found: Counter[str] = Counter()
    pixels: NDArray[np.uint8] | None = None
    for number, path in enumerate(paths):
        with _opened(path) as picture:
            found.update(_properties_lost(picture))
            found[REPEATED] += picture.mode in GREY
            converted = picture.convert("L" if grey and picture.mode in GREY else "RGB")
        if lossless and converted.mode == "RGB" and has_colours(np.asarray(converted).transpose(2, 0, 1)[None]):
            raise DataError(colours_error(path))
        image = np.asarray(apply(converted.convert("L" if grey else "RGB")))
        if pixels is None:
            pixels = np.empty((len(paths), *image.shape), np.uint8)
        if image.shape != pixels.shape[1:]:
            raise DataError(
                f"expected pictures of one size, got {_size(pixels[0])} ({paths[0]}) and {_size(image)} ({path}): "
                "resize the pictures, or set a transform for the model"
            )
        pixels[number] = image
    if pixels is None:
        raise DataError("expected at least one picture, got none")
    notes = [f"{found[what]} of {len(paths)} pictures {what}" for what in (FRAMES, ROTATED, TRANSPARENT) if found[what]]
    notes += [REPEATED] if channels == 3 and (grey or found[REPEATED] == len(paths)) else []
    made = pixels[:, None] if grey else pixels.transpose(0, 3, 1, 2)
    return np.repeat(made, 3, axis=1) if grey and channels == 3 else made, tuple(notes)


def _properties_lost(picture: Image.Image) -> Iterator[str]:
    """What the model does not see of a picture."""
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
    """Open a picture; refuse decompression bombs and more than 8 bits a channel, which PIL would cut off."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with open_regular(path) as file, Image.open(file) as picture:
                if picture.mode.startswith(("I", "F")) or any(
                    ";16" in str(tile) for tile in getattr(picture, "tile", ())
                ):
                    raise ValueError(
                        f"it has more than 8 bits a channel (mode {picture.mode}): convert it to 8 bits, "
                        "or use an .npz file of float images in [0, 1]"
                    )
                yield picture
    except Exception as error:  # PIL's decoders raise many types of errors for damaged files
        raise DataError(f"cannot read the picture {path}: {first_line(error)}") from error
