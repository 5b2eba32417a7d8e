"""Training with interval bounds: its bounds are those of certificates, and they grow tighter."""

import dataclasses

import pytest
import torch
from torch import nn

from auditor.attacks.gradient import frozen
from auditor.certify.balls import Ball
from auditor.certify.bounds import interval_bounds, margin_bounds
from auditor.certify.program import trace
from auditor.zoo.demo import DemoZoo
from auditor.zoo.demo.interval_training import IntervalRecipe, interval_margins, train_with_intervals
from auditor.zoo.demo.networks import ARCHITECTURES

NAME = "demo:certified-eps0.10"


def certified_model() -> nn.Module:
    (entry,) = (entry for entry in DemoZoo().entries() if entry.model == NAME)
    return DemoZoo().load(entry).model


@pytest.mark.long
@pytest.mark.parametrize("eps", [0.01, 0.1, 0.3])
def test_its_margins_are_the_intervals_of_certificates(eps: float, demo_images: tuple) -> None:
    """Two implementations: layer by layer in the training, operation by operation in the traced network."""
    model = certified_model()
    images, labels = (part[:8] for part in demo_images)
    margins = interval_margins(model, images, labels, eps)
    assert (margins.gather(1, labels.unsqueeze(1)) == 0).all()
    with frozen(model), torch.no_grad():
        program = trace(model, images[:1])
        for image, label, found in zip(images.split(1), labels.tolist(), margins, strict=True):
            bounds = interval_bounds(program, Ball.around(image, "Linf", eps))
            certified = margin_bounds(bounds, label, intervals=True)
            others = torch.cat([found[:label], found[label + 1 :]]).double()
            # Certificates are lower, by the rounding errors that they allow for.
            assert (certified <= others + 1e-4).all()
            torch.testing.assert_close(certified, others, atol=2e-2 * others.abs().max().item(), rtol=0)


def test_no_point_of_the_ball_is_below_its_margins(demo_images: tuple) -> None:
    model, eps = certified_model(), 0.1
    images, labels = (part[:20] for part in demo_images)
    margins = interval_margins(model, images, labels, eps)
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        noise = eps * (2 * torch.rand(images.shape, generator=generator) - 1).sign()
        logits = model((images + noise).clamp(0, 1))
        assert (logits.gather(1, labels.unsqueeze(1)) - logits >= margins - 1e-4).all()


def test_the_schedule() -> None:
    recipe = IntervalRecipe(epochs=10, warmup_epochs=2, ramp_epochs=4, max_lr=0.5)
    assert [recipe.ramp(epoch) for epoch in (0, 2, 4, 6, 9)] == [0, 0, 0.5, 1, 1]
    assert [recipe.learning_rate(epoch) for epoch in (0, 6, 8, 10)] == pytest.approx([0.5, 0.5, 0.25, 0])


@pytest.mark.long
def test_training_certifies_more(demo_images: tuple) -> None:
    images, labels = (part[:200] for part in demo_images)

    def share(kappa: float) -> float:
        torch.manual_seed(0)
        network = ARCHITECTURES["certifiable_convnet"]()
        recipe = dataclasses.replace(
            IntervalRecipe(),
            eps=0.02,
            kappa=kappa,
            epochs=12,
            warmup_epochs=1,
            ramp_epochs=6,
            batch_size=20,
            max_lr=5e-3,
        )
        epochs: list[int] = []
        train_with_intervals(network, images, labels, recipe, lambda number, *_: epochs.append(number))
        assert epochs == list(range(1, 13))
        assert not network.training
        others = interval_margins(network, images, labels, 0.02).scatter(1, labels.unsqueeze(1), torch.inf)
        return (others > 0).all(1).float().mean().item()

    with_bounds, without = share(0.5), share(1.0)
    assert with_bounds > without + 0.2
