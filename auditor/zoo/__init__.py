"""Zoos: where models come from. One package or module a source, all behind :class:`auditor.zoo.source.Source`."""

import difflib
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from auditor.config import settings
from auditor.errors import EnvironmentUnusableError, UsageError
from auditor.records import ZooEntry
from auditor.zoo.checkpoint import CheckpointZoo
from auditor.zoo.demo import DemoZoo
from auditor.zoo.local import LocalZoo
from auditor.zoo.robustbench import RobustBenchZoo
from auditor.zoo.source import LoadedModel, Source
from auditor.zoo.timm import TimmZoo


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a source's models lie: a folder, where it has one; its code runs only if it is trusted."""

    folder: Path | None = None
    trust_code: bool = False


SOURCES: dict[str, Callable[[Place], Source]] = {
    "demo": lambda place: DemoZoo(place.folder) if place.folder else DemoZoo(),
    "robustbench": lambda place: RobustBenchZoo(place.folder) if place.folder else RobustBenchZoo(),
    "timm": lambda _: TimmZoo(),
    "local": lambda place: LocalZoo(place.folder or Path(), place.trust_code),
    "checkpoint": lambda place: CheckpointZoo(place.folder or settings().checkpoints, find_source, place.trust_code),
}
FOLDERS = ("demo", "robustbench", "local", "checkpoint")
"""Sources whose models lie in a folder that the user may name."""

__all__ = ["FOLDERS", "SOURCES", "LoadedModel", "Source", "check_installed", "find_source", "select"]


def find_source(name: str, folder: Path | None = None, *, trust_code: bool = False) -> Source:
    """The source of this name, on the folder that is given, or on the one of this machine's settings.

    Raises:
        UsageError: there is no such source, it has no folder, or it needs one.
    """
    if name not in SOURCES:
        raise UsageError(f"no source of models named {name!r}; there is: {', '.join(SOURCES)}")
    if name == "local" and folder is None:
        raise UsageError("expected the folder of a local zoo: `local DIR`; `auditor zoo init DIR` makes one")
    if folder and name not in FOLDERS:
        raise UsageError(f"{name} models lie in no folder of yours, got {folder}; leave it out")
    own = {"demo": settings().demo_weights, "robustbench": settings().robustbench_models}
    return SOURCES[name](Place(folder=folder or own.get(name), trust_code=trust_code))


def check_installed(name: str) -> None:
    """Whether a source's packages are here; its list may do without them.

    Raises:
        EnvironmentUnusableError: they are not.
    """
    if name in ("robustbench", "timm") and importlib.util.find_spec(name) is None:
        raise EnvironmentUnusableError(f"{name} is not installed: pip install 'auditor[zoos]'")


def select(
    entries: Sequence[ZooEntry],
    *,
    models: Sequence[str] = (),
    match: str | None = None,
    dataset: str | None = None,
    threat_model: str | None = None,
    pretrained_only: bool = False,
    limit: int | None = None,
) -> list[ZooEntry]:
    """Filter entries by full name or id, glob, data set, threat model, trained weights and number.

    Raises:
        UsageError: a named model does not exist (the message suggests similar names), or no entry is left.
    """
    chosen = list(entries)
    if models:
        chosen = list({entry.model: entry for entry in (_named(name, entries) for name in models)}.values())
    chosen = [
        entry
        for entry in chosen
        if (match is None or fnmatchcase(_id(entry), match) or fnmatchcase(entry.model, match))
        and dataset in (None, entry.dataset)
        and (threat_model is None or _is_under(entry, threat_model))
        and (not pretrained_only or entry.training.get("pretrained", True))
    ][:limit]
    if not chosen:
        raise UsageError(f"no model is left of {len(entries)}: see `auditor zoo list` and loosen the filters")
    return chosen


def _is_under(entry: ZooEntry, threat_model: str) -> bool:
    """Whether an entry is one of this threat model's; RobustBench lists ImageNet's corruption models for 3D, too."""
    if threat_model == "corruptions_3d" and entry.source == "robustbench":
        return (entry.dataset, entry.threat_model) == ("imagenet", "corruptions")
    return threat_model == entry.threat_model


def _id(entry: ZooEntry) -> str:
    return entry.model.partition(":")[2]


def _named(name: str, entries: Sequence[ZooEntry]) -> ZooEntry:
    for entry in entries:
        if name in (entry.model, _id(entry)):
            return entry
    near = difflib.get_close_matches(name.partition(":")[2] or name, [_id(entry) for entry in entries], 3, 0.4)
    hint = f"did you mean {', '.join(near)}?" if near else "see `auditor zoo list` for all"
    raise UsageError(f"no model named {name!r} in this zoo; {hint}")
