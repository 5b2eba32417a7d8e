"""From one checked table to an entry: what it leaves out comes from the data set and from timm."""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditor.errors import EnvironmentUnusableError
from auditor.records import Transform, ZooEntry
from auditor.zoo.local import sources
from auditor.zoo.local.datasets import Dataset, Size
from auditor.zoo.local.lines import Key
from auditor.zoo.local.tables import Model, inside

if TYPE_CHECKING:
    from auditor.zoo.local.timm_models import Defaults


class EntryError(Exception):
    """What is wrong with a table as a whole: the keys concerned, and the messages."""

    def __init__(self, problems: list[tuple[Key, str]]) -> None:
        super().__init__(problems)
        self.problems = problems


def entry_of(model: Model, dataset: Dataset, folder: Path) -> tuple[ZooEntry, tuple[str, ...]]:
    """The entry, and notes on what was taken from timm's pretrained_cfg.

    timm is asked, and imported, only where the table leaves out what it could say.

    Raises:
        EntryError: something is missing or does not fit the rest.
    """
    defaults = _defaults(model, dataset)
    size = _input_size(model, dataset, defaults)
    mean, std, notes = _normalization(model, size, defaults)
    entry = ZooEntry(
        model=f"local:{model.name}",
        source="local",
        description=model.description or f"{model.architecture.timm or model.architecture.python}",
        architecture=_architecture(model, dataset, size, folder),
        preprocessing={"mean": list(mean), "std": list(std)} if mean else {},
        dataset=dataset.name,
        threat_model=model.threat_model or model.norm,
        norm=model.norm,
        eps=model.eps,
        input_size=size,
        file_sha256=model.sha256,
        own_data=dataset.own,
        transform=_transform(model, dataset, size, defaults),
        place=str(folder.resolve()),
    )
    return entry, notes


def _input_size(model: Model, dataset: Dataset, defaults: "Defaults | None") -> Size:
    """Of the model, else of the data set or timm; ``channels`` decides where no table says an input size."""
    found = model.input_size or dataset.input_size or (defaults.input_size if defaults else None)
    if found is None:
        raise EntryError([(("input_size",), "missing: [channels, height, width] of the model's input")])
    if model.channels and model.input_size is None and found == dataset.picture_size:
        return {"grey": 1, "rgb": 3}[model.channels], *found[1:]
    if model.channels == "rgb" and found[0] != 3:
        raise EntryError([(("channels",), f"expected 'grey' for an input_size of {list(found)}, got 'rgb'")])
    return found


def _defaults(model: Model, dataset: Dataset) -> "Defaults | None":
    """What timm says of its network; None where there is nothing left to ask, or no timm network."""
    name = model.architecture.timm
    size = model.input_size or dataset.input_size
    as_they_are = model.resize == 0 or _has_size(dataset, size)
    scaling_said = as_they_are or (model.resize is not None and model.interpolation is not None)
    if name is None or (size and model.mean is not None and model.std is not None and scaling_said):
        return None
    try:
        from auditor.zoo.local import timm_models
    except ImportError as error:
        raise EnvironmentUnusableError(
            f"{model.name}: timm is not installed, to say what zoo.toml leaves out: install auditor[zoos]"
        ) from error
    try:
        return timm_models.defaults_of(name)
    except ValueError as error:
        raise EntryError([(("architecture", "timm"), str(error))]) from error


def _normalization(
    model: Model, size: Size, defaults: "Defaults | None"
) -> tuple[tuple[float, ...], tuple[float, ...], tuple[str, ...]]:
    mean, std = model.mean, model.std
    notes: tuple[str, ...] = ()
    if mean is None and std is None and defaults:
        mean, std = defaults.mean, defaults.std
        notes = (f"mean and std are those of timm's pretrained_cfg of {model.architecture.timm}",)
    if mean is None or std is None:
        lacking = [key for key, numbers in (("mean", mean), ("std", std)) if numbers is None]
        raise EntryError(
            [((key,), "missing: numbers of the [0, 1] pixels, one a channel, or 'none'") for key in lacking]
        )
    if mean and len(mean) != size[0]:
        raise EntryError([(("mean",), f"expected {size[0]} numbers, one a channel of {list(size)}, got {len(mean)}")])
    return mean, std, notes


def _transform(model: Model, dataset: Dataset, size: Size, defaults: "Defaults | None") -> Transform | None:
    """How pictures become the input; None where they are it already, or where the table says so."""
    height, width = size[1:]
    unscaled = Transform(channels=model.channels) if model.channels else None
    if model.resize is None and model.crop is None and _has_size(dataset, size):
        return unscaled
    resize = model.resize if model.resize is not None else _usual_resize(height, width, defaults)
    wanted = (height, width) if model.crop is None else model.crop
    crop: tuple[int, int] | None = (wanted, wanted) if isinstance(wanted, int) else wanted
    if model.crop == 0 or (model.resize == 0 and model.crop is None):
        crop = None
    if crop and crop != (height, width):
        raise EntryError([(("crop",), f"expected {[height, width]}, as of input_size, got {list(crop)}")])
    if not resize and not crop:
        return unscaled
    sides = (resize, resize) if isinstance(resize, int) else resize
    if crop and resize and (sides[0] < crop[0] or sides[1] < crop[1]):
        raise EntryError([(("resize",), f"expected room for a crop of {list(crop)}, got {resize}")])
    kind = model.interpolation or (defaults.interpolation if defaults else "bilinear")
    return Transform(resize=resize or None, crop=crop, interpolation=kind, channels=model.channels)


def _has_size(dataset: Dataset, size: Size | None) -> bool:
    """Whether the data set's pictures are as high and wide as the input."""
    return size is not None and dataset.picture_size is not None and size[1:] == dataset.picture_size[1:]


def _usual_resize(height: int, width: int, defaults: "Defaults | None") -> int | tuple[int, int]:
    """At timm's own size its margin around the crop; elsewhere none."""
    if defaults is None or defaults.input_size[1:] != (height, width):
        return max(height, width)
    return (height, width) if defaults.squash else int(max(height, width) / defaults.crop_fraction)


def _architecture(model: Model, dataset: Dataset, size: Size, folder: Path) -> dict[str, Any]:
    """Name and arguments; of Python the digest, too, since its code can change the numbers."""
    chosen = model.architecture
    if chosen.timm is not None:
        kwargs = {"num_classes": dataset.classes, "in_chans": size[0]} | chosen.kwargs
        return {"timm": chosen.timm, "version": _timm_version(), "kwargs": kwargs}
    name = str(chosen.python)
    digest = sources.digest(folder.resolve(), inside(folder, name.rpartition(":")[0]))
    return {"python": name, "kwargs": chosen.kwargs, "sha256": digest}


def _timm_version() -> str | None:
    """Another version's network of this name may be another; None where timm is not installed, and loading fails."""
    try:
        return version("timm")
    except PackageNotFoundError:
        return None
