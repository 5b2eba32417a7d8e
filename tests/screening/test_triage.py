"""Triage: who is attacked, and that what is left of the others is an audit under `screen`."""

import hashlib
import math

import pytest
import torch
from torch import nn

from auditor.audit.run import audit
from auditor.data import load_images
from auditor.records import AuditRecord, AuditRequest, JobContext
from auditor.records.screening import Screening
from auditor.screening.triage import is_attacked
from auditor.zoo import LoadedModel
from tests.factories.records import entry

IDENTITIES = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(4000)]


def screening(score: float) -> Screening:
    return Screening(score=score, margin=0.1, local_gap=0.2, gap=0.3)


@pytest.mark.parametrize(
    ("threshold", "found", "attacked"),
    [
        (0.2, screening(0.2), True), (0.2, screening(0.9), True), (0.0, screening(0.0), True),
        (0.2, screening(math.nan), True), (0.2, None, True), (0.2, screening(0.19), False),
        (1.0, screening(0.99), False),
    ],
)  # fmt: skip
def test_a_model_at_the_threshold_or_without_a_score_is_attacked(
    threshold: float, found: Screening | None, attacked: bool
) -> None:
    never_drawn = "f" * 64
    assert is_attacked(threshold, found, never_drawn) is attacked
    assert is_attacked(threshold, found, "0" * 64)


def test_a_tenth_of_the_others_is_drawn_and_always_the_same() -> None:
    drawn = [name for name in IDENTITIES if is_attacked(0.5, screening(0.1), name)]
    assert len(drawn) == pytest.approx(400, abs=4 * math.sqrt(4000 * 0.1 * 0.9))
    assert all(is_attacked(0.3, screening(0.2), name) for name in drawn)


def measured(request: AuditRequest, samples: int | None) -> AuditRecord:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    images = None if samples is None else load_images("fashion_mnist", samples)
    return audit(entry("test"), LoadedModel(model, "w" * 64), request, images, JobContext())


@pytest.mark.parametrize("draw", [True, False])
def test_a_model_that_is_not_attacked_has_the_record_of_a_screen(draw: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auditor.screening.triage.SHARE", float(draw))
    whole, screened = measured(AuditRequest(protocol="quick"), 20), measured(AuditRequest(protocol="screen"), None)
    found = measured(AuditRequest(protocol="quick", triage=1.0), 20)
    expected = whole if draw else screened
    assert (found.identity, found.protocol, found.n) == (expected.identity, expected.protocol, expected.n)
    assert found.identity != (screened if draw else whole).identity
    assert found.screening is not None
    assert math.isnan(found.robust_accuracy) is not draw
    assert found.screening.score == pytest.approx(screened.screening.score)
