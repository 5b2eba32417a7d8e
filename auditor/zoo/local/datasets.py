"""The data sets that a zoo.toml names or describes."""

import functools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from auditor.data import CLASSES, Hierarchy, load_hierarchy
from auditor.records import CustomData
from auditor.text.printable import check_printable, clean_line
from auditor.text.similar import did_you_mean
from auditor.zoo.local.text import check_path

Size = tuple[int, int, int]
LONGEST_NAME = 200
LARGEST_SIDE = 16_384

SIZES: dict[str, Size] = {
    "fashion_mnist": (1, 28, 28), "cifar10": (3, 32, 32), "cifar100": (3, 32, 32), "svhn": (3, 32, 32),
    "stl10": (3, 96, 96), "tiny_imagenet": (3, 64, 64),
}  # fmt: skip
"""The known data sets whose pictures have one size; pictures of the others are scaled to the model's input."""


@dataclass(frozen=True)
class Dataset:
    """The properties of a data set that entries need.

    ``classes`` is the number of its classes; ``picture_size`` is the size of its pictures, if known.
    """

    name: str
    classes: int
    custom: CustomData | None = None
    input_size: Size | None = None
    picture_size: Size | None = None


def known_dataset(name: str, others: Iterable[str] = ()) -> Dataset:
    """Look up a data set that auditor knows.

    Raises:
        ValueError: the name is unknown; the message suggests similar names, also from ``others``.
    """
    if name not in CLASSES:
        raise ValueError(f"no data set named {name!r}; {suggest(name, [*others, *CLASSES])}")
    return Dataset(name, len(CLASSES[name]), None, SIZES.get(name), SIZES.get(name))


def suggest(name: object, names: Sequence[str]) -> str:
    """``did you mean …?`` with similar names, or else all names."""
    return did_you_mean(str(name), map(str, names), f"expected one of: {', '.join(names)}", 2)


def check_name(name: str) -> str:
    """Return a name that fits on one line.

    Raises:
        ValueError: the name is too long, or holds characters that are not printable.
    """
    if len(name) > LONGEST_NAME:
        raise ValueError(f"expected a name of at most {LONGEST_NAME} characters, got {len(name)}: {name[:40]!r}…")
    return check_printable(name)


def as_size(value: Any) -> Size:
    if not (
        isinstance(value, list)
        and len(value) == 3
        and all(type(number) is int and 0 < number <= LARGEST_SIDE for number in value)
    ):
        raise ValueError(f"expected [channels, height, width], got {value!r:.100}")
    return value[0], value[1], value[2]


InputSize = Annotated[Size, BeforeValidator(as_size)]


def _classes(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        known_dataset(value)
        return CLASSES[value]
    if not isinstance(value, list) or not all(isinstance(name, str) and name for name in value):
        raise ValueError(f"expected a list of names, or the name of a known data set, got {value!r:.60}")
    twice = sorted(name for name, times in Counter(value).items() if times > 1)
    if twice:
        raise ValueError(f"expected each class once, these are named twice: {_few(twice)}")
    for name in value:
        check_name(name)
    if len(value) < 2:
        raise ValueError(f"expected 2 classes or more, got {len(value)}")
    return tuple(value)


def _groups(value: Any, classes: tuple[str, ...], where: str) -> tuple[str, ...]:
    """The group of each class at one level."""
    if not isinstance(value, dict) or not all(isinstance(members, list) for members in value.values()):
        raise ValueError(f"{where}expected a table of groups, name = [classes], got {value!r:.60}")
    for group in value:
        check_name(group)
    members = Counter(str(member) for group in value.values() for member in group)
    missing = [name for name in classes if name not in members]
    unknown = [member for member in members if member not in set(classes)]
    twice = sorted(member for member, times in members.items() if times > 1)
    faults = [f"{len(missing)} of {len(classes)} classes are in no group ({_few(missing)})"] if missing else []
    faults += [f"{unknown[0]!r} is not a class; {suggest(unknown[0], classes)}"] if unknown else []
    faults += [f"in two groups: {_few(twice)}"] if twice else []
    if faults:
        raise ValueError(where + "; ".join(faults))
    group_of = {str(member): group for group, names in value.items() for member in names}
    return tuple(group_of[name] for name in classes)


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


class DatasetTable(BaseModel):
    """A data set table of zoo.toml; the order of the fields is that of the checks."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    name: Annotated[str, AfterValidator(check_name)] | None = Field(None, min_length=1)
    path: Annotated[str, AfterValidator(check_path)] | None = Field(None, min_length=1)
    classes: Annotated[tuple[str, ...], BeforeValidator(_classes)] = Field(
        description="a list of names in the order of the logits, or the name of a known data set"
    )
    superclasses: tuple[tuple[str, ...], ...] | None = None
    headline: int | None = None
    input_size: InputSize | None = None

    @field_validator("superclasses", mode="before")
    @classmethod
    def _levels(cls, value: Any, info: ValidationInfo) -> Any:
        classes = info.data.get("classes")
        if classes is None:  # the mistake in classes is reported
            return None
        if isinstance(value, dict):
            return (_groups(value, classes, ""),)
        if not isinstance(value, list) or not value:
            raise ValueError(f"expected a table of groups, or a list of such levels, got {value!r:.60}")
        levels = tuple(_groups(level, classes, f"level {number}: ") for number, level in enumerate(value))
        if any(len(set(finer)) < len(set(coarser)) for finer, coarser in pairwise(levels)):
            raise ValueError("expected the levels in order, the one with most groups first")
        return levels


def make_dataset(table: DatasetTable, name: str | None, known: str | None, folder: Path) -> Dataset:
    """Make the data set that a table describes; ``known`` is the known data set whose classes and levels it uses.

    Raises:
        ValueError: the headline is not one of the levels.
    """
    hierarchy = _hierarchy(known) if known and table.superclasses is None else None
    levels = hierarchy.levels if hierarchy else table.superclasses or (table.classes,)  # one group for each class
    headline = table.headline if table.headline is not None else hierarchy.headline if hierarchy else 0
    if not 0 <= headline < len(levels):
        raise ValueError(f"expected a level from 0 to {len(levels) - 1}, got {headline}")
    path = folder / Path(table.path).expanduser() if table.path else None
    name = table.name or name or (clean_line(path.stem) if path else "own")
    custom = CustomData(path=str(path) if path else None, classes=table.classes, levels=levels, headline=headline)
    return Dataset(name, len(table.classes), custom, table.input_size)


@functools.cache
def _hierarchy(name: str) -> Hierarchy:
    return load_hierarchy(name, CLASSES[name])
