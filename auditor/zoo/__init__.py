"""Sources of models: one package or module for each, behind :class:`auditor.zoo.source.Source`."""

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from auditor.config import settings
from auditor.errors import EnvironmentUnusableError, NotFoundError, UsageError
from auditor.records import ZooEntry
from auditor.records.corruptions import THREAT_MODELS
from auditor.records.sources import SOURCE_NAMES, SourceName
from auditor.records.sources import SOURCES as TRAITS
from auditor.text.similar import did_you_mean
from auditor.zoo.checkpoint import CheckpointZoo
from auditor.zoo.demo import DemoZoo
from auditor.zoo.hub import HubZoo
from auditor.zoo.local import LocalZoo
from auditor.zoo.robustbench import RobustBenchZoo
from auditor.zoo.source import LoadedModel, Source
from auditor.zoo.timm import TimmZoo
from auditor.zoo.torchvision import TorchvisionZoo


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """The folder of a source's models, if it has one, and whether code in that folder may run."""

    folder: Path | None = None
    trust_code: bool = False


SOURCES: dict[SourceName, Callable[[SourceOptions], Source]] = {
    "demo": lambda options: DemoZoo(options.folder) if options.folder else DemoZoo(),
    "robustbench": lambda options: RobustBenchZoo(options.folder) if options.folder else RobustBenchZoo(),
    "timm": lambda _: TimmZoo(),
    "torchvision": lambda _: TorchvisionZoo(),
    "hub": lambda options: HubZoo(options.folder),
    "local": lambda options: LocalZoo(options.folder or Path(), options.trust_code),
    "checkpoint": lambda options: CheckpointZoo(
        options.folder or settings().checkpoints, find_source, options.trust_code
    ),
}
__all__ = ["SOURCES", "LoadedModel", "Source", "check_installed", "find_source", "select"]


def find_source(name: str, folder: Path | None = None, *, trust_code: bool = False) -> Source:
    """Open the source of this name with the given folder, or with the folder from the settings.

    Raises:
        UsageError: the source does not exist, takes no folder, or needs one.
    """
    known = next((one for one in SOURCE_NAMES if one == name), None)
    if known is None:
        raise NotFoundError(f"no source named {name!r}; expected one of: {', '.join(SOURCE_NAMES)}")
    if name == "local" and folder is None:
        raise UsageError("expected the folder of a local zoo: `local DIR`; `auditor zoo init DIR` creates one")
    if folder and not TRAITS[known].takes_folder:
        raise UsageError(f"{name} takes no folder, got {folder}: leave it out")
    configured = {"demo": settings().demo_weights, "robustbench": settings().robustbench_models}
    return SOURCES[known](SourceOptions(folder=folder or configured.get(name), trust_code=trust_code))


def check_installed(name: str) -> None:
    """Check that a source's packages are installed, which listing RobustBench does not need.

    Raises:
        EnvironmentUnusableError: a package is missing.
    """
    package, extra = next((traits.package for one, traits in TRAITS.items() if one == name), None) or (None, None)
    if package and importlib.util.find_spec(package) is None:
        raise EnvironmentUnusableError(f"{package} is not installed: pip install 'auditor[{extra}]'")


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

    Common corruptions are measured on any model. As a threat model they filter only if the zoo lists models for them
    and none is named.

    Raises:
        NotFoundError: a named model does not exist (the message suggests similar names), or no entry is left.
    """
    chosen = list(entries)
    if models:
        chosen = list({entry.model: entry for entry in (_named(name, entries) for name in models)}.values())
    measures = threat_model in THREAT_MODELS and (
        bool(models) or not any(_has_threat_model(entry, threat_model) for entry in entries)
    )
    chosen = [
        entry
        for entry in chosen
        if (match is None or fnmatchcase(_id(entry), match) or fnmatchcase(entry.model, match))
        and dataset in (None, entry.dataset)
        and (threat_model is None or measures or _has_threat_model(entry, threat_model))
        and (not pretrained_only or entry.training.get("pretrained", True))
    ][:limit]
    if not chosen:
        reason = _explain(entries, match, dataset, threat_model)
        raise NotFoundError(f"the filters match none of {len(entries)} models: {reason}")
    return chosen


def _explain(entries: Sequence[ZooEntry], match: str | None, dataset: str | None, threat_model: str | None) -> str:
    """Name the first filter that no entry passes, with similar values that some do."""
    for what, value, known in (
        ("data set", dataset, dict.fromkeys(entry.dataset for entry in entries)),
        ("threat model", threat_model, dict.fromkeys(entry.threat_model for entry in entries)),
    ):
        if value is not None and value not in known:
            hint = did_you_mean(value, known, f"choose from {', '.join(known)}")
            return f"none has the {what} {value!r}; {hint}"
    names = [name for entry in entries for name in (_id(entry), entry.model)]
    if match is not None and not any(fnmatchcase(name, match) for name in names):
        hint = did_you_mean(match.strip("*?"), names, "see `auditor zoo list` for all")
        return f"no name matches {match!r}; {hint}"
    return "see `auditor zoo list` and loosen the filters"


def _has_threat_model(entry: ZooEntry, threat_model: str | None) -> bool:
    """Whether an entry has this threat model; RobustBench lists ImageNet's corruption models for 3D, too."""
    if threat_model == "corruptions_3d" and entry.source == "robustbench":
        return (entry.dataset, entry.threat_model) == ("imagenet", "corruptions")
    return threat_model == entry.threat_model


def _id(entry: ZooEntry) -> str:
    return entry.model.partition(":")[2]


def _named(name: str, entries: Sequence[ZooEntry]) -> ZooEntry:
    for entry in entries:
        if name in (entry.model, _id(entry)):
            return entry
    ids = map(_id, entries)
    hint = did_you_mean(name.partition(":")[2] or name, ids, "see `auditor zoo list` for all", least=0.4)
    raise NotFoundError(f"no model named {name!r} in this zoo; {hint}")
