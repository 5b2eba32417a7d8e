"""Saved adversarial images as small pictures: clean, adversarial, and their difference."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from auditor.pixels import Pixels, data_uri, difference_pixels, image_pixels, png_bytes
from auditor.records.adversarials import AMPLIFIED, AdversarialSample
from auditor.web.figures.templates import Picture

MOST_SIDE = 112
"""Larger pictures are drawn with means over cells, so that a page of 24 samples stays below some megabytes."""


@dataclass(frozen=True)
class SampleTile:
    """One sample: its number, the class before and after the attack, the attack, and the distance."""

    number: int
    label: str
    predicted: str
    attack: str
    distance: str
    pictures: tuple[Picture, ...]


def sample_tiles(samples: Sequence[AdversarialSample], classes: Sequence[str], norm: str) -> tuple[SampleTile, ...]:
    """Draw samples; those of files without clean images have one picture instead of three."""
    return tuple(_tile(sample, classes, norm) for sample in samples)


def _tile(sample: AdversarialSample, classes: Sequence[str], norm: str) -> SampleTile:
    adversarial = sample.adversarial[None]
    label, predicted = _name(classes, sample.label), _name(classes, sample.predicted)
    shown = {f"adversarial image, predicted {predicted}": image_pixels(adversarial)[0]}
    if sample.clean is not None:
        clean = sample.clean[None]
        shown = {
            f"clean image of {label}": image_pixels(clean)[0],
            **shown,
            f"difference, {AMPLIFIED} times": difference_pixels(adversarial - clean, 1 / AMPLIFIED)[0],
        }
    return SampleTile(
        number=sample.number,
        label=label,
        predicted=predicted,
        attack=sample.attack,
        distance="" if math.isnan(sample.distance) else f"{norm} {sample.distance:.3g}",
        pictures=tuple(
            Picture(data_uri(png_bytes(shrink(pixels))), f"Sample {sample.number}: {text}")
            for text, pixels in shown.items()
        ),
    )


def _name(classes: Sequence[str], number: int) -> str:
    return classes[number] if 0 <= number < len(classes) else f"class {number}"


def shrink(pixels: Pixels) -> Pixels:
    """The picture with at most 112 pixels a side."""
    from PIL import Image

    height, width = pixels.shape[:2]
    share = MOST_SIDE / max(height, width)
    if share >= 1:
        return pixels
    size = (max(1, round(width * share)), max(1, round(height * share)))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))
