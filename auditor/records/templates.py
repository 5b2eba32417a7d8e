"""Class templates as pictures: the rows of a linear map, ``(K, C, H, W)``, small enough to store."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TemplateKind = Literal["linearized", "local"]

MOST_SIDE = 64
MOST_VALUES = 2**21
"""A stored kind has at most 64 pixels a side and two million values, half as many bytes as C of 1,000 classes."""


@dataclass(frozen=True, kw_only=True)
class Templates:
    """The templates of one network, one signed picture for each class.

    Attributes:
        kind: ``linearized``: the rows of W; ``local``: the mean of the network's Jacobians at random images.
        values: ``(K, C, h, w)``, means over cells of the full pictures where those are larger.
        size: (H, W) of the network's input.
        probes: the number of random images of ``local``.
    """

    kind: TemplateKind
    values: "NDArray[np.float64]"
    size: tuple[int, int]
    probes: int | None = None

    @property
    def name(self) -> str:
        """What these pictures are, as a heading."""
        if self.kind == "linearized":
            return "linearized network"
        return f"local linear maps, mean over {self.probes} random images"


def stored_size(classes: int, channels: int, size: tuple[int, int]) -> tuple[int, int]:
    """Height and width in which pictures of this size are stored, with their aspect ratio."""
    height, width = size
    share = min(
        1.0,
        MOST_SIDE / max(height, width),
        math.sqrt(MOST_VALUES / (classes * channels * height * width)),
    )
    return max(1, math.floor(height * share + 1e-9)), max(1, math.floor(width * share + 1e-9))
