"""Adversarial images of a model: clean image, adversarial image, and their difference."""

import math
import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from auditor.pixels import difference_pixels, image_pixels
from auditor.plots.style import default_style
from auditor.records.adversarials import AMPLIFIED, AdversarialSample

ROWS = ("clean", "adversarial", f"difference × {AMPLIFIED}")


@default_style
def draw_adversarials(
    title: str, subtitle: str, classes: Sequence[str], norm: str, samples: Sequence[AdversarialSample]
) -> Figure:
    """Draw one column for each sample; files without clean images give only the adversarial ones."""
    with_clean = all(sample.clean is not None for sample in samples)
    rows = ROWS if with_clean else ROWS[1:2]
    count = len(samples)
    figure = Figure(figsize=(1.3 * count + 0.7, 1.3 + 1.35 * len(rows) + 0.55), layout="constrained")
    (head,), (body,) = figure.subfigures(2, 1, squeeze=False, height_ratios=(0.75, figure.get_figheight() - 0.75))
    head.text(0.01, 0.72, title, ha="left", va="center", fontsize=15, fontweight="bold")
    line = textwrap.fill(subtitle, 19 * count)
    head.text(0.01, 0.2, line, ha="left", va="center", fontsize=9, color="#555555")
    grid = body.subplots(len(rows), count, squeeze=False)
    for column, sample in zip(grid.T, samples, strict=True):
        for axes, pixels in zip(column, sample_pixels(sample), strict=True):
            axes.imshow(pixels, interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
            for side in axes.spines.values():
                side.set_color("#cccccc")
        column[0].set_title(
            f"{classes[sample.label]}\n→ {classes[sample.predicted]}", fontsize=8, loc="left", fontweight="bold"
        )
        far = "" if math.isnan(sample.distance) else f"\n{norm} {sample.distance:.3g}"
        column[-1].set_xlabel(f"sample {sample.number}\n{sample.attack}{far}", fontsize=7.5, loc="left")
    for axes, name in zip(grid[:, 0], rows, strict=True):
        axes.set_ylabel(name, fontsize=9)
    return figure


def sample_pixels(sample: AdversarialSample) -> list[np.ndarray]:
    """The pictures of one sample, ``(H, W, 3)`` each: clean, adversarial, difference; only the second without clean."""
    adversarial = sample.adversarial[None]
    if sample.clean is None:
        return [image_pixels(adversarial)[0]]
    difference = difference_pixels(adversarial - sample.clean[None], 1 / AMPLIFIED)
    return [image_pixels(sample.clean[None])[0], image_pixels(adversarial)[0], difference[0]]
