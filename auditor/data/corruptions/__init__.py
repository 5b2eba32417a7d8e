"""Corrupted test images: published files, or generated from the test images of a data set."""

from dataclasses import replace
from pathlib import Path

from auditor.data import CorruptedImages, ImageSet, check_images, find_samples, load_images
from auditor.data.corruptions.generated import check_library, generate
from auditor.data.corruptions.published import check_published, clean_place, find_root, read_published
from auditor.errors import UsageError
from auditor.records import Measurement, ZooEntry
from auditor.records.corruptions import GENERATED, PUBLISHED, PUBLISHED_3D

__all__ = ["check_corrupted_images", "choose_data", "load_corrupted_images"]


def choose_data(entry: ZooEntry, threat_model: str, place: Path | None) -> str:
    """The corrupted images for a model: ``corruptions`` if ``place`` holds published files, else generated ones.

    Raises:
        UsageError: 3D corruptions, which cannot be generated, and no published files.
    """
    root = find_root(entry.dataset, threat_model, place) if entry.own_data is None else None
    if threat_model == PUBLISHED:
        return GENERATED if root is None else PUBLISHED
    if root is None:
        raise UsageError(
            f"{entry.model}: 3D corruptions cannot be generated: pass --data DIR with ImageNet-3DCC's published "
            "folders, such as DIR/ImageNet-3DCC/fog_3d/3"
        )
    return PUBLISHED_3D


def check_corrupted_images(entry: ZooEntry, request: Measurement) -> None:
    """Check the files and packages that an audit needs, before any model is loaded.

    Raises:
        DataError: published files, or the clean test images, are missing or not as published.
        EnvironmentUnusableError: the library that generates corruptions is not installed.
    """
    if entry.norm == GENERATED:
        check_library()
        place = request.data
    else:
        root = check_published(entry.dataset, entry.norm, request.data)
        place = clean_place(entry.dataset, root, request.data)
    check_images(entry.dataset, request.samples, place, custom=entry.own_data, or_fewer=request.or_fewer)


def load_corrupted_images(entry: ZooEntry, request: Measurement) -> ImageSet:
    """The clean test images of a data set, with ``corrupted``, from which each corruption of them is loaded.

    Raises:
        DataError, EnvironmentUnusableError: as :func:`check_corrupted_images`.
    """
    transform, channels = entry.transform, entry.input_size[0]
    root = None
    if entry.norm != GENERATED:
        root = check_published(entry.dataset, entry.norm, request.data)
    place = request.data if root is None else clean_place(entry.dataset, root, request.data)
    clean = load_images(
        entry.dataset, request.samples, place, custom=entry.own_data, transform=transform, channels=channels,
        or_fewer=request.or_fewer,
    )  # fmt: skip
    if root is None:
        samples = find_samples(entry.dataset, request.samples, place, custom=entry.own_data, or_fewer=request.or_fewer)
        corrupted: CorruptedImages = generate(samples, clean.indices, transform, channels, request.audit.seed)
    else:
        corrupted = read_published(root, entry, clean)
    return replace(clean, corrupted=corrupted, notes=(*clean.notes, *corrupted.notes))
