"""Probe images: random pictures on which a classifier is looked at where there is no data."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from auditor.attacks.gradient import frozen
from auditor.compute.batches import map_batches

Size = tuple[int, int, int]
CONFIDENT_KINDS = ("smooth", "leaves", "shapes", "blobs")
SHAPES = 25
DRAWN_SIDE = 64
"""Pictures with a longer side are drawn with this one and enlarged; noise is always drawn pixel by pixel."""


def probe_images(kind: str, count: int, input_size: Size, seed: int = 0) -> Tensor:
    """Random images of one kind, ``(count, C, H, W)`` float32 in [0, 1]; drawn on the CPU, the same everywhere.

    Args:
        kind: ``uniform`` noise; ``smooth`` noise, a 7x7 grid enlarged; ``leaves``, overlapping rectangles of random
            size and colour (dead leaves); ``shapes``, overlapping ellipses, shaded and a little blurred; ``blobs``, one
            shaded figure on an even ground, every other one on black.
        input_size: ``(C, H, W)``.
        seed: of all draws; the first images do not depend on ``count``.
    """
    draw, size = PROBES[kind], input_size if kind == "uniform" else _drawn_size(input_size)
    images = torch.stack([draw(size, torch.Generator().manual_seed(seed * 1_000_003 + i)) for i in range(count)])
    if size == input_size:
        return images
    return F.interpolate(images, input_size[1:], mode="bilinear", align_corners=False)


def confident_images(model: nn.Module, input_size: Size, count: int, seed: int, pool: int = 8) -> tuple[Tensor, Tensor]:
    """Of ``pool`` times as many random images those with the largest margins of logits: ``(count, C, H, W)``.

    Only the order of the margins matters, not the scale of the logits. Also returns the model's answers to the whole
    pool.
    """
    each = -(-pool * count // len(CONFIDENT_KINDS))
    images = torch.cat([probe_images(kind, each, input_size, seed + 104_729) for kind in CONFIDENT_KINDS])
    images = images.to(next((p for p in model.parameters() if p.is_floating_point()), images))
    with frozen(model), torch.no_grad():
        found = map_batches(lambda some: model(some.clone()).topk(2, dim=1), images, 64)
    two = torch.cat([some.values for some in found])
    margins = (two[:, 0] - two[:, 1]).nan_to_num(-torch.inf)
    return images[margins.topk(count).indices], torch.cat([some.indices[:, 0] for some in found])


def _drawn_size(size: Size) -> Size:
    """The size with sides shrunk in proportion, so that the longer one is at most ``DRAWN_SIDE``."""
    channels, height, width = size
    shrink = min(1.0, DRAWN_SIDE / max(height, width))
    return channels, max(1, round(height * shrink)), max(1, round(width * shrink))


def _uniform(size: Size, random: torch.Generator) -> Tensor:
    return torch.rand(size, generator=random)


def _smooth(size: Size, random: torch.Generator) -> Tensor:
    return _levelled(_field(size, 7, random), 0.4)


def _leaves(size: Size, random: torch.Generator) -> Tensor:
    channels, height, width = size
    image = torch.rand(channels, 1, 1, generator=random).expand(size).clone()
    places, colours = torch.rand(40, 4, generator=random).tolist(), torch.rand(40, channels, 1, 1, generator=random)
    for (y, x, tall, wide), colour in zip(places, colours, strict=True):
        # Side lengths from a tenth to a half of the image's, small ones more often.
        rows, columns = _span(y, 0.1 + 0.4 * tall**2, height), _span(x, 0.1 + 0.4 * wide**2, width)
        image[:, rows, columns] = colour
    return image


def _span(centre: float, extent: float, length: int) -> slice:
    low = (centre - extent / 2) * length
    return slice(max(0, math.floor(low)), max(1, math.ceil(low + extent * length)))


def _shapes(size: Size, random: torch.Generator) -> Tensor:
    channels, height, width = size
    ground = torch.rand(channels, 1, 1, generator=random)
    y, x, extent, turn, flat = torch.rand(5, SHAPES, 1, 1, generator=random)
    rows, columns = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    radius, angle = 0.05 + 0.3 * extent**2, math.pi * turn
    across = (columns - x) * angle.cos() + (rows - y) * angle.sin()
    along = (rows - y) * angle.cos() - (columns - x) * angle.sin()
    inside = (across / radius) ** 2 + (along / (radius * (0.3 + 0.7 * flat))) ** 2 < 1
    shades = _fields(SHAPES, size, 6, random)
    colours = torch.rand(SHAPES, channels, 1, 1, generator=random) + 0.1 * shades
    # Each pixel has the colour of the last ellipse that covers it.
    last = (inside * torch.arange(1, SHAPES + 1).view(-1, 1, 1)).amax(0)
    painted = torch.cat([ground.expand(size)[None], colours])
    image = painted.gather(0, last.expand(1, channels, height, width))[0]
    return _blurred(image).clamp(0, 1)


def _blobs(size: Size, random: torch.Generator) -> Tensor:
    channels, height, width = size
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    outline = _field((1, height, width), 5, random) + 1.2 - 2.2 * (rows**2 + columns**2)
    figure = torch.sigmoid(8 * outline)
    shade = 0.6 + 0.15 * _field(size, 8, random) + 0.25 * torch.randn(channels, 1, 1, generator=random)
    ground = torch.rand(channels, 1, 1, generator=random) * (torch.rand(1, generator=random) > 0.5)
    return (figure * shade + (1 - figure) * ground).clamp(0, 1)


def _field(size: Size, grid: int, random: torch.Generator) -> Tensor:
    return _fields(1, size, grid, random)[0]


def _fields(count: int, size: Size, grid: int, random: torch.Generator) -> Tensor:
    """Normal noise on a grid, enlarged: ``(count, C, H, W)``."""
    coarse = torch.randn(count, size[0], grid, grid, generator=random)
    return F.interpolate(coarse, size[1:], mode="bicubic", align_corners=False)


def _blurred(image: Tensor) -> Tensor:
    """Convolved with a Gaussian of 0.8 pixels."""
    line = torch.exp(-torch.arange(-2.0, 3.0).square() / (2 * 0.8**2))
    kernel = torch.outer(line, line) / line.sum() ** 2
    padded = F.pad(image[:, None], (2, 2, 2, 2), mode="replicate")
    return F.conv2d(padded, kernel[None, None])[:, 0]


def _levelled(image: Tensor, mean: float) -> Tensor:
    """Standard deviation 0.25 about ``mean``, clipped."""
    spread = image.std().clamp_min(1e-12)
    return (mean + 0.25 * (image - image.mean()) / spread).clamp(0, 1)


PROBES: dict[str, Callable[[Size, torch.Generator], Tensor]] = {
    "uniform": _uniform,
    "smooth": _smooth,
    "leaves": _leaves,
    "shapes": _shapes,
    "blobs": _blobs,
}
