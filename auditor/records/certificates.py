"""Certificates of an audit: which samples are proven to be robust, by which method."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from auditor.records.norms import NORM_NAMES, NormName

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CertificateMethod = Literal["bounds", "smoothing"]
CERTIFICATE_METHODS: tuple[CertificateMethod, ...] = ("bounds", "smoothing")
CERTIFIED_NORMS: dict[CertificateMethod, tuple[NormName, ...]] = {"bounds": NORM_NAMES, "smoothing": ("L2",)}
"""The norms in which a method certifies."""
NEITHER, INTERVALS, LINES = 0, 1, 2
"""How bounds certify a sample."""
CONTRADICTED = "certificate_contradicted"
"""The flag of a result with a sample that is certified and broken: the certificate or the attack is wrong."""
NO_BOUND = "the bound is 0: these bounds say nothing about this model"


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """What is proven of the N samples of an audit at its norm and eps.

    For ``bounds``, ``certified`` is about the audited model, and its share is a lower bound of the robust accuracy. For
    ``smoothing`` it is about the smoothed model, another classifier: no bound of the audited model's robust accuracy.

    Attributes:
        parameters: of the method; for smoothing sigma, n0, n and alpha, for each sample's error probability.
        certified: ``(N,)``, whether the sample is correct in all of the ball.
        accuracy: the share of certified samples, with its 95 % Wilson interval from ``low`` to ``high``.
        radii: ``(N,)`` float64, the certified L2 radius of the smoothed model; 0 where it abstains or is wrong. None
            for bounds.
        clean_accuracy: the share of samples that the smoothed model classifies correctly; NaN for bounds.
        abstained: the share of samples where smoothing cannot tell; NaN for bounds.
    """

    method: CertificateMethod
    parameters: dict[str, Any]
    certified: "NDArray[np.bool_]"
    accuracy: float
    low: float
    high: float
    radii: "NDArray[np.float64] | None" = None
    clean_accuracy: float = field(default=float("nan"))
    abstained: float = field(default=float("nan"))
