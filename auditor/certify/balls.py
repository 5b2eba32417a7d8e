"""The set of images that a certificate covers: a norm ball around an image, within the [0, 1] pixel box."""

from dataclasses import dataclass

import torch
from torch import Tensor

from auditor.attacks.norms import NORMS
from auditor.errors import InputError

TOLERANCE, LEAST = 1e-5, 1e-7
"""How much larger than eps the ball is: what the check of adversarial images allows for rounding."""


@dataclass(frozen=True)
class Ball:
    """The ball of one image, and the box that contains it, in float64.

    Attributes:
        centre: the image ``(1, C, H, W)``.
        low, high: the ends of the box ``(1, C, H, W)``.
        norm, eps: the norm's name, and the radius with its tolerance.
    """

    centre: Tensor
    low: Tensor
    high: Tensor
    norm: str
    eps: float

    @classmethod
    def around(cls, image: Tensor, norm: str, eps: float) -> "Ball":
        """The ball around an image ``(1, C, H, W)`` in [0, 1].

        Raises:
            InputError: there are no bounds for the norm.
        """
        if norm not in NORMS:
            raise InputError(f"expected a norm with bounds ({', '.join(NORMS)}), got {norm}")
        centre, size = image.detach().double(), eps * (1 + TOLERANCE) + LEAST
        return cls(centre, (centre - size).clamp(0, 1), (centre + size).clamp(0, 1), norm, size)

    def lowest(self, slopes: Tensor) -> Tensor:
        """Lower bounds ``(S,)`` of linear functions over the ball; ``slopes`` is ``(S, 1, C, H, W)``.

        The box bounds every ball, and eps times the dual norm bounds it without the box. The larger bound counts.
        """
        flat = slopes.flatten(1)
        box = flat.clamp_min(0) @ self.low.flatten() + flat.clamp_max(0) @ self.high.flatten()
        if self.norm == "Linf":
            return box
        return torch.maximum(box, flat @ self.centre.flatten() - self.eps * NORMS[self.norm].dual(slopes.flatten(1, 2)))
