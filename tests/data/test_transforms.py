"""Pictures become a model's input pixel for pixel as torchvision, RobustBench and timm make them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision import transforms

from auditor.data import load_images
from auditor.errors import DataError, UsageError
from auditor.records import CustomData, Transform
from tests.data import layouts

SIZES = [(40, 60), (61, 33), (50, 50), (97, 31)]
OWN = {"classes": ("a", "b"), "levels": (("x", "y"),)}


def _pictures(root: Path) -> tuple[CustomData, list[Image.Image]]:
    """Pictures of several sizes in an image folder, and as PIL has them, in the folder's order."""
    images = [layouts.random_pixels(*size, 3, seed=number) for number, size in enumerate(SIZES)]
    layouts.image_folder(root, {"a": images[::2], "b": images[1::2]})
    return CustomData(path=str(root), **OWN), [Image.fromarray(image) for image in images]


TRANSFORMS = [
    (Transform(resize=36, crop=(32, 32)), [transforms.Resize(36), transforms.CenterCrop(32)]),
    (Transform(crop=(28, 28)), [transforms.CenterCrop(28)]),
    (Transform(crop=(64, 72)), [transforms.CenterCrop((64, 72))]),
    (Transform(resize=(24, 24)), [transforms.Resize([24, 24])]),
    (
        Transform(resize=36, crop=(32, 32), interpolation="bicubic"),
        [transforms.Resize(36, transforms.InterpolationMode("bicubic")), transforms.CenterCrop(32)],
    ),
]


@pytest.mark.parametrize(("transform", "steps"), TRANSFORMS, ids=str)
def test_pictures_are_transformed_as_by_torchvision(tmp_path: Path, transform: Transform, steps: list) -> None:
    own, pictures = _pictures(tmp_path / "images")
    expected = torch.stack([transforms.Compose([*steps, transforms.ToTensor()])(picture) for picture in pictures])
    assert np.array_equal(load_images("own", None, custom=own, transform=transform).images, expected.numpy())


@pytest.mark.parametrize(
    ("size", "crop_pct", "interpolation"), [(32, 0.875, "bicubic"), (28, 0.9, "bilinear"), (30, 1.0, "bicubic")]
)
def test_pictures_are_transformed_as_by_timm(tmp_path: Path, size: int, crop_pct: float, interpolation: str) -> None:
    timm_data = pytest.importorskip("timm.data", reason="needs timm: pip install 'auditor[zoos]'")
    own, pictures = _pictures(tmp_path / "images")
    steps = timm_data.create_transform(
        (3, size, size), crop_pct=crop_pct, interpolation=interpolation, mean=(0, 0, 0), std=(1, 1, 1)
    )
    transform = Transform(resize=int(size / crop_pct), crop=(size, size), interpolation=interpolation)
    expected = torch.stack([steps(picture) for picture in pictures])
    assert np.array_equal(load_images("own", None, custom=own, transform=transform).images, expected.numpy())


def _npz(path: Path, images: NDArray) -> CustomData:
    np.savez(path, images=images, labels=np.arange(len(images)) % 2)
    return CustomData(path=str(path), **OWN)


@pytest.mark.parametrize(("transform", "steps"), TRANSFORMS, ids=str)
def test_arrays_are_transformed_as_pictures_are(tmp_path: Path, transform: Transform, steps: list) -> None:
    # Neither black nor white, lest bicubic overshoots: PIL cuts bytes off after each of two passes, floats at the end.
    pixels = layouts.random_pixels(3, 40, 60, 3) // 2 + 64
    expected = torch.stack([transforms.Compose([*steps, transforms.ToTensor()])(Image.fromarray(x)) for x in pixels])
    found = load_images("own", None, custom=_npz(tmp_path / "bytes.npz", pixels), transform=transform)
    assert np.array_equal(found.images, expected.numpy())
    grey = load_images("own", None, custom=_npz(tmp_path / "grey.npz", pixels[..., 0]), transform=transform)
    assert np.array_equal(grey.images[:, 0], expected.numpy()[:, 0])
    floats = np.float32(pixels.transpose(0, 3, 1, 2) / 255)
    close = load_images("own", None, custom=_npz(tmp_path / "floats.npz", floats), transform=transform)
    assert close.images.dtype == np.float32
    assert np.abs(close.images - expected.numpy()).max() < 2 / 255  # the bytes' rounding, once a pass


def test_floats_stay_in_their_range(tmp_path: Path) -> None:
    checks = np.indices((12, 12)).sum(0) // 3 % 2
    own = _npz(tmp_path / "floats.npz", checks[None, None].astype(np.float32))
    found = load_images("own", None, custom=own, transform=Transform(resize=30, interpolation="bicubic"))
    assert (found.images.min(), found.images.max()) == (0, 1)


def test_pictures_of_several_sizes_need_a_transform(tmp_path: Path) -> None:
    own, _ = _pictures(tmp_path / "images")
    with pytest.raises(DataError, match=r"one size, got 60 x 40 .* and 33 x 61 .*set a transform for the model"):
        load_images("own", None, custom=own)
    with pytest.raises(DataError, match=r"one size, got 54 x 36"):
        load_images("own", None, custom=own, transform=Transform(resize=36))
    with pytest.raises(UsageError, match=r"expected interpolation bilinear or bicubic or .*, got 'magic'"):
        load_images("own", None, custom=own, transform=Transform(resize=36, interpolation="magic"))


def test_the_digest_changes_with_whatever_changes_the_samples(tmp_path: Path) -> None:
    pixels, labels = layouts.random_pixels(4, 6, 6, 3), np.array([0, 1, 0, 1])

    def digest(images: NDArray, labels: NDArray, samples: int | None = None, transform: Transform | None = None) -> str:
        path = tmp_path / "set.npz"
        np.savez(path, images=images, labels=labels)
        return load_images("own", samples, custom=CustomData(path=str(path), **OWN), transform=transform).digest

    changed = pixels.copy()
    changed[-1, -1, -1, -1] ^= 1
    found = [
        digest(pixels, labels),
        digest(changed, labels),
        digest(pixels, 1 - labels),
        digest(pixels, labels, 3),
        digest(pixels, labels, None, Transform(crop=(5, 5))),
        digest(pixels, labels, None, Transform(resize=(5, 5))),
        digest(pixels, labels, None, Transform(resize=(5, 5), interpolation="bicubic")),
        digest(pixels.reshape(4, 4, 9, 3), labels),
    ]
    assert len(set(found)) == len(found)
    assert digest(pixels, labels) == found[0]
