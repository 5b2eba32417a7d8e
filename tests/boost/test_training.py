"""The training loop: it learns, it is repeatable, its losses are the written-out ones, the regularizer regularizes."""

import copy
import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from auditor.attacks.gradient import cross_entropy, frozen, pgd
from auditor.boost import cluster_regularizer
from auditor.boost.training import Epoch, Recipe, _loss, train

SUPERCLASSES = ("a", "a", "b", "b")


def _data(n: int = 256) -> tuple[torch.Tensor, torch.Tensor]:
    """Four classes, each a bright stripe of the image: the same when flipped."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % 4
    images = 0.3 * torch.rand(n, 1, 8, 8, generator=generator)
    for image, label in zip(images, labels, strict=True):
        image[:, 2 * label : 2 * label + 2] += 0.5
    return images, labels


def _network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(512, 4))


RECIPE = Recipe(epochs=3, batch_size=32, max_lr=0.05)
ATTACK = {"eps": 0.1, "steps": 2, "step_size": 0.1}


@pytest.mark.parametrize(
    "recipe",
    [
        RECIPE,
        dataclasses.replace(RECIPE, method="at", **ATTACK),
        dataclasses.replace(RECIPE, method="trades", **ATTACK),
        dataclasses.replace(RECIPE, noise=0.1),
        dataclasses.replace(RECIPE, augment=True),
        dataclasses.replace(RECIPE, method="at", random_start=False, **ATTACK),
    ],
    ids=["standard", "at", "trades", "noise", "augment", "fgsm"],
)
def test_it_learns_and_the_same_seed_gives_the_same_weights(recipe: Recipe) -> None:
    images, labels = _data()
    states = []
    for _ in range(2):
        network, epochs = _network(), []
        torch.manual_seed(recipe.seed)
        train(network, images, labels, recipe, SUPERCLASSES, epochs.append)
        states.append(network.state_dict())
        assert [epoch.number for epoch in epochs] == [1, 2, 3]
        assert all(isinstance(epoch, Epoch) and epoch.seconds > 0 for epoch in epochs)
        assert not network.training
        assert all(parameter.requires_grad for parameter in network.parameters())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    accuracy = (network(images).argmax(1) == labels).float().mean()
    assert accuracy > (0.6 if recipe.augment else 0.9)


def test_adversarial_training_makes_robust_where_standard_training_does_not() -> None:
    images, labels = _data()
    images = images * 0.4  # the margins shrink to where the attack reaches
    robust = {}
    for method in ("standard", "at"):
        network = _network()
        torch.manual_seed(0)
        recipe = Recipe(method=method, eps=0.1, steps=5, step_size=0.04, epochs=6, batch_size=32, max_lr=0.05)
        train(network, images, labels, recipe, SUPERCLASSES)
        with frozen(network):
            attacked = pgd(
                network, images, cross_entropy(labels), norm="Linf", eps=0.1, steps=20, step_size=0.025, labels=labels
            )
            robust[method] = (network(attacked).argmax(1) == labels).float().mean().item()
    assert robust["at"] > robust["standard"]


def test_beta_pulls_siblings_together() -> None:
    images, labels = _data()
    spread = {}
    for beta in (0.0, 1.0):
        network = _network()
        torch.manual_seed(0)
        train(network, images, labels, dataclasses.replace(RECIPE, beta=beta), SUPERCLASSES)
        with torch.no_grad():
            spread[beta] = cluster_regularizer(network(images), SUPERCLASSES).item()
    assert spread[1.0] < 0.5 * spread[0.0]


FIXED = 0.05 * torch.randn(32, 1, 8, 8, generator=torch.Generator().manual_seed(9))


def _with_fixed_attack(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """Every attack in training adds the same noise; what it was asked for is kept."""
    asked: list[dict] = []

    def fixed(model: nn.Module, x: torch.Tensor, loss: object, **settings: object) -> torch.Tensor:
        asked.append(settings | {"training": model.training, "value": loss(model(x + FIXED)).sum().item()})
        return x + FIXED

    monkeypatch.setattr("auditor.boost.training.pgd", fixed)
    return asked


@pytest.mark.parametrize("temperature", [1.0, 7.0])
@pytest.mark.parametrize("beta", [0.0, 0.3])
def test_adversarial_loss_written_out(monkeypatch: pytest.MonkeyPatch, beta: float, temperature: float) -> None:
    asked, (images, labels), network = _with_fixed_attack(monkeypatch), _data(32), _network()
    recipe = Recipe(method="at", eps=0.2, steps=4, step_size=0.1, beta=beta, temperature=temperature)
    logits = copy.deepcopy(network).train()(images + FIXED)
    expected = F.cross_entropy(logits / temperature, labels) + beta * cluster_regularizer(logits, SUPERCLASSES)
    torch.testing.assert_close(_loss(network, images, labels, recipe, SUPERCLASSES), expected)
    (settings,) = asked
    assert (settings["eps"], settings["steps"], settings["step_size"]) == (0.2, 4, 0.1)
    assert settings["start"].abs().max() <= 0.2
    assert settings["start"].std() > 0.05
    assert not settings["training"]


@pytest.mark.parametrize("beta", [0.0, 0.3])
def test_trades_loss_written_out(monkeypatch: pytest.MonkeyPatch, beta: float) -> None:
    """``CE(f(x), y) + lambda KL(f(x) || f(x'))``, the regularizer on the attacked logits, in train mode."""
    asked, (images, labels), network = _with_fixed_attack(monkeypatch), _data(32), _network()
    recipe = Recipe(method="trades", eps=0.2, steps=4, step_size=0.1, trades_lambda=5.0, beta=beta)
    twin = copy.deepcopy(network).train()
    clean, attacked = twin(images), twin(images + FIXED)
    divergence = (clean.softmax(1) * (clean.log_softmax(1) - attacked.log_softmax(1))).sum(1)
    expected = (
        F.cross_entropy(clean, labels) + 5 * divergence.mean() + beta * cluster_regularizer(attacked, SUPERCLASSES)
    )
    before = copy.deepcopy(network).eval()
    torch.testing.assert_close(_loss(network, images, labels, recipe, SUPERCLASSES), expected)
    (settings,) = asked
    target, seen = before(images), before(images + FIXED)
    inner = (target.softmax(1) * (target.log_softmax(1) - seen.log_softmax(1))).sum()
    assert settings["value"] == pytest.approx(inner.item(), rel=1e-3)
    assert 0 < settings["start"].abs().max() < 0.01
    assert not settings["training"]
