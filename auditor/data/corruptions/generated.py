"""Corruptions generated from test images with imagecorruptions-imaug, the library of Hendrycks and Dietterich's 15.

The library draws from NumPy's global generator, and two of its functions from generators of their own. Here each
picture is drawn with a seed of its own, so that neither batches nor their order matter.
"""

import contextlib
import hashlib
import importlib.util
import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auditor.data.channels import fit_channels
from auditor.data.corruptions.store import load_or_make
from auditor.data.digests import set_digest
from auditor.data.samples import Arrays, Samples
from auditor.data.transforms import transform_arrays
from auditor.errors import DataError, EnvironmentUnusableError
from auditor.records import Transform
from auditor.records.corruptions import COMMON, SEVERITIES

PACKAGES = ("imagecorruptions-imaug", "opencv-python", "scikit-image", "numba", "numpy", "scipy", "pillow")
"""The packages whose versions may change a generated picture."""
LEAST = 32
"""The library's least height and width; smaller pictures are extended by reflection, and cut to their size again."""
GREEN = 1
"""The channel that a grey picture keeps. A mix of the three would average their noise to two thirds of its strength."""
FORM = 1
"""Increased whenever :func:`corrupt_picture` could make another picture of the same one."""
OWN_SEED = ("impulse_noise", "glass_blur")
"""The library's functions that draw from a generator of their own."""
STRENGTH = "with the severities of ImageNet-C; at 32 x 32 pixels these are stronger than CIFAR-10-C's and CIFAR-100-C's"


def check_library() -> None:
    """Check that the library is installed.

    Raises:
        EnvironmentUnusableError: it is not.
    """
    if importlib.util.find_spec("imagecorruptions") is None:
        raise EnvironmentUnusableError(
            "generating corruptions needs imagecorruptions-imaug: pip install 'auditor[corruptions]', "
            "or pass --data DIR with published files such as CIFAR-10-C's"
        )


def corrupt_picture(picture: NDArray[np.uint8], name: str, severity: int, *, seed: int, index: int) -> NDArray[Any]:
    """One picture ``(H, W, C)``, C 1 or 3, under one corruption; the same for the same arguments.

    Args:
        picture: bytes; grey is corrupted as RGB, and keeps the green channel.
        name: one of :data:`auditor.records.corruptions.COMMON`.
        severity: 1 to 5.
        seed: of all random draws.
        index: the picture's number in its data set.

    Example:
        >>> picture = np.full((28, 28, 1), 128, np.uint8)
        >>> corrupt_picture(picture, "fog", 3, seed=0, index=7).shape  # doctest: +SKIP
        (28, 28, 1)
    """
    from imagecorruptions import corrupt

    height, width, channels = picture.shape
    margins = [((LEAST - size + 1) // 2 if size < LEAST else 0) for size in (height, width)]
    if min(height, width) <= max(margins):
        raise DataError(f"expected pictures of at least 12 x 12 pixels to corrupt, got {width} x {height}")
    image = np.repeat(picture, 3, axis=2) if channels == 1 else picture
    image = np.pad(image, (*((margin, margin) for margin in margins), (0, 0)), mode="reflect")
    drawn = _seed_of(seed, index, name, severity)
    own = {"seed": drawn} if name in OWN_SEED else {}
    with _seeded(drawn), contextlib.redirect_stdout(io.StringIO()):  # the library prints when it rounds a size
        made: NDArray[Any] = corrupt(np.ascontiguousarray(image), severity=severity, corruption_name=name, **own)
    top, left = margins
    made = made[top : top + height, left : left + width]
    return made[:, :, GREEN : GREEN + 1] if channels == 1 else made


def _seed_of(seed: int, index: int, name: str, severity: int) -> int:
    """32 bits from everything that names a picture."""
    digest = hashlib.sha256(f"{seed} {index} {name} {severity}".encode()).digest()
    return int.from_bytes(digest[:4], "little")


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed NumPy's global generator, and restore its state afterwards."""
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(state)


@dataclass(frozen=True)
class GeneratedImages:
    """Corruptions of test images ``(N, C, H, W)``, bytes, before a transform that makes the model's input of them."""

    pictures: NDArray[np.uint8]
    indices: NDArray[np.int64]
    transform: Transform | None
    channels: int
    seed: int
    digest: str

    @property
    def names(self) -> tuple[str, ...]:
        return COMMON

    @property
    def identity(self) -> dict[str, Any]:
        return {
            "generated": {name: version(name) for name in PACKAGES},
            "pictures": self.digest,
            "seed": self.seed,
            "form": FORM,
        }

    @property
    def notes(self) -> tuple[str, ...]:
        return (f"corruptions generated by {PACKAGES[0]} {version(PACKAGES[0])}, seed {self.seed}, {STRENGTH}",)

    def first(self, number: int) -> "GeneratedImages":
        """The corruptions of the first ``number`` images."""
        pictures, indices = self.pictures[:number], self.indices[:number]
        return replace(self, pictures=pictures, indices=indices, digest=set_digest(pictures, indices))

    def load(self, name: str) -> Iterator[NDArray[np.uint8]]:
        """The images ``(N, C, H, W)`` under a corruption, at severity 1 to 5 in turn."""
        key = hashlib.sha256(repr((sorted(self.identity.items()), name)).encode()).hexdigest()
        made = load_or_make(key, (len(SEVERITIES), *self.pictures.shape), lambda severity: self._make(name, severity))
        convert = None if self.transform is None else self.transform.channels
        for images in made:
            fitted, _ = fit_channels(images, self.channels, convert)
            pixels = fitted if self.transform is None else transform_arrays(fitted, self.transform)
            yield pixels

    def _make(self, name: str, severity: int) -> NDArray[np.uint8]:
        made = [
            corrupt_picture(picture.transpose(1, 2, 0), name, severity, seed=self.seed, index=int(index))
            for picture, index in zip(self.pictures, self.indices, strict=True)
        ]
        return np.stack(made).transpose(0, 3, 1, 2)


def generate(
    samples: Samples, indices: NDArray[np.int64], transform: Transform | None, channels: int, seed: int
) -> GeneratedImages:
    """Corruptions of these samples.

    Pictures in arrays, which have one size, are corrupted before the model's transform, as CIFAR-10-C is. Picture files
    are corrupted after it, as ImageNet-C is, whose pictures are resized and cropped first.
    """
    if isinstance(samples, Arrays):
        pictures, after = samples.images, transform
        if channels == 1 and pictures.shape[1] == 3:  # RGB that is grey, or that the transform makes grey
            pictures, _ = fit_channels(pictures, 1, None if transform is None else transform.channels)
    else:
        (pictures, _), after = samples.pixels(transform, channels), None
    if pictures.dtype != np.uint8:
        pictures = np.round(pictures * 255).astype(np.uint8)
    pictures = np.ascontiguousarray(pictures)
    return GeneratedImages(pictures, indices, after, channels, seed, set_digest(pictures, indices))
