"""The pictures that an audit stores, of models whose templates are known."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from auditor.audit.pictures import LocalPictures, compute_pictures
from auditor.audit.run import audit
from auditor.records import AuditRequest, JobContext
from auditor.records.templates import MOST_SIDE, MOST_VALUES, stored_size
from auditor.zoo import LoadedModel
from tests.factories.records import entry

WEIGHT = np.random.default_rng(0).normal(size=(10, 784))


class _Known(nn.Module):
    """A linear model with these templates; of ``power`` times its logits if they are positive, else once."""

    def __init__(self, power: float = 1.0) -> None:
        super().__init__()
        self.weight, self.power = nn.Parameter(torch.from_numpy(WEIGHT).float()), power

    def forward(self, x: Tensor) -> Tensor:
        logits = x.flatten(1) @ self.weight.T
        return torch.nn.functional.leaky_relu(logits, self.power)


def test_the_templates_of_a_linear_model_are_its_weights() -> None:
    linearized, local = compute_pictures(_Known(), entry(), classes=10, linearization="remove", seed=0)
    assert (linearized.kind, local.kind, local.probes) == ("linearized", "local", 32)
    for part in (linearized, local):
        assert part.size == (28, 28)
        np.testing.assert_allclose(part.values, WEIGHT.reshape(10, 1, 28, 28), rtol=1e-4, atol=1e-5)


def test_an_audit_stores_what_its_model_gives() -> None:
    model, request = _Known(0.3), AuditRequest(protocol="screen")
    record = audit(entry(), LoadedModel(model, "w" * 64), request, None, JobContext())
    expected = compute_pictures(model, entry(), classes=10, linearization="remove", seed=0)
    assert [part.kind for part in record.templates] == ["linearized", "local"]
    for found, other in zip(record.templates, expected, strict=True):
        np.testing.assert_array_equal(found.values, other.values)
    linearized, local = record.templates
    np.testing.assert_allclose(linearized.values, WEIGHT.reshape(10, 1, 28, 28), rtol=1e-4, atol=1e-5)
    # Each row of a local map is the template, or 0.3 of it.
    shares = (local.values / linearized.values).reshape(10, -1)
    assert (np.ptp(shares, axis=1) < 1e-3).all()
    assert 0.3 <= shares.min() < shares.max() <= 1.0 + 1e-6


def test_a_sketch_has_no_templates_of_the_linearized_network() -> None:
    request = AuditRequest(protocol="screen", sketch=16)
    record = audit(entry(), LoadedModel(_Known(), "w" * 64), request, None, JobContext())
    assert [part.kind for part in record.templates] == ["local"]


def test_what_is_not_finite_is_no_picture() -> None:
    local = LocalPictures((1, 4, 4))
    assert local.mean() is None
    local.add(torch.ones(3, 1, 4, 4, dtype=torch.float64), 3)
    local.add(torch.zeros(3, 1, 4, 4, dtype=torch.float64), 1)
    mean = local.mean()
    assert mean is not None
    np.testing.assert_array_equal(mean.values, np.full((3, 1, 4, 4), 0.75))


@pytest.mark.parametrize(
    ("classes", "channels", "size", "expected"),
    [
        (10, 1, (28, 28), (28, 28)),
        (10, 3, (32, 32), (32, 32)),
        (10, 3, (224, 224), (64, 64)),
        (10, 3, (100, 200), (32, 64)),
        (100, 3, (64, 64), (64, 64)),
        (1000, 3, (224, 224), (26, 26)),
    ],
)
def test_stored_pictures_are_bounded(
    classes: int, channels: int, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    height, width = stored_size(classes, channels, size)
    assert (height, width) == expected
    assert max(height, width) <= MOST_SIDE
    assert classes * channels * height * width <= MOST_VALUES
