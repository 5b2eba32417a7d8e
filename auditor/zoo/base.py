"""The one protocol of all sources of models."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from auditor.records import ZooEntry

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class LoadedModel:
    """A model in eval mode with its normalization inside, and the digest of its weights."""

    model: "nn.Module"
    weights_sha256: str


class Source(Protocol):
    """Where models come from. ``entries`` constructs no model and imports no torch."""

    def entries(self) -> list[ZooEntry]:
        """All models there are, in the source's own order."""

    def load(self, entry: ZooEntry) -> LoadedModel:
        """Construct one model and fill in its weights.

        Raises:
            ModelLoadError: it cannot be loaded; the message says why.
        """
