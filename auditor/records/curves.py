"""The smallest perturbation found for each sample: what a robust accuracy is at every radius at once."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Of N samples, in the order of the verdicts.

    Attributes:
        norm: of the sizes.
        largest: the largest radius that was attacked in, in [0, 1] pixels.
        sizes: ``(N,)`` float32, the size of the nearest adversarial image found: 0 if the clean image is misclassified,
            infinite if none was found.
        found_by: ``(N,)`` int64, the position of the attack that found it in ``attacks``; -1 if none did.
        attacks: the names of the audit's attacks and, at the end, of the search for the smallest perturbation.
        seconds: the time of that search.
    """

    norm: str
    largest: float
    sizes: "NDArray[np.float32]"
    found_by: "NDArray[np.int64]"
    attacks: tuple[str, ...]
    seconds: float

    @property
    def search(self) -> str:
        """The name of the search and, from the second on, of its version: other ones find other sizes."""
        return self.attacks[-1]

    def broken_within(self, eps: float) -> "NDArray[np.bool_]":
        """``(N,)`` which samples have an adversarial image in the ball, up to the rounding that the attacks accept."""
        broken: NDArray[np.bool_] = self.sizes <= eps * (1 + 2e-5) + 2e-7
        return broken
