"""Zoos: where models come from. One package or module a source, all behind :class:`auditor.zoo.base.Source`."""

import difflib
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from auditor.errors import UsageError
from auditor.records import ZooEntry
from auditor.zoo.base import LoadedModel, Source
from auditor.zoo.demo import DemoZoo
from auditor.zoo.local import LocalZoo

SOURCES: dict[str, Callable[..., Source]] = {"demo": DemoZoo, "local": LocalZoo}

__all__ = ["SOURCES", "LoadedModel", "Source", "find_source", "select"]


def find_source(name: str, folder: Path | None = None, trust_code: bool = False) -> Source:
    """The source of this name, on another folder than its own where one is given.

    Raises:
        UsageError: there is none, or ``local`` without a folder.
    """
    if name not in SOURCES:
        raise UsageError(f"no source of models named {name!r}; there is: {', '.join(SOURCES)}")
    if name == "local":
        if folder is None:
            raise UsageError("expected the folder of a local zoo: `local DIR`; `auditor zoo init DIR` makes one")
        return LocalZoo(folder, trust_code)
    return SOURCES[name](folder) if folder else SOURCES[name]()


def select(
    entries: Sequence[ZooEntry],
    *,
    models: Sequence[str] = (),
    match: str | None = None,
    dataset: str | None = None,
    threat_model: str | None = None,
    limit: int | None = None,
) -> list[ZooEntry]:
    """Filter entries by full name or id, glob, data set, threat model and number.

    Raises:
        UsageError: a named model does not exist (near names are suggested), or nothing is left.
    """
    chosen = list(entries)
    if models:
        chosen = list({entry.model: entry for entry in (_named(name, entries) for name in models)}.values())
    chosen = [
        entry
        for entry in chosen
        if (match is None or fnmatchcase(_id(entry), match) or fnmatchcase(entry.model, match))
        and dataset in (None, entry.dataset)
        and threat_model in (None, entry.threat_model)
    ][:limit]
    if not chosen:
        raise UsageError(f"no model is left of {len(entries)}: see `auditor zoo list` and loosen the filters")
    return chosen


def _id(entry: ZooEntry) -> str:
    return entry.model.partition(":")[2]


def _named(name: str, entries: Sequence[ZooEntry]) -> ZooEntry:
    for entry in entries:
        if name in (entry.model, _id(entry)):
            return entry
    near = difflib.get_close_matches(name.partition(":")[2] or name, [_id(entry) for entry in entries], 3, 0.4)
    hint = f"did you mean {', '.join(near)}?" if near else "see `auditor zoo list` for all"
    raise UsageError(f"no model named {name!r} in this zoo; {hint}")
