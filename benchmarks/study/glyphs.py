"""Coloured letters of Debian's fonts over textures: 3 x 32 x 32, twelve classes in four superclasses by shape.

Needs Debian's packages fonts-dejavu-core, fonts-freefont-ttf and fonts-liberation. Drawn anew each time, from a seed.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional as F

from auditor.errors import DataError

SIZE = 32
LETTERS = "CGOEFLVXKBPR"
SUPERCLASSES = tuple(name for name in ("round", "stem", "diagonal", "bowl") for _ in range(3))
FONTS = Path("/usr/share/fonts/truetype")
PACKAGES = {
    "dejavu": ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSerif",
               "DejaVuSerif-Bold"),
    "freefont": tuple(f"Free{family}{cut}" for family in ("Mono", "Sans", "Serif")
                      for cut in ("", "Bold", "BoldOblique" if family != "Serif" else "BoldItalic")),
    "liberation": tuple(f"Liberation{family}-{cut}" for family in ("Mono", "Sans", "Serif")
                        for cut in ("Regular", "Bold", "Italic")),
}  # fmt: skip


def make(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images ``(count, 3, 32, 32)`` in [0, 1], rounded to 8 bits, and labels whose classes take turns.

    Raises:
        DataError: a font is missing.
    """
    random = np.random.default_rng(seed)
    labels = np.arange(count) % len(LETTERS)
    masks = torch.from_numpy(_masks(labels, random))[:, None]
    grounds = _textures(count, random)
    inks = _textures(count, random, spread=0.06)
    # Ink as far from its ground in lightness as a reader needs: dark on light, or light on dark.
    level = grounds.mean((1, 2, 3), keepdim=True)
    light = (level < 0.5).float()
    depth = torch.from_numpy(random.uniform(0.3, 0.5, (count, 1, 1, 1)).astype(np.float32))
    inks = inks - inks.mean((1, 2, 3), keepdim=True) + level + (2 * light - 1) * depth
    images = (grounds * (1 - masks) + inks * masks).clamp(0, 1)
    return (images * 255).round() / 255, torch.from_numpy(labels)


def _masks(labels: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.float32]:
    files = [FONTS / package / f"{name}.ttf" for package, names in PACKAGES.items() for name in names]
    missing = [str(file) for file in files if not file.is_file()]
    if missing:
        raise DataError(
            f"no font {missing[0]}: install Debian's fonts-dejavu-core, fonts-freefont-ttf and fonts-liberation"
        )
    fonts = [[ImageFont.truetype(str(file), size) for size in (22, 25, 28)] for file in files]
    masks = np.empty((len(labels), SIZE, SIZE), np.float32)
    for number, label in enumerate(labels):
        font = fonts[random.integers(len(fonts))][random.integers(3)]
        x, y = random.integers(-3, 4, 2)
        image = Image.new("L", (SIZE, SIZE))
        drawer = ImageDraw.Draw(image)
        drawer.text((SIZE / 2 + x, SIZE / 2 + y), LETTERS[label], fill=255, font=font, anchor="mm")
        turned = image.rotate(float(random.uniform(-12, 12)), Image.Resampling.BILINEAR)
        masks[number] = np.asarray(turned, np.float32) / 255
    return masks


def _textures(count: int, random: np.random.Generator, spread: float = 0.08) -> Tensor:
    """Smooth colours with a little grain, of any mean lightness."""
    grid = torch.from_numpy(random.normal(0, 1, (count, 3, 6, 6)).astype(np.float32))
    smooth = F.interpolate(grid, (SIZE, SIZE), mode="bicubic", align_corners=False)
    grain = torch.from_numpy(random.normal(0, 1, (count, 3, SIZE, SIZE)).astype(np.float32))
    mean = torch.from_numpy(random.uniform(0.2, 0.8, (count, 3, 1, 1)).astype(np.float32))
    return mean + spread * smooth + spread / 3 * grain
