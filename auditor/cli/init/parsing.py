"""Reads what was typed for ``auditor init``; a wrong answer is a UsageError that says what is expected."""

import json
import re
from pathlib import Path
from typing import Any

from auditor.data.known import CLASSES
from auditor.data.recognize import FoundData, inspect_data
from auditor.errors import UsageError
from auditor.text.eps import parse_eps
from auditor.zoo.file_types import INDEX, WEIGHT_TYPES, file_type
from auditor.zoo.local.draft import (
    Architecture,
    Channels,
    check_network,
    find_networks,
)

Size = tuple[int, int, int]

MOST_LISTED = 9
NORMALIZATIONS: dict[str, tuple[Channels, Channels]] = {
    "none": ((), ()),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "mnist": ((0.1307,), (0.3081,)),
    "fashion_mnist": ((0.2860,), (0.3530,)),
}
UNNAMED = ("test", "val", "validation", "data", "images", "raw", "dataset")
"""Names of files and folders that say nothing about the data set in them."""
MODEL_NAME = re.compile(r"[A-Za-z0-9._\-+=@/]+")


def listed(text: str, names: list[str]) -> str:
    lines = [f"  {number} {name}" for number, name in enumerate(names[:MOST_LISTED], 1)]
    return "\n".join([text, *(["Found here; answer with a number, or with another one:"] if lines else []), *lines])


def choice(text: str, names: list[str]) -> str:
    """The name for the number of a listed one, or for the unique end of one, such as the class in a file."""
    ending = [name for name in names if name.endswith(f":{text}")]
    if len(ending) == 1:
        return ending[0]
    return names[int(text) - 1] if text.isdecimal() and 0 < int(text) <= min(len(names), MOST_LISTED) else text


def parse_weights(folder: Path, text: str) -> str:
    path = folder / Path(text).expanduser()
    if not path.is_file() and Path(text).is_file():
        path = Path(text)
    if not path.is_file():
        raise ValueError(f"there is no file {text!r} in {folder}")
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{path} is outside of {folder}: move it there, or name its folder as DIR")
    kind = file_type(path)
    if kind not in (*WEIGHT_TYPES, INDEX):
        raise ValueError(f"{path.name} is {kind}")
    return path.resolve().relative_to(folder.resolve()).as_posix()


def parse_data(text: str, folder: Path) -> str | FoundData:
    name = text.replace("-", "_")
    if name in CLASSES:
        return name
    if not text:
        raise ValueError("expected a path, or the name of a data set")
    path = Path(text).expanduser()
    return inspect_data(path if path.exists() or not (folder / path).exists() else folder / path)


def parse_classes(text: str, data: FoundData) -> tuple[str, ...]:
    if text == "numbers":
        return data.classes
    if text.replace("-", "_") in CLASSES:
        names = CLASSES[text.replace("-", "_")]
    elif Path(text).expanduser().is_file():
        lines = Path(text).expanduser().read_text(encoding="utf-8").splitlines()
        names = tuple(line.strip() for line in lines if line.strip())
    else:
        names = tuple(name.strip() for name in text.split(",") if name.strip())
    if len(set(names)) != len(names):
        raise ValueError("expected each class once")
    if len(names) < max(2, len(data.classes)):
        raise ValueError(f"expected {max(2, len(data.classes))} names or more, got {len(names)}")
    if data.layout == "image folder" and set(data.classes) - set(names) and len(names) != len(data.classes):
        raise ValueError(f"expected the names of the folders, {', '.join(data.classes[:5])}, …")
    return names


def parse_groups(text: str, classes: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    groups: dict[str, tuple[str, ...]] = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        group, sign, members = part.partition("=")
        if not sign or not group.strip():
            raise ValueError(f"expected GROUP=CLASS,CLASS; GROUP=CLASS, got {part!r:.60}")
        groups[group.strip()] = tuple(name.strip() for name in members.split(",") if name.strip())
    named = [name for members in groups.values() for name in members]
    unknown = [name for name in named if name not in classes]
    missing = [name for name in classes if name not in named] if groups else []
    twice = sorted({name for name in named if named.count(name) > 1})
    for problem, names in (("not a class", unknown), ("in no group", missing), ("in two groups", twice)):
        if names:
            raise ValueError(f"{problem}: {', '.join(names[:5])}")
    return groups


def parse_architecture(folder: Path, text: str) -> Architecture:
    kind, separator, name = text.partition(":")
    if separator and kind == "timm":
        return Architecture("timm", name)
    if separator and kind == "torchvision":
        check_torchvision(name)
        return Architecture("torchvision", name)
    if ".py" in text:
        if ":" not in text:
            networks = [one for one in find_networks(folder) if one.startswith(f"{text}:")]
            raise ValueError(f"expected FILE.py:CLASS, such as {networks[0] if networks else f'{text}:Net'}")
        check_network(folder, text)
        return Architecture("python", text)
    if not text:
        raise ValueError("expected a name such as resnet18, or FILE.py:CLASS")
    return named(text)


def named(name: str) -> Architecture:
    """A network that timm or torchvision has; timm's if both have it."""
    try:
        from auditor.zoo.local import timm_models
    except ImportError:
        check_torchvision(name)
        return Architecture("torchvision", name)
    try:
        timm_models.check_name(name)
    except ValueError as error:
        if has_torchvision(name):
            return Architecture("torchvision", name)
        raise ValueError(f"{error}; torchvision has none of this name either") from error
    return Architecture("timm", name)


def has_torchvision(name: str) -> bool:
    try:
        check_torchvision(name)
    except ValueError:
        return False
    return True


def check_torchvision(name: str) -> None:
    import difflib

    import torchvision

    names = torchvision.models.list_models(torchvision.models)
    if name not in names:
        close = ", ".join(difflib.get_close_matches(name, names, 2)) or "resnet18"
        raise ValueError(f"torchvision has no network {name!r}; it has {close}")


def parse_arguments(words: tuple[str, ...]) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or not name.isidentifier():
            raise UsageError(f"--argument: expected NAME=VALUE, such as width=64, got {word!r:.60}")
        try:
            arguments[name] = json.loads({"True": "true", "False": "false"}.get(value, value))
        except ValueError:
            arguments[name] = value
        if arguments[name] is None or isinstance(arguments[name], dict):
            raise UsageError(f"--argument {name}: expected a number, a text, true, false or a list, got {value!r:.60}")
    return arguments


def parse_size(text: str) -> Size:
    match = re.fullmatch(r"([13])\s*[x×,]\s*(\d{1,5})\s*[x×,]\s*(\d{1,5})", text.strip("[]() "))
    if match is None:
        raise ValueError(f"expected CHANNELSxHEIGHTxWIDTH, such as 3x224x224, got {text!r:.40}")
    return int(match[1]), int(match[2]), int(match[3])


def parse_normalization(text: str, channels: int) -> tuple[Channels, Channels]:
    if text.replace("-", "_") in NORMALIZATIONS:
        mean, std = NORMALIZATIONS[text.replace("-", "_")]
    else:
        parts = text.split("/")
        try:
            mean, std = (tuple(float(number) for number in part.split(",")) for part in parts)
        except ValueError:
            known = ", ".join(NORMALIZATIONS)
            raise ValueError(f"expected one of {known}, or MEANS/STDS, got {text!r:.60}") from None
    if mean and not len(mean) == len(std) == channels:
        raise ValueError(f"expected {channels} means and deviations, one per channel, got {len(mean)}")
    if any(value <= 0 for value in std):
        raise ValueError("expected positive deviations")
    return mean, std


def parse_norm(text: str) -> str:
    known = {"linf": "Linf", "l2": "L2"}
    if text.lower() not in known:
        raise ValueError(f"expected Linf or L2, got {text!r:.20}")
    return known[text.lower()]


def parse_radius(text: str) -> str:
    parse_eps(text)
    return text


def parse_name(text: str) -> str:
    if not MODEL_NAME.fullmatch(text):
        raise ValueError(f"expected letters, digits and . _ - + = @ /, got {text!r:.60}")
    return text


def name_of(weights: str) -> str:
    stem = weights.removesuffix(".index.json").rpartition("/")[2]
    return re.sub(r"[^A-Za-z0-9._\-+=@]+", "-", stem.rpartition(".")[0] or stem).strip("-") or "model"
