"""What the verdicts of a certificate depend on, besides the model, the images, the norm and eps."""

from typing import Any

from auditor.records import AuditRequest

NEURONS = 256
"""Up to this many inputs of an activation are bounded by lines, too: fully connected layers, but few convolutions."""
FIRST, DRAWS, ALPHA = 100, 1000, 0.001
"""The draws that choose a class, those that bound its probability, and the probability of a wrong certificate."""


def certificate_parameters(request: AuditRequest, eps: float) -> dict[str, Any]:
    """The parameters of the requested certificate; the noise of smoothing is half of eps if the request names none."""
    if request.certify == "smoothing":
        sigma = eps / 2 if request.sigma is None else request.sigma
        return {"sigma": sigma, "first": FIRST, "draws": DRAWS, "alpha": ALPHA}
    return {"intervals": True, "lines": True, "neurons": NEURONS}
