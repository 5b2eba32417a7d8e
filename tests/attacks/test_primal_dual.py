"""PDPGD against closed forms: of linear models the smallest change in L1 is on one pixel, as far as the box allows."""

import torch
from torch import nn

from auditor.attacks.losses import towards
from auditor.attacks.primal_dual import minimize_l1
from tests.factories.attacked_models import Linear

K = 5


def _images(model: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    images = 0.45 + 0.1 * torch.rand(24, 1, 6, 6, generator=torch.Generator().manual_seed(3))
    return images, model(images).argmax(1)


def _distances(model: Linear, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """``(N, K)``: the margin to each class over the largest difference of the weights; infinite for the own class."""
    logits = model(images)
    margins = logits.gather(1, labels[:, None]) - logits
    slopes = (model.weight[labels][:, None] - model.weight[None]).abs().amax(2)
    reach = margins / slopes.clamp_min(1e-12)
    reach[torch.arange(len(labels)), labels] = torch.inf
    return reach


def test_the_descent_comes_close_to_the_distance_of_a_linear_model() -> None:
    model = Linear(K).requires_grad_(False)
    images, labels = _images(model)
    found = minimize_l1(model, images, labels, 300)
    exact = _distances(model, images, labels).amin(1)
    assert (model(found).argmax(1) != labels).all()
    ratio = (found - images).abs().flatten(1).sum(1) / exact
    assert ratio.min() > 0.999
    assert ratio.median() < 1.1
    assert 0 <= found.min() <= found.max() <= 1


def test_towards_a_target_it_reaches_that_class() -> None:
    model = Linear(K).requires_grad_(False)
    images, labels = _images(model)
    targets = (labels + 1) % K
    found = minimize_l1(model, images, labels, 300, towards(targets, labels))
    nearest = _distances(model, images, labels).argmin(1)
    reached = model(found).argmax(1)
    assert (reached != labels).all()
    assert ((reached == targets) | (reached == nearest)).float().mean() > 0.8


def test_without_a_gradient_the_images_come_back_and_the_batch_makes_no_difference() -> None:
    model = Linear(K).requires_grad_(False)
    images, labels = _images(model)
    assert torch.equal(minimize_l1(lambda x: model(x.detach()), images, labels, 20), images)
    whole = minimize_l1(model, images, labels, 50)
    parts = [minimize_l1(model, images[part], labels[part], 50) for part in (slice(0, 7), slice(7, 24))]
    torch.testing.assert_close(torch.cat(parts), whole, atol=1e-5, rtol=0)
