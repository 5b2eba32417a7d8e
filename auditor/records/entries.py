"""Zoo entries: a model with its data set, classes, threat model and transform; as JSON, and back."""

from dataclasses import dataclass, field
from typing import Any

from auditor.errors import UsageError, first_line


@dataclass(frozen=True, kw_only=True)
class Transform:
    """How a picture of any size becomes a model's input: resized, then cropped at its centre, in [0, 1] pixels.

    Attributes:
        channels: ``grey`` removes colours, ``rgb`` keeps them; for None colours are an error if the model takes grey.
        resize: the shorter side in pixels, or both as (height, width); None keeps the size.
        crop: (height, width) of the centre crop; None keeps all.
        interpolation: one of Pillow's filters: ``bilinear``, ``bicubic``, ``lanczos``, ``nearest``, ``box``,
            ``hamming``.
        crop_at: where the crop begins if half a pixel is left over: ``round`` as in torchvision and timm, ``floor`` as
            in transformers.
    """

    resize: int | tuple[int, int] | None = None
    crop: tuple[int, int] | None = None
    interpolation: str = "bilinear"
    channels: str | None = None
    crop_at: str = "round"


@dataclass(frozen=True, kw_only=True)
class CustomData:
    """A custom data set, which a zoo.toml describes.

    Attributes:
        path: an image folder, or an .npz file of images and labels; None is enough for the protocol ``screen``.
        classes: K names in the order of the logits.
        levels: K superclass labels for each level, the finest level first.
        headline: the level of the scores.
    """

    path: str | None
    classes: tuple[str, ...]
    levels: tuple[tuple[str, ...], ...]
    headline: int = 0


@dataclass(frozen=True, kw_only=True)
class ZooEntry:
    """One model of a zoo, before it is loaded.

    Attributes:
        model: its name, ``source:id``.
        architecture: a name and its arguments.
        preprocessing: the normalization inside the model.
        dataset: the name of its data set, which also names its class hierarchy.
        own_data: the custom data set; None for a known one. The name is part of stored JSON.
        transform: how the pictures of its data set become its input; None leaves them unchanged.
        threat_model: its name, as in RobustBench: ``Linf``, ``L2``, ``corruptions``.
        norm, eps: the norm ball of its audits; ``eps`` in units of the [0, 1] pixels. For audits under common
            corruptions a name of :data:`auditor.records.corruptions.NAMES`, and 0.
        file_sha256: the digest of the weight file, if it is known before loading.
        training: how the model was trained, for people and plots; has no effect on numbers.
        place: the absolute folder of a local zoo, which distinguishes its models from those of another local zoo.
    """

    model: str
    source: str
    description: str
    architecture: dict[str, Any]
    preprocessing: dict[str, Any]
    dataset: str
    threat_model: str
    norm: str
    eps: float
    input_size: tuple[int, int, int]
    file_sha256: str | None = None
    training: dict[str, Any] = field(default_factory=dict)
    own_data: CustomData | None = None
    transform: Transform | None = None
    place: str | None = None


def entry_to(entry: ZooEntry) -> dict[str, Any]:
    """A zoo entry as JSON, including nested records."""
    from auditor.records.json import to_json  # pydantic takes long to import

    return to_json(entry)


def entry_from(stored: dict[str, Any]) -> ZooEntry:
    from auditor.records.json import from_json

    return from_json(ZooEntry, stored)


def read_stored_entry(stored: dict[str, Any]) -> ZooEntry:
    """Raises UsageError if another version of auditor stored the entry."""
    try:
        return entry_from(stored)
    except ValueError as error:
        raise UsageError(f"its zoo entry was written by another version of auditor: {first_line(error)}") from error
