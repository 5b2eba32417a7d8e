"""Certificates in an audit: beside the attacks, in its identity, and their contradictions."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from auditor.audit import certificates
from auditor.audit.identity import identity
from auditor.audit.run import audit
from auditor.data import load_images
from auditor.records import AuditRecord, AuditRequest, JobContext
from auditor.records.certificates import NO_BOUND
from auditor.zoo import LoadedModel
from tests.factories.records import entry

BOUNDS = AuditRequest(protocol="quick", certify="bounds")
ENTRY = replace(entry("test"), norm="Linf", eps=0.01)


class Means(nn.Module):
    """A linear classifier by the mean pictures of the classes."""

    def __init__(self) -> None:
        super().__init__()
        images = load_images("fashion_mnist", 200)
        pixels, labels = torch.from_numpy(images.images).flatten(1), torch.from_numpy(images.labels)
        means = torch.stack([pixels[labels == k].mean(0) for k in range(10)])
        self.weight, self.bias = nn.Parameter(means), nn.Parameter(-means.square().sum(1) / 2)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.flatten(1), self.weight, self.bias)


class Gelu(Means):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.gelu(x))


def run(model: nn.Module, request: AuditRequest, eps: float = 0.01, norm: str = "Linf") -> AuditRecord:
    chosen = replace(ENTRY, eps=eps, norm=norm)
    return audit(chosen, LoadedModel(model, "w" * 64), request, load_images("fashion_mnist", 40), JobContext())


@pytest.mark.long
def test_the_bound_of_a_linear_model_is_its_robust_accuracy() -> None:
    """Attacks and bounds are both exact there, so lower and upper bound meet."""
    record = run(Means(), BOUNDS)
    assert 0.2 < record.certificate.accuracy == record.robust_accuracy < record.clean_accuracy
    np.testing.assert_array_equal(record.certificate.certified, record.verdicts.survived)
    assert record.certificate.low < record.certificate.accuracy < record.certificate.high
    assert "certificate_contradicted" not in record.flags


def test_a_certified_and_broken_sample_is_a_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "certify_bounds", lambda _, images, *__, **___: torch.ones(len(images)).long())
    record = run(Means(), BOUNDS, eps=0.1)
    broken = int((~record.verdicts.survived).sum())
    assert "certificate_contradicted" in record.flags
    assert f"{broken} of 40 samples are certified and broken: impossible, so one of the two is wrong" in record.notes


@pytest.mark.long
def test_a_bound_of_0_says_so() -> None:
    record = run(Means(), BOUNDS, eps=0.5)
    assert record.certificate.accuracy == 0
    assert f"certify: {NO_BOUND}" in record.notes


def test_what_has_no_bounds_is_not_measurable_and_the_rest_is_measured() -> None:
    record = run(Gelu(), BOUNDS)
    assert record.certificate is None
    assert record.n == 40
    assert "certify: no bounds for the operation gelu" in record.not_measurable


@pytest.mark.long
def test_smoothing_is_about_another_classifier() -> None:
    request = AuditRequest(protocol="quick", certify="smoothing", sigma=0.25)
    record = run(Means(), request, eps=0.3, norm="L2")
    found = record.certificate
    assert found.parameters == {"sigma": 0.25, "first": 100, "draws": 1000, "alpha": 0.001}
    np.testing.assert_array_equal(found.certified, found.radii >= 0.3)
    assert 0 < found.accuracy <= found.clean_accuracy <= 1 - found.abstained
    assert "certificate_contradicted" not in record.flags


def test_the_identity_covers_the_certificate() -> None:
    images = load_images("fashion_mnist", 20)
    requests = (
        AuditRequest(protocol="quick"), BOUNDS, replace(BOUNDS, certify="smoothing"),
        replace(BOUNDS, certify="smoothing", sigma=0.3),
    )  # fmt: skip
    names = [identity(ENTRY, "w" * 64, request, images) for request in requests]
    assert len(set(names)) == 4
    half = replace(BOUNDS, certify="smoothing", sigma=ENTRY.eps / 2)
    assert identity(ENTRY, "w" * 64, half, images) == names[2]
