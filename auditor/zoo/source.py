"""The one protocol of all sources of models."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from auditor.records import ZooEntry

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class LoadedModel:
    """A model in eval mode with its normalization inside, and the digest of its weights.

    ``notes`` and ``flags`` are what loading found worth saying; they go into the audit's own.
    """

    model: "nn.Module"
    weights_sha256: str
    notes: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


class Source(Protocol):
    """Where models come from: a picklable value, since models are loaded in child processes.

    ``preload`` names modules whose import takes seconds, so that child processes find them imported.
    """

    @property
    def preload(self) -> tuple[str, ...]: ...

    def entries(self) -> list[ZooEntry]:
        """All models there are, in the source's own order; constructs none of them."""

    def missing(self, entry: ZooEntry) -> str | None:
        """What would have to be downloaded before ``entry`` can be loaded; None when all of it is here."""

    def weight_bytes(self, entries: Sequence[ZooEntry]) -> int | None:
        """Bytes of the largest of these models' files of weights; None where one is not known before it is loaded."""

    def construct(self, entry: ZooEntry) -> "nn.Module":
        """The entry's network with its normalization inside, and whatever weights; a checkpoint brings its own.

        Raises:
            ModelLoadError: it cannot be made.
        """

    def load(self, entry: ZooEntry) -> LoadedModel:
        """Construct one model and fill in its weights.

        Raises:
            ModelLoadError: it cannot be loaded; the message says why.
        """
