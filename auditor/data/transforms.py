"""From a picture of any size to a model's input, pixel for pixel as torchvision transforms PIL images."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from auditor.errors import UsageError
from auditor.records import Transform

INTERPOLATIONS = ("bilinear", "bicubic", "lanczos", "nearest", "box", "hamming")


def pipeline(transform: Transform | None) -> Callable[[Image.Image], Image.Image]:
    """The transform of one picture; None leaves the picture unchanged.

    Raises:
        UsageError: the interpolation is unknown.
    """
    from torchvision import transforms

    steps: list[Any] = []
    if transform is not None and transform.resize is not None:
        if transform.interpolation not in INTERPOLATIONS:
            raise UsageError(f"expected interpolation {' or '.join(INTERPOLATIONS)}, got {transform.interpolation!r}")
        steps.append(transforms.Resize(transform.resize, transforms.InterpolationMode(transform.interpolation)))
    if transform is not None and transform.crop is not None:
        if transform.crop_at == "floor":
            steps.append(functools.partial(_crop, *transform.crop))
        else:
            steps.append(transforms.CenterCrop(transform.crop))
    apply: Callable[[Image.Image], Image.Image] = transforms.Compose(steps)
    return apply


def _crop(height: int, width: int, picture: Image.Image) -> Image.Image:
    """The centre crop of this size, half a pixel to the top left if need be; black around a smaller picture."""
    left, top = (picture.width - width) // 2, (picture.height - height) // 2
    return picture.crop((left, top, left + width, top + height))


def transform_arrays(images: NDArray[Any], transform: Transform) -> NDArray[Any]:
    """The same for images ``(N, C, H, W)``, uint8 or float32 in [0, 1], one channel at a time; the type stays."""
    if transform.resize is None and transform.crop is None:
        return images
    apply = pipeline(transform)
    made = [[np.asarray(apply(Image.fromarray(channel))) for channel in image] for image in images]
    clipped: NDArray[Any] = np.clip(np.array(made, images.dtype), 0, 255 if images.dtype == np.uint8 else 1)
    return clipped
