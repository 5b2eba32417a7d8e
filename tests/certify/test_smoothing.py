"""Randomized smoothing against the closed form of linear classifiers, and Cohen's formula."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import binom, norm
from torch import nn

from auditor.certify import certify_smoothing
from auditor.certify.smoothing import lower_probability
from auditor.errors import InputError


def linear() -> nn.Module:
    """Class 0 where the first pixel exceeds the second: the distance to the boundary is the difference over √2."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
    model[1].weight.data = torch.eye(2)
    return model


def test_the_radius_of_a_linear_classifier_is_its_distance() -> None:
    images = torch.tensor([[[[0.60, 0.50]]], [[[0.65, 0.50]]], [[[0.50, 0.70]]]])
    found = certify_smoothing(linear(), images, sigma=0.1, draws=20_000)
    distance = (images[:, 0, 0, 0] - images[:, 0, 0, 1]).abs().numpy() / math.sqrt(2)
    assert found.predicted.tolist() == [0, 0, 1]
    assert (found.radii <= distance).all()  # an error has a probability of at most alpha; the seed is fixed
    np.testing.assert_allclose(found.radii, distance, rtol=0.1)


def test_the_radius_is_that_of_the_formula() -> None:
    """All draws agree: p = alpha^(1/n), as in Cohen et al.'s code for n = 100,000 and alpha = 0.001, 3.81 sigma."""
    constant = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    constant[1].weight.data.zero_()
    constant[1].bias.data = torch.tensor([0.0, 1.0])
    found = certify_smoothing(constant, torch.rand(1, 1, 2, 2), sigma=0.25, draws=1000)
    assert found.predicted.tolist() == [1]
    assert found.radii[0] == pytest.approx(0.25 * norm.ppf(0.001 ** (1 / 1000)))
    assert norm.ppf(lower_probability(100_000, 100_000, 0.001)) == pytest.approx(3.81, abs=0.005)


@pytest.mark.parametrize(("count", "draws"), [(1, 10), (600, 1000), (999, 1000), (1000, 1000)])
def test_the_bound_is_clopper_and_pearsons(count: int, draws: int) -> None:
    """At the bound, as many successes or more have a probability of exactly alpha."""
    assert binom.sf(count - 1, draws, lower_probability(count, draws, 0.01)) == pytest.approx(0.01)


def test_it_abstains_on_the_boundary() -> None:
    found = certify_smoothing(linear(), torch.full((1, 1, 1, 2), 0.5), sigma=0.1)
    assert found.predicted.tolist() == [-1]
    assert found.radii.tolist() == [0.0]


def test_draws_go_by_the_sample_and_not_by_the_batch() -> None:
    torch.manual_seed(0)
    model, images = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), torch.rand(4, 1, 4, 4)
    together = certify_smoothing(model, images, sigma=0.5, batch_size=256)
    small = certify_smoothing(model, images, sigma=0.5, batch_size=7)
    alone = certify_smoothing(model, images[2:3], sigma=0.5, numbers=torch.tensor([2]))
    np.testing.assert_array_equal(together.radii, small.radii)
    assert alone.radii[0] == together.radii[2]
    assert certify_smoothing(model, images, sigma=0.5, seed=1).radii.tolist() != together.radii.tolist()


def test_no_point_in_the_radius_changes_the_smoothed_class() -> None:
    """An attack on the smoothed model of a classifier with a bent boundary: exact probabilities on a fine grid."""

    class Disc(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            inside = 0.3 - (x.flatten(1) - 0.5).norm(dim=1)
            return torch.stack([inside, -inside], 1)

    image = torch.tensor([[[[0.55, 0.5]]]])
    found = certify_smoothing(Disc(), image, sigma=0.15, draws=5000)
    assert found.predicted[0] == 0
    assert found.radii[0] > 0.02
    generator = np.random.default_rng(0)
    noise = 0.15 * generator.standard_normal((200_000, 2))
    for angle in np.linspace(0, 2 * np.pi, 16, endpoint=False):
        point = np.array([0.55, 0.5]) + found.radii[0] * np.array([np.cos(angle), np.sin(angle)])
        assert (np.linalg.norm(point + noise - 0.5, axis=1) < 0.3).mean() > 0.5


def test_numbers_out_of_range_are_refused() -> None:
    with pytest.raises(InputError, match="sigma"):
        certify_smoothing(linear(), torch.rand(1, 1, 1, 2), sigma=0)
