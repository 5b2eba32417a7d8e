"""The protocol that every source of models implements."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from auditor.records import ZooEntry

if TYPE_CHECKING:
    from torch import nn

DEFAULT_EPS = 4 / 255
"""The Linf radius of entries whose source publishes none."""
RANDOM_WEIGHTS = "random weights: an architecture, not a trained network"
"""The description of an entry that has only an architecture."""


@dataclass(frozen=True)
class LoadedModel:
    """A model in eval mode with its normalization inside, and the digest of its weights.

    ``notes`` and ``flags`` of loading become part of the audit's.
    """

    model: "nn.Module"
    weights_sha256: str
    notes: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


class Source(Protocol):
    """A source of models: a picklable value, because models are loaded in child processes.

    ``preload`` names modules whose import takes seconds; the parent of the child processes imports them once.
    """

    @property
    def preload(self) -> tuple[str, ...]: ...

    def entries(self) -> list[ZooEntry]:
        """All models in the order of the source; constructs none of them."""

    def missing(self, entry: ZooEntry) -> str | None:
        """The files that must be downloaded before ``entry`` can be loaded; None if all are on this machine."""

    def weight_bytes(self, entries: Sequence[ZooEntry]) -> int | None:
        """Bytes of the largest weight file of these models; None if a size is not known before loading."""

    def construct(self, entry: ZooEntry) -> "nn.Module":
        """The entry's network with its normalization inside and any weights, because a checkpoint replaces them.

        Raises:
            ModelLoadError: the network cannot be constructed.
        """

    def load(self, entry: ZooEntry) -> LoadedModel:
        """Construct one model and fill in its weights.

        Raises:
            ModelLoadError: the model cannot be loaded.
        """
