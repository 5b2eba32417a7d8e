"""From one checked table to an entry: defaults come from the data set and from timm."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditor.errors import EnvironmentUnusableError, file_reason
from auditor.files import file_sha256
from auditor.records import Transform, ZooEntry
from auditor.records.versions import installed_version
from auditor.user_code.digest import code_digest
from auditor.zoo.local.datasets import Dataset, Size
from auditor.zoo.local.graphs import NAMES
from auditor.zoo.local.lines import Key
from auditor.zoo.local.tables import Model, resolve_inside

if TYPE_CHECKING:
    from auditor.zoo.local.timm_models import Defaults


class EntryError(Exception):
    """Keys of one table that are missing or contradict each other, with messages."""

    def __init__(self, problems: list[tuple[Key, str]]) -> None:
        super().__init__(problems)
        self.problems = problems


def entry_of(model: Model, dataset: Dataset, folder: Path) -> tuple[ZooEntry, tuple[str, ...]]:
    """Make the entry of a table, and notes on values from timm's pretrained_cfg.

    timm is imported only if the table leaves out keys that its pretrained_cfg can fill in.

    Raises:
        EntryError: a key is missing or contradicts another one.
    """
    defaults = _defaults(model, dataset)
    size = _input_size(model, dataset, defaults)
    mean, std, notes = _normalization(model, size, defaults)
    entry = ZooEntry(
        model=f"local:{model.name}",
        source="local",
        description=model.description or _description(model),
        architecture=_architecture(model, dataset, size, folder),
        preprocessing={"mean": list(mean), "std": list(std)} if mean else {},
        dataset=dataset.name,
        threat_model=model.threat_model or model.norm,
        norm=model.norm,
        eps=model.eps,
        input_size=size,
        file_sha256=model.sha256,
        own_data=dataset.custom,
        transform=_transform(model, dataset, size, defaults),
        place=str(folder.resolve()),
    )
    return entry, notes


def _input_size(model: Model, dataset: Dataset, defaults: "Defaults | None") -> Size:
    """The input size of the model, the data set or timm; ``channels`` decides if no table gives an input size."""
    found = model.input_size or dataset.input_size or (defaults.input_size if defaults else None)
    if found is None:
        raise EntryError([(("input_size",), "missing: [channels, height, width] of the model's input")])
    if model.channels and model.input_size is None and found == dataset.picture_size:
        return {"grey": 1, "rgb": 3}[model.channels], *found[1:]
    if model.channels == "rgb" and found[0] != 3:
        raise EntryError([(("channels",), f"expected 'grey' for an input_size of {list(found)}, got 'rgb'")])
    return found


def _defaults(model: Model, dataset: Dataset) -> "Defaults | None":
    """Timm's defaults for its network; None if the table is complete or the network is not timm's."""
    name = model.timm_name
    size = model.input_size or dataset.input_size
    unscaled = model.resize == 0 or _has_size(dataset, size)
    scaling_given = unscaled or (model.resize is not None and model.interpolation is not None)
    if name is None or (size and model.mean is not None and model.std is not None and scaling_given):
        return None
    try:
        from auditor.zoo.local import timm_models
    except ImportError as error:
        raise EnvironmentUnusableError(
            f"{model.name}: zoo.toml leaves out values that timm knows: pip install 'auditor[timm]'"
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
        notes = (f"mean and std are from timm's pretrained_cfg of {model.timm_name}",)
    if mean is None or std is None:
        missing = [key for key, numbers in (("mean", mean), ("std", std)) if numbers is None]
        raise EntryError(
            [((key,), "missing: one number for each channel, for [0, 1] pixels, or 'none'") for key in missing]
        )
    if mean and len(mean) != size[0]:
        raise EntryError(
            [(("mean",), f"expected {size[0]} numbers, one for each channel of {list(size)}, got {len(mean)}")]
        )
    return mean, std, notes


def _transform(model: Model, dataset: Dataset, size: Size, defaults: "Defaults | None") -> Transform | None:
    """The transform from pictures to the input; None if there is nothing to do."""
    height, width = size[1:]
    unscaled = Transform(channels=model.channels) if model.channels else None
    if model.resize is None and model.crop is None and _has_size(dataset, size):
        return unscaled
    resize = model.resize if model.resize is not None else _usual_resize(height, width, defaults)
    given = (height, width) if model.crop is None else model.crop
    crop: tuple[int, int] | None = (given, given) if isinstance(given, int) else given
    if model.crop == 0 or (model.resize == 0 and model.crop is None):
        crop = None
    if crop and crop != (height, width):
        raise EntryError([(("crop",), f"expected {[height, width]}, the size of input_size, got {list(crop)}")])
    if not resize and not crop:
        return unscaled
    sides = (resize, resize) if isinstance(resize, int) else resize
    if crop and resize and (sides[0] < crop[0] or sides[1] < crop[1]):
        raise EntryError([(("resize",), f"expected at least the size of the crop, {list(crop)}, got {resize}")])
    kind = model.interpolation or (defaults.interpolation if defaults else "bilinear")
    return Transform(resize=resize or None, crop=crop, interpolation=kind, channels=model.channels)


def _has_size(dataset: Dataset, size: Size | None) -> bool:
    """Whether the data set's pictures are as high and wide as the input."""
    return size is not None and dataset.picture_size is not None and size[1:] == dataset.picture_size[1:]


def _usual_resize(height: int, width: int, defaults: "Defaults | None") -> int | tuple[int, int]:
    """Timm's size before the crop for an input of timm's size; otherwise the size of the input."""
    if defaults is None or defaults.input_size[1:] != (height, width):
        return max(height, width)
    return (height, width) if defaults.squash else int(max(height, width) / defaults.crop_fraction)


def _description(model: Model) -> str:
    if model.architecture is None:
        return f"{NAMES[model.graph]}, {model.weights}" if model.graph else model.weights
    return str(model.timm_name or model.architecture.python)


def _architecture(model: Model, dataset: Dataset, size: Size, folder: Path) -> dict[str, Any]:
    """Name and arguments, and for code its digest, because the code can change the numbers."""
    chosen = model.architecture
    if chosen is None:
        if model.graph == "onnx":
            return {"onnx": model.weights, "version": installed_version("onnx2pytorch")}
        return {"export": model.weights, "sha256": _file_digest(folder, model.weights)}
    if chosen.timm is not None:
        kwargs = {"num_classes": dataset.classes, "in_chans": size[0]} | chosen.kwargs
        return {"timm": chosen.timm, "version": installed_version("timm"), "kwargs": kwargs}
    name = str(chosen.python)
    try:
        digest = code_digest(folder.resolve(), resolve_inside(folder, name.rpartition(":")[0]))
    except (OSError, ValueError) as error:  # a file that has been replaced since its path was checked
        raise EntryError([(("architecture", "python"), f"cannot read the code: {file_reason(error)}")]) from error
    return {"python": name, "kwargs": chosen.kwargs, "sha256": digest}


def _file_digest(folder: Path, name: str) -> str | None:
    """SHA-256 of a file that holds code; None if it cannot be read, which fails when the model is loaded."""
    try:
        path = resolve_inside(folder, name)
        if not path.is_file():
            return None
        return file_sha256(path)
    except (OSError, ValueError):
        return None
