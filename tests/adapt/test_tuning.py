"""Fine-tuning: the loss written out, its gradient in closed form, and only what should move moves."""

import pytest
import torch
from torch import nn

from auditor.adapt import superclass_head
from auditor.adapt.splits import Part
from auditor.adapt.tuning import class_centres, tune, tuning_loss
from auditor.errors import InputError
from auditor.records.adaptations import Tuning
from tests.adapt.data import network

LABELS = torch.tensor([0, 0, 0, 1, 1, 0])


def _part(n: int = 6) -> Part:
    images = torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return Part(images, LABELS[:n], torch.arange(n))


def test_centres_are_the_mean_logits_of_each_class() -> None:
    logits = torch.randn(6, 2, dtype=torch.float64)
    centres = class_centres(logits, LABELS, 2)
    torch.testing.assert_close(centres[0], (logits[0] + logits[1] + logits[2] + logits[5]) / 4)
    torch.testing.assert_close(centres[1], (logits[3] + logits[4]) / 2)
    with pytest.raises(InputError, match="each of 3 superclasses"):
        class_centres(torch.randn(6, 3), LABELS, 3)


@pytest.mark.parametrize("beta", [0.0, 0.1, 2.0])
def test_the_head_s_gradient_is_the_closed_form(beta: float) -> None:
    """``(softmax(z) - onehot(y)) / N + 2 beta (z - c_y) / (N M)``, times the features."""
    generator = torch.Generator().manual_seed(1)
    features, centres = (torch.randn(n, k, dtype=torch.float64, generator=generator) for n, k in ((6, 5), (2, 2)))
    layer = nn.Linear(5, 2, dtype=torch.float64)
    logits = layer(features)
    tuning_loss(logits, LABELS, centres, beta).backward()
    upstream = (logits.softmax(1) - torch.eye(2, dtype=torch.float64)[LABELS]) / 6
    upstream = upstream + 2 * beta * (logits - centres[LABELS]) / (6 * 2)
    torch.testing.assert_close(layer.weight.grad, (upstream.T @ features).detach())
    torch.testing.assert_close(layer.bias.grad, upstream.sum(0).detach())


def test_full_batches_are_gradient_descent_with_momentum_written_out() -> None:
    part, tuning = _part(), Tuning(steps=5, lr=0.02, beta=0.3)
    adapted = superclass_head(network(), [[0, 1], [4, 5]], part.images)
    with torch.no_grad():
        features = adapted.model[:-1](part.images).double()
    weight, bias = adapted.head.weight.detach().double(), adapted.head.bias.detach().double()
    centres = torch.stack([(features @ weight.T + bias)[k == LABELS].mean(0) for k in (0, 1)])
    speed = [torch.zeros_like(weight), torch.zeros_like(bias)]
    for _ in range(5):
        logits = features @ weight.T + bias
        upstream = (logits.softmax(1) - torch.eye(2)[LABELS]) / 6 + 0.3 * (logits - centres[LABELS]) / 6
        speed = [0.9 * old + new for old, new in zip(speed, (upstream.T @ features, upstream.sum(0)), strict=True)]
        weight, bias = weight - 0.02 * speed[0], bias - 0.02 * speed[1]
    tune(adapted, part, tuning, seed=0)
    torch.testing.assert_close(adapted.head.weight.detach().double(), weight, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(adapted.head.bias.detach().double(), bias, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("layers", ["head", "all"])
def test_only_what_should_move_moves_and_the_same_seed_gives_the_same(layers: str) -> None:
    part, states = _part(), []
    tuning = Tuning(layers=layers, steps=7, batch_size=4)
    for seed in (0, 0, 1):
        adapted = superclass_head(network(), [[0, 1], [4, 5]], part.images)
        before = {key: value.clone() for key, value in adapted.model.state_dict().items()}
        tune(adapted, part, tuning, seed)
        states.append(adapted.model.state_dict())
        moved = {key for key, value in states[-1].items() if not torch.equal(value, before[key])}
        assert moved >= {"4.weight", "4.bias"}
        assert ("0.weight" in moved) == (layers == "all")
        assert not moved & {"1.running_mean", "1.running_var", "1.num_batches_tracked"}
        assert not adapted.model.training
        assert all(weight.requires_grad for weight in adapted.model.parameters())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert not all(torch.equal(states[0][key], states[2][key]) for key in states[0])


def test_a_strong_pull_keeps_the_logits_of_a_class_together() -> None:
    part, spread = _part(), {}
    for beta in (0.0, 5.0):
        adapted = superclass_head(network(), [[0, 1], [4, 5]], part.images)
        tune(adapted, part, Tuning(beta=beta, steps=50), seed=0)
        with torch.no_grad():
            logits = adapted.model(part.images)
        spread[beta] = sum(logits[k == LABELS].var(0).mean().item() for k in (0, 1))
    assert spread[5.0] < spread[0.0]


def test_a_rate_that_diverges_is_an_error() -> None:
    part = _part()
    adapted = superclass_head(network(), [[0, 1], [4, 5]], part.images)
    with pytest.raises(
        InputError, match=r"the loss was not finite in step [0-9]+: try a lower learning rate than 1000"
    ):
        tune(adapted, part, Tuning(lr=1000.0, layers="all"), seed=0)
