"""The L1 norm: its projection on the ball and the box against a solver, its draws, and the protocols in it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from auditor.attacks import evaluate_robustness
from auditor.attacks.norms import L1
from tests.factories.attacked_models import Linear

VALUES = st.floats(-2, 2, allow_nan=False, width=32)


def _tensors(pixels: list[float], changes: list[float]) -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.tensor(pixels, dtype=torch.float64).view(1, 1, 1, -1)
    return images, images + torch.tensor(changes, dtype=torch.float64).view(1, 1, 1, -1)


@given(
    st.lists(st.tuples(st.floats(0, 1, width=32), VALUES), min_size=1, max_size=12),
    st.floats(0.0625, 5, width=32),
)
def test_the_projection_is_the_nearest_point(pairs: list[tuple[float, float]], eps: float) -> None:
    """The optimality conditions: a point is the nearest if all its free changes are shortened by the same amount."""
    images, points = _tensors([pixel for pixel, _ in pairs], [change for _, change in pairs])
    found = L1.project(points, images, eps)
    moved, wanted = (found - images).flatten(), (points - images).flatten()
    assert float(moved.abs().sum()) <= eps * (1 + 1e-9) + 1e-12
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1
    assert (moved * wanted >= -1e-12).all()
    cut = (wanted.abs() - moved.abs()).clamp_min(0)
    room = torch.where(wanted > 0, 1 - images.flatten(), images.flatten())
    free = (moved.abs() > 1e-9) & (moved.abs() < room - 1e-9)
    threshold = float(cut[free].mean()) if free.any() else None
    if threshold is not None:
        assert torch.allclose(cut[free], torch.full_like(cut[free], threshold), atol=1e-6)
        assert (wanted.abs()[moved.abs() <= 1e-9] <= threshold + 1e-6).all() or (room < 1e-6).any()
    budget_is_left = float(moved.abs().sum()) < eps - 1e-6
    if budget_is_left:  # then only the box shortens
        assert torch.allclose(moved.abs(), torch.minimum(wanted.abs(), room), atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.1, 3))
def test_the_projection_is_that_of_a_solver(seed: int, eps: float) -> None:
    random = np.random.default_rng(seed)
    pixels, changes = random.random(5), random.normal(size=5)
    images, points = _tensors(pixels.tolist(), changes.tolist())
    found = (L1.project(points, images, eps) - images).numpy().ravel()
    solved = minimize(  # the positive and the negative parts of the change
        lambda parts: float(((parts[:5] - parts[5:] - changes) ** 2).sum()),
        np.zeros(10),
        bounds=[(0, 1 - pixel) for pixel in pixels] + [(0, pixel) for pixel in pixels],
        constraints={"type": "ineq", "fun": lambda parts: eps - parts.sum()},
        method="SLSQP",
        options={"ftol": 1e-13, "maxiter": 1000},
    )
    np.testing.assert_allclose(found, solved.x[:5] - solved.x[5:], atol=2e-4)


def test_each_sample_may_have_a_ball_of_its_own() -> None:
    images = torch.full((2, 1, 2, 2), 0.5)
    points = images + torch.tensor([0.4, 0.3, 0.2, 0.1]).view(1, 1, 2, 2)
    both = L1.project(points, images, torch.tensor([0.2, 0.6]).view(-1, 1, 1, 1))
    alone = torch.cat([L1.project(points[:1], images[:1], 0.2), L1.project(points[1:], images[1:], 0.6)])
    torch.testing.assert_close(both, alone)
    torch.testing.assert_close(L1.size(both - images).flatten(), torch.tensor([0.2, 0.6]))


def test_draws_are_uniform_in_the_ball() -> None:
    """The radius of a uniform point of a D-dimensional ball has the distribution function r^D."""
    generator = np.random.default_rng(0)
    draws = np.stack([L1.draw(generator, (1, 1, 3), 2.0) for _ in range(4000)])
    radii = np.abs(draws).reshape(4000, -1).sum(1) / 2.0
    assert radii.max() <= 1
    for share in (0.25, 0.5, 0.75):
        assert np.quantile(radii, share) == pytest.approx(share ** (1 / 3), abs=0.02)
    assert (draws > 0).mean() == pytest.approx(0.5, abs=0.02)


def test_a_step_has_unit_norm_and_is_sparse() -> None:
    step = L1.normalize(torch.randn(3, 1, 10, 10, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(L1.size(step).flatten(), torch.ones(3))
    assert (step != 0).flatten(1).sum(1).tolist() == [5, 5, 5]
    assert not L1.normalize(torch.zeros(1, 1, 10, 10)).any()


@pytest.mark.long
@pytest.mark.parametrize("protocol", ["quick", "standard", "strong"])
def test_protocols_run_in_l1_and_break_no_sample_beyond_reach(protocol: str) -> None:
    """The smallest L1 change that breaks a linear model is its margin over the largest difference of weights."""
    model = Linear(5)
    images = 0.3 + 0.4 * torch.rand(12, 1, 6, 6, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        logits = model(images)
        labels = logits.argmax(1)
        margins = logits.gather(1, labels[:, None]) - logits
        slopes = (model.weight[labels][:, None] - model.weight[None]).abs().amax(2)
        reach = (margins / slopes.clamp_min(1e-9)).masked_fill(margins == 0, torch.inf).amin(1)
    eps = float(reach.median()) * 1.2
    found = evaluate_robustness(model, images, labels, norm="L1", eps=eps, protocol=protocol)
    assert not found.flags
    assert found.survived[reach > 1.001 * eps].all()
    if protocol != "quick":
        assert not found.survived[reach < 0.5 * eps].any()
