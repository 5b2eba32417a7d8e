"""The sources of models: the one table that commands, requests, completion and pages choose from."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

SourceName = Literal["demo", "robustbench", "timm", "torchvision", "hub", "local", "checkpoint"]
RemoteSourceName = Literal["demo", "robustbench", "timm", "torchvision", "hub", "checkpoint"]
SOURCE_NAMES: Final[tuple[SourceName, ...]] = get_args(SourceName)
REMOTE_SOURCE_NAMES: Final[tuple[RemoteSourceName, ...]] = get_args(RemoteSourceName)
"""Those that HTTP requests may name: the models of ``local`` are in a folder of some machine."""


@dataclass(frozen=True, kw_only=True)
class SourceTraits:
    """What commands have to know of a source before they open it.

    Attributes:
        takes_folder: whether the user may choose the folder of its models.
        package: the optional package without which it has no model, and the extra of auditor that installs it.
        slow: whether listing its models imports packages for seconds.
    """

    takes_folder: bool = False
    package: tuple[str, str] | None = None
    slow: bool = False


SOURCES: Final[dict[SourceName, SourceTraits]] = {
    "demo": SourceTraits(takes_folder=True),
    "robustbench": SourceTraits(takes_folder=True, package=("robustbench", "zoos")),
    "timm": SourceTraits(package=("timm", "timm"), slow=True),
    "torchvision": SourceTraits(slow=True),
    "hub": SourceTraits(takes_folder=True, package=("huggingface_hub", "hub"), slow=True),
    "local": SourceTraits(takes_folder=True),
    "checkpoint": SourceTraits(takes_folder=True),
}


def is_repository(text: str) -> bool:
    """Whether a text names a repository of the hub, ``owner/name`` or ``owner/name@revision``; a path may, too.

    >>> is_repository("google/vit-base-patch16-224"), is_repository("./snapshot"), is_repository("a/b/c")
    (True, False, False)
    """
    return re.fullmatch(r"\w[\w.-]*/\w[\w.-]*(@\w[\w.-]*)?", text) is not None


def names_repository(place: Path) -> bool:
    """Whether a place names a repository of the hub, because no folder has that name."""
    return is_repository(str(place)) and not place.exists()
