"""The certificate of an audit, beside its attacks."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from auditor.certify import certify_bounds, certify_smoothing
from auditor.certify.settings import certificate_parameters
from auditor.data import ImageSet
from auditor.records import AuditRequest, ZooEntry
from auditor.records.certificates import INTERVALS, LINES, NO_BOUND, Certificate
from auditor.statistics import wilson_interval


def measure_certificate(
    model: nn.Module,
    entry: ZooEntry,
    request: AuditRequest,
    images: ImageSet,
    progress: Callable[[str, int, int], None],
) -> Certificate:
    """Certify the samples of an audit by the requested method.

    Raises:
        AuditorError: the method cannot certify this model; the message says why.
    """
    pictures = torch.from_numpy(images.images).to(request.device)
    labels = torch.from_numpy(images.labels)
    parameters = certificate_parameters(request, entry.eps)

    def report(done: int, total: int) -> None:
        progress("certify", done, total)

    if request.certify == "smoothing":
        return _smooth(model, entry, request, pictures, images, parameters, report)
    verdicts = certify_bounds(
        model, pictures, labels, norm=entry.norm, eps=entry.eps, neurons=parameters["neurons"], progress=report
    )
    counts = {"by_intervals": int((verdicts == INTERVALS).sum()), "by_lines": int((verdicts == LINES).sum())}
    certified = verdicts.numpy() > 0
    low, high = wilson_interval(int(certified.sum()), len(certified))
    return Certificate(
        method="bounds",
        parameters=parameters | counts,
        certified=certified,
        accuracy=float(certified.mean()),
        low=low,
        high=high,
    )


def _smooth(
    model: nn.Module,
    entry: ZooEntry,
    request: AuditRequest,
    pictures: Tensor,
    images: ImageSet,
    parameters: dict[str, float],
    report: Callable[[int, int], None],
) -> Certificate:
    found = certify_smoothing(
        model,
        pictures,
        **parameters,  # type: ignore[arg-type]
        numbers=torch.from_numpy(images.indices),
        batch_size=request.batch_size,
        seed=request.seed,
        progress=report,
    )
    right = found.predicted == images.labels
    radii = np.where(right, found.radii, 0.0)
    certified = right & (radii >= entry.eps)
    low, high = wilson_interval(int(certified.sum()), len(certified))
    return Certificate(
        method="smoothing",
        parameters=dict(parameters),
        certified=certified,
        accuracy=float(certified.mean()),
        low=low,
        high=high,
        radii=radii,
        clean_accuracy=float(right.mean()),
        abstained=float((found.predicted < 0).mean()),
    )


def contradiction(certificate: Certificate, survived: NDArray[np.bool_]) -> str | None:
    """The note of samples that are certified and broken: impossible, if certificate and attacks are right."""
    if certificate.method != "bounds":
        return None
    count = int((certificate.certified & ~survived).sum())
    if not count:
        return None
    return f"{count} of {len(survived)} samples are certified and broken: impossible, so one of the two is wrong"


def silence(certificate: Certificate) -> str | None:
    """The note of bounds that certify nothing."""
    return NO_BOUND if certificate.method == "bounds" and not certificate.certified.any() else None
