"""RobustBench's model zoo: its loader reads only files that auditor has checked (docs/robustbench.md)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from auditor.errors import EnvironmentUnusableError, ModelLoadError, NotFoundError, first_line
from auditor.files import largest_file
from auditor.records import ZooEntry
from auditor.records.corruptions import NO_RADIUS, PUBLISHED, is_corruptions
from auditor.records.versions import installed_version
from auditor.text.eps import format_threat
from auditor.zoo.robustbench import catalogue
from auditor.zoo.robustbench.catalogue import Row
from auditor.zoo.source import LoadedModel

if TYPE_CHECKING:
    from torch import nn

LINF_EPS = {"cifar10": 8 / 255, "cifar100": 8 / 255, "imagenet": 4 / 255}
"""RobustBench's Linf radius for each data set."""

L2 = 0.5

PINNED_TIMM = "1.0.9"
"""RobustBench's own pin."""


@dataclass(frozen=True)
class RobustBenchZoo:
    """RobustBench's entries; ``folder`` is its model folder: ``folder/cifar10/Linf/NAME.pt``."""

    folder: Path = Path("models")
    preload: tuple[str, ...] = ("auditor.zoo.robustbench.adapter",)

    def entries(self) -> list[ZooEntry]:
        version, rows = catalogue.read()
        libraries = {"version": version, **_other_timm()}
        return [_entry(row, libraries) for row in rows]

    def missing(self, entry: ZooEntry) -> str | None:
        """The names of the missing files."""
        from auditor.zoo.robustbench.files import files_of

        absent = [file.path.name for file in files_of(_row(entry), self.folder) if not file.path.is_file()]
        return ", ".join(absent) or None

    def weight_bytes(self, entries: Sequence[ZooEntry]) -> int | None:
        from auditor.zoo.robustbench.files import files_of

        try:
            return largest_file(file.path for entry in entries for file in files_of(_row(entry), self.folder))
        except ModelLoadError:  # RobustBench names no file; the audit reports that
            return None

    def construct(self, entry: ZooEntry) -> "nn.Module":
        """The model with its own weights, because RobustBench's loader cannot construct it without them."""
        return self.load(entry).model

    def load(self, entry: ZooEntry) -> LoadedModel:
        from auditor.zoo.digest import state_dict_digest
        from auditor.zoo.robustbench.files import files_of
        from auditor.zoo.weight_files import load_or_download

        row = _row(entry)
        contents = {file.path: load_or_download(file) for file in files_of(row, self.folder)}
        try:
            from auditor.zoo.robustbench import adapter
        except ImportError as error:
            raise EnvironmentUnusableError(
                f"RobustBench cannot be imported: {first_line(error)}; pip install 'auditor[zoos]'"
            ) from error
        model, notes = adapter.load(row, self.folder, contents)
        if row.threat_model == PUBLISHED and not is_corruptions(entry.norm):
            notes.append(f"{_NO_EPS}; audited under {format_threat(entry.norm, entry.eps)}")
        return LoadedModel(model, state_dict_digest(model.state_dict()), tuple(notes))


_NO_EPS = "RobustBench lists this model for common corruptions, with no ε of its own"


def _row(entry: ZooEntry) -> Row:
    rows = {row.id: row for row in catalogue.read()[1]}
    name = entry.model.removeprefix("robustbench:")
    if name not in rows:
        raise NotFoundError(f"no model named {entry.model!r} in RobustBench; see `auditor zoo list robustbench`")
    return rows[name]


def _entry(row: Row, libraries: dict[str, str]) -> ZooEntry:
    norm, eps = _ball(row)
    height, width = (row.transform and row.transform.crop) or _resized(row) or (32, 32)
    return ZooEntry(
        model=f"robustbench:{row.id}",
        source="robustbench",
        description=_leaderboard(row),
        architecture={"robustbench": row.id, **libraries},
        preprocessing={"inside": "robustbench"},
        dataset=row.dataset,
        threat_model=row.threat_model,
        norm=norm,
        eps=eps,
        input_size=(3, height, width),
        transform=row.transform,
    )


def _other_timm() -> dict[str, str]:
    """The installed timm if it is not the one that RobustBench pins, whose audits have no version of timm."""
    found = installed_version("timm")
    return {} if found in (None, PINNED_TIMM) else {"timm_version": str(found)}


def _ball(row: Row) -> tuple[str, float]:
    """The norm and the radius of a leaderboard; models listed for corruptions have none."""
    if row.threat_model == PUBLISHED:
        return PUBLISHED, NO_RADIUS
    return (row.threat_model, L2) if row.threat_model == "L2" else ("Linf", LINF_EPS[row.dataset])


def _leaderboard(row: Row) -> str:
    if row.threat_model != "corruptions":
        return f"{row.threat_model} leaderboard"
    return "corruptions and 3D corruptions leaderboards" if row.dataset == "imagenet" else "corruptions leaderboard"


def _resized(row: Row) -> tuple[int, int] | None:
    """The size of the input if pictures are resized to both sides."""
    resize = row.transform.resize if row.transform else None
    return resize if isinstance(resize, tuple) else None
