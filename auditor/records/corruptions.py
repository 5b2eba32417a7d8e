"""Common corruptions as a threat model: their names, and what a model's accuracy under them was."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SEVERITIES: Final = (1, 2, 3, 4, 5)
COMMON: Final = (
    "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "snow",
    "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression",
)  # fmt: skip
"""The 15 of Hendrycks and Dietterich (2019), over which RobustBench averages, in the order of the paper."""
COMMON_3D: Final = (
    "near_focus", "far_focus", "bit_error", "color_quant", "flash", "fog_3d", "h265_abr", "h265_crf", "iso_noise",
    "low_light", "xy_motion_blur", "z_motion_blur",
)  # fmt: skip
"""The 12 of ImageNet-3DCC (Kar et al., 2022), over which RobustBench averages."""

PUBLISHED: Final = "corruptions"
GENERATED: Final = "corruptions_generated"
PUBLISHED_3D: Final = "corruptions_3d"
CorruptionsName = Literal["corruptions", "corruptions_generated", "corruptions_3d"]
NAMES: Final[dict[str, Sequence[str]]] = {PUBLISHED: COMMON, GENERATED: COMMON, PUBLISHED_3D: COMMON_3D}
"""What stands in place of a norm, and the corruptions of each. Published files and generated pictures differ in
strength, so each has leaderboards of its own."""
THREAT_MODELS: Final = (PUBLISHED, PUBLISHED_3D)
"""The threat models of which zoos list models."""
NO_RADIUS: Final = 0.0
"""In place of the radius of a norm ball."""
SCREENED_BALL: Final = ("Linf", 8 / 255)
"""The norm ball in which local linear maps are taken; a score, which depends on it, is not reported."""


@dataclass(frozen=True, kw_only=True)
class CorruptionScore:
    """The accuracy of a model on N images under one corruption at one severity.

    Attributes:
        severity: 1 (mild) to 5 (strong).
        n, right: the number of images, and of those that are classified correctly.
        verdicts: ``(N,)``, which ones are; None if they were pruned from the database.
    """

    corruption: str
    severity: int
    n: int
    right: int
    verdicts: "NDArray[np.bool_] | None"

    @property
    def accuracy(self) -> float:
        """From 0 to 1."""
        return self.right / self.n


def is_corruptions(norm: str) -> bool:
    """Whether a threat model is common corruptions, which is no norm ball.

    Example:
        >>> is_corruptions("corruptions"), is_corruptions("Linf")
        (True, False)
    """
    return norm in NAMES


def protocol_under(protocol: str, norm: str) -> str:
    """The protocol of an audit in a norm or under corruptions: no attack runs there, so ``strong`` is ``standard``.

    Example:
        >>> protocol_under("strong", "corruptions"), protocol_under("strong", "Linf")
        ('standard', 'strong')
    """
    return "standard" if protocol == "strong" and is_corruptions(norm) else protocol


def threat_model_of(norm: str) -> str:
    """The threat model that is requested for these corruptions; the data decide whether they are generated."""
    return PUBLISHED if norm == GENERATED else norm


def variants(norm: str) -> list[tuple[str, int]]:
    """Every corruption at every severity, in order.

    Example:
        >>> len(variants("corruptions")), variants("corruptions")[0]
        (75, ('gaussian_noise', 1))
    """
    return [(name, severity) for name in NAMES[norm] for severity in SEVERITIES]


def ball_of(entry: Any) -> tuple[str, float]:
    """The norm and the radius in which a zoo entry is screened."""
    return SCREENED_BALL if is_corruptions(entry.norm) else (entry.norm, entry.eps)
