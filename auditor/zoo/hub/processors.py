"""A transformers image processor as a transform of pictures and a normalization, checked against the processor."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from transformers import AutoImageProcessor

from auditor.data.transforms import pipeline
from auditor.errors import ModelLoadError, describe
from auditor.records import Transform

INTERPOLATIONS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
"""Pillow's numbers of its filters."""
TOLERANCE = 1e-4
"""The largest difference of two normalized pixels; a level of 255 is about 0.02."""
PICTURES = ((500, 375), (331, 200), (97, 101))
"""Widths and heights of the pictures of noise on which a processor is compared."""


@dataclass(frozen=True)
class Preprocessing:
    """What a processor does: ``transform`` makes the picture, ``mean``, ``std`` and ``flip`` (RGB to BGR) the input."""

    transform: Transform
    mean: tuple[float, ...]
    std: tuple[float, ...]
    flip: bool

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the input."""
        made = self.transform.crop or self.transform.resize
        assert isinstance(made, tuple)
        return made


def read_processor(folder: Path) -> Any:
    """The image processor of a snapshot, in the variant that works on Pillow's images.

    Raises:
        ModelLoadError: there is none, or it needs code of the repository.
    """
    try:
        return AutoImageProcessor.from_pretrained(folder, backend="pil", trust_remote_code=False, local_files_only=True)
    except Exception as error:  # the library raises whatever its parts raise
        raise ModelLoadError(f"{folder}: no image processor of transformers: {describe(error)}") from error


def describe_processor(processor: Any, channels: int, where: str) -> Preprocessing:
    """The preprocessing that a processor's settings describe; :func:`check_processor` compares it with the processor.

    Raises:
        ModelLoadError: its pictures have no one size, or its settings are none of pictures.
    """
    name = type(processor).__name__.removesuffix("Pil").removesuffix("Fast")
    size = getattr(processor, "size", None)
    edges: dict[str, Any] = {
        key: getattr(size, key, None) for key in ("height", "width", "shortest_edge", "longest_edge")
    }
    resize: int | tuple[int, int] | None = None
    crop: tuple[int, int] | None = None
    if getattr(processor, "do_center_crop", False):
        crop = (int(processor.crop_size.height), int(processor.crop_size.width))
    if getattr(processor, "do_resize", False):
        if edges["longest_edge"]:
            raise ModelLoadError(
                f"{where}: {name} keeps the shape of pictures (longest_edge), so inputs have no one size"
            )
        resize = edges["shortest_edge"] or (edges["height"], edges["width"])
        resize, crop = _scaled(name, processor, resize, crop)
    if crop is None and not isinstance(resize, tuple):
        raise ModelLoadError(f"{where}: {name} keeps the shape of pictures, so inputs have no one size")
    number = int(getattr(processor, "resample", 2) or 0)
    mean, std = _normalization(processor, channels)
    return Preprocessing(
        transform=Transform(
            resize=resize, crop=crop, interpolation=INTERPOLATIONS.get(number, str(number)), crop_at="floor"
        ),
        mean=mean,
        std=std,
        flip=bool(getattr(processor, "do_flip_channel_order", False)),
    )


def check_processor(processor: Any, found: Preprocessing, channels: int, where: str) -> None:
    """Compare the description with the processor itself, on pictures of noise of several sizes.

    Raises:
        ModelLoadError: they differ: the processor does more than to resize, crop and normalize.
    """
    random = np.random.default_rng(0)
    for width, height in PICTURES:
        shape = (height, width, 3) if channels == 3 else (height, width)
        picture = Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8))
        try:
            theirs = np.asarray(processor(images=picture, return_tensors="np")["pixel_values"][0])
            ours = apply(found, picture)
        except Exception as error:  # the library's own code
            raise ModelLoadError(f"{where}: {type(processor).__name__} fails: {describe(error)}") from error
        largest = float(np.abs(ours - theirs).max()) if ours.shape == theirs.shape else math.inf
        if not largest <= TOLERANCE:
            got = f"differs by {largest:.3g}" if math.isfinite(largest) else f"has the shape {theirs.shape}"
            raise ModelLoadError(
                f"{where}: {type(processor).__name__} does more than resize, crop and normalize: its input of a "
                f"picture of {width} × {height} pixels {got}; use the model in a local zoo, with code of your own"
            )


def apply(found: Preprocessing, picture: Image.Image) -> Any:
    """The network's input ``(C, H, W)`` for a picture, float64."""
    pixels = np.asarray(pipeline(found.transform)(picture), np.float64) / 255
    pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    made = (pixels - np.array(found.mean)[:, None, None]) / np.array(found.std)[:, None, None]
    return made[::-1] if found.flip else made


def _scaled(
    name: str, processor: Any, resize: int | tuple[int, int], crop: tuple[int, int] | None
) -> tuple[int | tuple[int, int], tuple[int, int] | None]:
    """The sizes of the processors that scale to other sizes than their settings say."""
    fraction: Any = getattr(processor, "crop_pct", None)
    if name == "ConvNextImageProcessor" and isinstance(resize, int):
        return (int(resize / fraction), (resize, resize)) if resize < 384 else ((resize, resize), crop)
    if name == "PoolFormerImageProcessor" and fraction is not None:
        edge = resize if isinstance(resize, int) else resize[0]
        return int(edge / fraction), crop
    if name == "LevitImageProcessor" and isinstance(resize, int):
        return int(256 / 224 * resize), crop
    return resize, crop


def _normalization(processor: Any, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation for pixels in [0, 1] of all the processor's affine steps."""
    factor = 255 * processor.rescale_factor if getattr(processor, "do_rescale", False) else 255.0
    offset = 1.0 if getattr(processor, "rescale_offset", False) else 0.0
    means, deviations = [0.0] * channels, [1.0] * channels
    if getattr(processor, "do_normalize", False):
        means, deviations = _each(processor.image_mean, channels), _each(processor.image_std, channels)
    mean = tuple((one + offset) / factor for one in means)
    if getattr(processor, "include_top", False):  # EfficientNet divides twice
        return mean, tuple(one * one / factor for one in deviations)
    return mean, tuple(one / factor for one in deviations)


def _each(values: Any, channels: int) -> list[float]:
    return [float(values)] * channels if isinstance(values, int | float) else [float(one) for one in values]
