"""Nearest mean: scikit-learn's predictions, and under attack what a linear classifier keeps, in closed form."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestCentroid

from auditor.adapt import nearest_mean
from auditor.adapt.measure import measure
from auditor.adapt.splits import Part
from auditor.errors import InputError
from tests.adapt.data import tiny

DATA = tiny()


@pytest.mark.parametrize("classes", [2, 4, 8])
def test_predictions_are_scikit_learn_s(classes: int) -> None:
    labels = DATA.labels * classes // 8
    found = nearest_mean(DATA.images, labels, classes)(DATA.test_images).argmax(1)
    pixels = DATA.images.flatten(1).double().numpy() / 255
    reference = NearestCentroid().fit(pixels, labels.numpy())
    np.testing.assert_array_equal(found.numpy(), reference.predict(DATA.test_images.flatten(1).double().numpy()))


@pytest.mark.parametrize("eps", [0.05, 0.15, 0.3])
def test_robust_accuracy_is_the_closed_form(eps: float) -> None:
    """Two classes: the worst point moves each pixel by eps against the difference of the means, inside [0, 1]."""
    labels, test_labels = DATA.labels // 4, DATA.test_labels // 4
    few = torch.arange(16)
    model = nearest_mean(DATA.images[few], labels[few], 2)
    weight, bias = model[1].weight.double(), model[1].bias.double()
    sign = 2.0 * test_labels.double() - 1
    direction = (weight[1] - weight[0])[None] * sign[:, None]
    worst = (DATA.test_images.flatten(1).double() - eps * direction.sign()).clamp(0, 1)
    margin = (worst * direction).sum(1) + sign * (bias[1] - bias[0])
    part = Part(DATA.test_images, test_labels, DATA.test_numbers)
    found = measure(model, part, norm="Linf", eps=eps, protocol="adapt")
    assert found.robust == pytest.approx((margin > 0).double().mean().item())
    assert found.clean == pytest.approx((model(DATA.test_images).argmax(1) == test_labels).double().mean().item())
    assert found.low <= found.robust <= found.high


def test_a_class_without_images_is_an_error() -> None:
    with pytest.raises(InputError, match="images of each of 3 superclasses"):
        nearest_mean(DATA.images, DATA.labels // 4, 3)
