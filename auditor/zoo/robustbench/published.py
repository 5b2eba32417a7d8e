"""RobustBench's published figures: its folder model_info, one JSON file a model, read without trusting its contents."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from auditor.errors import UsageError, file_reason, first_line
from auditor.files import read_limited
from auditor.records import Published
from auditor.text.eps import parse_eps

_DATASETS = ("cifar10", "cifar100", "imagenet")
_THREAT_MODELS = ("Linf", "L2", "corruptions", "corruptions_3d")
_T = TypeVar("_T")
_NONE = (None, "", "null", "None")


def find_files(folder: Path) -> list[Path]:
    """The JSON files of ``folder``, which is model_info, one of its data sets, or one of their threat models.

    Includes files in folders with unknown names, which :func:`read_published` refuses.

    Raises:
        UsageError: the folder holds no such file.
    """
    folder = folder.resolve()
    for pattern in ("*/*/*.json", "*/*.json", "*.json"):
        files = sorted(folder.glob(pattern))
        if any(file.parent.name in _THREAT_MODELS for file in files):
            return files
    raise UsageError(
        f"no published figures in {folder}: expected RobustBench's folder model_info, "
        "with files such as cifar10/Linf/NAME.json in it"
    )


def read_published(file: Path) -> Published:
    """The figures in one file, DATASET/THREAT MODEL/NAME.json; percents become fractions.

    Raises:
        UsageError: the file is invalid; the message names the reason, not the file.
    """
    dataset, threat_model, _ = file.parts[-3:]
    for name, known, what in ((dataset, _DATASETS, "a data set"), (threat_model, _THREAT_MODELS, "a threat model")):
        if name not in known:
            raise UsageError(f"expected a folder named after {what}, {', '.join(known)}, got {name!r}")
    values = _object(file)
    has_norm = not threat_model.startswith("corruptions")
    published = Published(
        model=_plain_text("the file's name", f"robustbench:{dataset}/{threat_model}/{file.stem}"),
        norm=threat_model if has_norm else None,
        eps=_get(values, "eps", _eps) if has_norm else None,
        clean_accuracy=_get(values, "clean_acc", _percent),
        autoattack_accuracy=_get(values, "autoattack_acc", _percent),
        external_accuracy=_get(values, "external", _percent),
        corruptions_accuracy=_get(values, "corruptions_acc", _percent),
        unreliable=bool(_get(values, "unreliable", _boolean)),
        architecture=_get(values, "architecture", _plain_text),
        paper=_get(values, "name", _plain_text),
        venue=_get(values, "venue", _plain_text),
        link=_get(values, "link", _plain_text),
    )
    if (published.clean_accuracy, published.robust_accuracy, published.corruptions_accuracy) == (None, None, None):
        raise UsageError("expected clean_acc, autoattack_acc, external or corruptions_acc, got none of them")
    _check(published)
    return published


def _check(published: Published) -> None:
    """Refuse impossible figures: fractions instead of percents, eps in another unit, robust above clean accuracy."""
    clean, eps = published.clean_accuracy, published.eps
    if clean is not None and clean <= 0.01:
        raise UsageError(f"expected clean_acc in percent, got {100 * clean:g}: a fraction?")
    for key, accuracy in (("autoattack_acc", published.autoattack_accuracy), ("external", published.external_accuracy)):
        if clean is not None and accuracy is not None and accuracy > clean:
            raise UsageError(f"expected {key} of at most clean_acc, {100 * clean:g}, got {100 * accuracy:g}")
    if published.norm == "Linf" and eps is not None and eps > 1:
        raise UsageError(f"expected an Linf eps of at most 1, in units of the [0, 1] pixels, got {eps:g}")


def _object(file: Path) -> dict[str, Any]:
    try:
        content = read_limited(file)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot be read: {file_reason(error)}") from error
    try:
        values = json.loads(content.decode(), object_pairs_hook=_without_conflicts)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"is not JSON: {first_line(error)}") from error
    if not isinstance(values, dict):
        raise UsageError(f"expected a JSON object, got a {type(values).__name__}")
    return values


def _without_conflicts(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; a repeated key, which RobustBench's files have, must repeat its value."""
    values = dict(pairs)
    for key, value in pairs:
        if value is not values[key] and value != values[key]:  # NaN is not equal to itself
            raise UsageError(f"expected one value for {key!r}, got {value!r:.60} and {values[key]!r:.60}")
    return values


def _get(values: dict[str, Any], key: str, read: Callable[[str, Any], _T]) -> _T | None:
    value = values.get(key)
    if isinstance(value, str):
        value = value.strip()
    return None if value in _NONE else read(key, value)


def _number(key: str, value: Any) -> float:
    try:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError
        number = float(value)
        if not math.isfinite(number):
            raise ValueError
    except (ValueError, OverflowError) as error:
        raise UsageError(f"expected a number for {key}, got {value!r:.60}") from error
    return number


def _percent(key: str, value: Any) -> float:
    number = _number(key, value.removesuffix("%") if isinstance(value, str) else value)
    if not 0 <= number <= 100:
        raise UsageError(f"expected {key} in percent, from 0 to 100, got {value!r:.60}")
    return round(number / 100, 12)


def _eps(key: str, value: Any) -> float:
    try:
        return parse_eps(value)
    except ValueError as error:
        raise UsageError(f"{key}: {error}") from error


def _boolean(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise UsageError(f"expected true or false for {key}, got {value!r:.60}")
    return value


def _plain_text(key: str, value: Any) -> str:
    """Text that every database can hold."""
    if not isinstance(value, str) or "\0" in value or not value.isprintable():
        raise UsageError(f"expected plain text for {key}, got {value!r:.60}")
    return value
