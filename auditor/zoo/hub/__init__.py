"""Image classifiers of the Hugging Face hub, from its cache or from folders with snapshots (docs/hub.md).

A repository's weights are read as data, safetensors first, and its code never runs. timm constructs the networks whose
config.json has an ``architecture``; transformers constructs the others.
"""

import importlib.util
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditor.errors import EnvironmentUnusableError, ModelLoadError, NotFoundError, first_line
from auditor.files import largest_file
from auditor.records import ZooEntry
from auditor.records.sources import is_repository, names_repository
from auditor.zoo.hub.snapshots import (
    CONFIG,
    DESCRIPTIONS,
    Snapshot,
    cached_revision,
    cached_snapshots,
    local_snapshots,
    read_json,
)
from auditor.zoo.hub_access import check_hub_reachable, offline
from auditor.zoo.source import DEFAULT_EPS, LoadedModel

if TYPE_CHECKING:
    from torch import nn

logger = logging.getLogger(__name__)
MOST_NAMED = 3
"""A line about snapshots that are left out names so many."""


@dataclass(frozen=True)
class HubZoo:
    """Snapshots: all in the hub's cache, those in a folder, or those of the repository ``owner/name``.

    Only :meth:`fetch_descriptions` and :meth:`load` use the network, and only for what is not on this machine.
    """

    folder: Path | None = None

    @property
    def preload(self) -> tuple[str, ...]:
        known = {"transformers": "auditor.zoo.hub.transformers_models", "timm": "auditor.zoo.local.timm_models"}
        return tuple(module for package, module in known.items() if importlib.util.find_spec(package))

    @property
    def _repository(self) -> str | None:
        return str(self.folder) if self.folder is not None and names_repository(self.folder) else None

    def entries(self) -> list[ZooEntry]:
        """The image classifiers on this machine; other repositories of the cache are left out.

        Raises:
            NotFoundError: there is none.
            ModelLoadError: the named folder or repository is none.
            EnvironmentUnusableError: the library is not installed that the named one needs, or all in the cache do.
        """
        if self.folder is None:
            return self._cached_entries()
        if self._repository is None:
            return [_entry(one) for one in local_snapshots(self.folder)]
        found = [one for one in cached_snapshots(self._repository.partition("@")[0]) if one.id == self._repository]
        if not found:
            raise NotFoundError(f"{self._repository} is not in the hub's cache, and is no folder")
        return [_entry(found[0])]

    def fetch_descriptions(self, models: Sequence[str] = ()) -> None:
        """Download the configurations of named models, and of this source's repository, that are not in the cache.

        Raises:
            EnvironmentUnusableError: one is not in the cache, and the hub does not answer.
            NotFoundError: the hub has no such repository.
        """
        names = [name.removeprefix("hub:") for name in models] if self.folder is None else []
        for name in filter(None, [*names, self._repository]):
            if is_repository(name) and all(one.id != name for one in cached_snapshots(name.partition("@")[0])):
                _download(name, DESCRIPTIONS, needed=CONFIG)

    def missing(self, entry: ZooEntry) -> str | None:
        snapshot = _snapshot(entry)
        absent = entry.place is None and snapshot.find_weights() is None
        return f"{snapshot.repository}, revision {snapshot.revision}" if absent else None

    def weight_bytes(self, entries: Sequence[ZooEntry]) -> int | None:
        return largest_file(_snapshot(entry).find_weights() or Path(CONFIG) for entry in entries)

    def construct(self, entry: ZooEntry) -> "nn.Module":
        from auditor.zoo.normalized import normalized

        if "timm" in entry.architecture:
            from auditor.zoo.hub import timm_models

            return normalized(timm_models.construct(entry.architecture), entry.preprocessing)
        from auditor.zoo.hub.labels import class_count

        return _wrapped(_transformers_models().construct(entry.architecture, class_count(entry)), entry)

    def load(self, entry: ZooEntry) -> LoadedModel:
        from auditor.torch_state import set_eval
        from auditor.zoo.digest import state_dict_digest
        from auditor.zoo.normalized import normalized

        snapshot = _snapshot(entry)
        for patterns in (("*.safetensors", "*.safetensors.index.json"), ("pytorch_model*.bin*",)):
            if self.missing(entry):
                try:
                    _download(f"{snapshot.repository}@{snapshot.revision}", (*DESCRIPTIONS, *patterns))
                except (EnvironmentUnusableError, NotFoundError) as error:
                    raise ModelLoadError(first_line(error)) from error
        with offline():
            if "timm" in entry.architecture:
                from auditor.zoo.hub import timm_models

                network = timm_models.load(snapshot, entry.architecture)
                model = normalized(network, entry.preprocessing)
            else:
                from auditor.zoo.hub.labels import class_count

                models = _transformers_models()
                models.check_preprocessing(snapshot, entry.input_size[0])
                network = models.load(snapshot, entry.architecture, class_count(entry))
                model = _wrapped(network, entry)
        return LoadedModel(set_eval(model), state_dict_digest(network.state_dict()))

    def _cached_entries(self) -> list[ZooEntry]:
        from huggingface_hub import constants

        snapshots, entries = cached_snapshots(), []
        unreadable: dict[str, list[str]] = {}  # by the library that they need
        for snapshot in snapshots:
            try:
                entries.append(_entry(snapshot))
            except ModelLoadError as error:
                logger.info("left out: %s", error)
            except EnvironmentUnusableError as error:
                unreadable.setdefault(first_line(error), []).append(snapshot.id)
        left_out = [_describe_left_out(names, reason) for reason, names in unreadable.items()]
        if left_out and not entries:
            raise EnvironmentUnusableError("; ".join(left_out))
        for line in left_out:
            logger.warning("%s", line)
        if not entries:
            others = f", only {len(snapshots)} other snapshots" if snapshots else ""
            raise NotFoundError(
                f"there is no image classifier in the hub's cache {constants.HF_HUB_CACHE}{others}; "
                "name a repository (`hub owner/name`) or a folder with a snapshot"
            )
        return entries


def _entry(snapshot: Snapshot) -> ZooEntry:
    """The entry of a snapshot, from its configuration alone.

    Raises:
        ModelLoadError: it is no image classifier.
        EnvironmentUnusableError: the library is not installed that it needs.
    """
    from auditor.zoo.hub.labels import data_set_of

    if "architecture" in read_json(snapshot.folder / CONFIG):
        from auditor.zoo.hub import timm_models

        architecture, config = timm_models.read_config(snapshot)
        labels, preprocessing, transform, size = timm_models.describe(config)
        description = f"timm's {architecture['timm']}"
        from auditor.zoo.timm import DATASETS

        dataset, own = data_set_of(snapshot.id, labels)
        if own is not None and not config.label_names and len(labels) in DATASETS:
            dataset, own = DATASETS[len(labels)], None
    else:
        architecture, labels, found, channels = _transformers_models().describe_snapshot(snapshot)
        preprocessing = {"mean": list(found.mean), "std": list(found.std)} | ({"flip": True} if found.flip else {})
        transform, size = found.transform, (channels, *found.size)
        description = f"transformers' {architecture['transformers']}"
        dataset, own = data_set_of(snapshot.id, labels)
    if snapshot.revision is not None:
        architecture["revision"] = snapshot.revision
        description = f"{description}, revision {snapshot.revision[:12]}"
    return ZooEntry(
        model=f"hub:{snapshot.id}",
        source="hub",
        description=description,
        architecture=architecture,
        preprocessing=preprocessing,
        dataset=dataset,
        own_data=own,
        threat_model="Linf",
        norm="Linf",
        eps=DEFAULT_EPS,
        input_size=size,
        transform=transform,
        place=None if snapshot.revision else str(snapshot.folder),
    )


def _describe_left_out(names: Sequence[str], reason: str) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"left out of the hub's cache: {', '.join(names[:MOST_NAMED])}{more}, because {reason}"


def _snapshot(entry: ZooEntry) -> Snapshot:
    name = entry.model.removeprefix("hub:")
    if entry.place is not None:
        return Snapshot(name, Path(entry.place))
    return cached_revision(name, entry.architecture["revision"])


def _wrapped(network: "nn.Module", entry: ZooEntry) -> "nn.Module":
    from auditor.zoo.normalized import NormalizedOutputs

    preprocessing = entry.preprocessing
    return NormalizedOutputs(network, preprocessing["mean"], preprocessing["std"], flip="flip" in preprocessing)


def _transformers_models() -> Any:
    """The module that imports transformers. Raises EnvironmentUnusableError if it is not installed."""
    try:
        from auditor.zoo.hub import transformers_models
    except ImportError as error:
        raise EnvironmentUnusableError(
            f"transformers cannot be imported: pip install 'auditor[hub]' ({first_line(error)})"
        ) from error
    return transformers_models


def _download(name: str, patterns: Sequence[str], needed: str | None = None) -> None:
    """Download files of a repository, ``owner/name`` or ``owner/name@revision``, into the hub's cache.

    Raises:
        EnvironmentUnusableError: the hub does not answer.
        NotFoundError: it has no such repository or revision, or it does not show it to this user.
    """
    repository, _, revision = name.partition("@")
    try:
        check_hub_reachable(repository)
    except ModelLoadError as error:
        raise EnvironmentUnusableError(first_line(error)) from error
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        folder = Path(snapshot_download(repository, revision=revision or None, allow_patterns=list(patterns)))
    except (GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise NotFoundError(
            f"download failed: the hub shows no {name} to this user; set HF_TOKEN if you may read it"
        ) from error
    except Exception as error:  # the client raises those of several libraries
        raise EnvironmentUnusableError(f"download failed: {name}: {first_line(error)}") from error
    if needed and not (folder / needed).is_file():
        raise NotFoundError(f"{name} on the hub has no {needed}, so it is no image classifier of timm or transformers")
