"""The training loop: it learns, it is repeatable, its losses are the written-out ones, the regularizer regularizes."""

import copy
import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from auditor.attacks.gradient import cross_entropy, frozen, pgd
from auditor.attacks.norms import LINF
from auditor.boost import cluster_regularizer
from auditor.boost.losses import step_loss
from auditor.boost.perturbation import perturbed_backward
from auditor.boost.training import Epoch, Trainer, train
from auditor.errors import InputError
from auditor.records.boosts import Recipe
from tests.factories.fine_tuning import SUPERCLASSES, data, small_network

RECIPE = Recipe(epochs=3, batch_size=32, max_lr=0.05)
ATTACK = {"eps": 0.1, "steps": 2, "step_size": 0.1}


@pytest.mark.long
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
    images, labels = data()
    states = []
    for _ in range(2):
        network, epochs = small_network(), []
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
    images, labels = data()
    images = images * 0.4  # the margins shrink to where the attack reaches
    robust = {}
    for method in ("standard", "at"):
        network = small_network()
        torch.manual_seed(0)
        recipe = Recipe(method=method, eps=0.1, steps=5, step_size=0.04, epochs=6, batch_size=32, max_lr=0.05)
        train(network, images, labels, recipe, SUPERCLASSES)
        with frozen(network):
            attacked = pgd(
                network, images, cross_entropy(labels), norm=LINF, eps=0.1, steps=20, step_size=0.025, labels=labels
            )
            robust[method] = (network(attacked).argmax(1) == labels).float().mean().item()
    assert robust["at"] > robust["standard"]


def test_beta_pulls_siblings_together() -> None:
    images, labels = data()
    spread = {}
    for beta in (0.0, 1.0):
        network = small_network()
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

    monkeypatch.setattr("auditor.boost.losses.pgd", fixed)
    return asked


@pytest.mark.parametrize("temperature", [1.0, 7.0])
@pytest.mark.parametrize("beta", [0.0, 0.3])
def test_adversarial_loss_written_out(monkeypatch: pytest.MonkeyPatch, beta: float, temperature: float) -> None:
    asked, (images, labels), network = _with_fixed_attack(monkeypatch), data(32), small_network()
    recipe = Recipe(method="at", eps=0.2, steps=4, step_size=0.1, beta=beta, temperature=temperature)
    logits = copy.deepcopy(network).train()(images + FIXED)
    expected = F.cross_entropy(logits / temperature, labels) + beta * cluster_regularizer(logits, SUPERCLASSES)
    torch.testing.assert_close(step_loss(network, images, labels, recipe, SUPERCLASSES)(), expected)
    (settings,) = asked
    assert (settings["eps"], settings["steps"], settings["step_size"]) == (0.2, 4, 0.1)
    assert settings["start"].abs().max() <= 0.2
    assert settings["start"].std() > 0.05
    assert not settings["training"]


@pytest.mark.parametrize("beta", [0.0, 0.3])
def test_trades_loss_written_out(monkeypatch: pytest.MonkeyPatch, beta: float) -> None:
    """``CE(f(x), y) + lambda KL(f(x) || f(x'))``, the regularizer on the attacked logits, in train mode."""
    asked, (images, labels), network = _with_fixed_attack(monkeypatch), data(32), small_network()
    recipe = Recipe(method="trades", eps=0.2, steps=4, step_size=0.1, trades_lambda=5.0, beta=beta)
    twin = copy.deepcopy(network).train()
    clean, attacked = twin(images), twin(images + FIXED)
    divergence = (clean.softmax(1) * (clean.log_softmax(1) - attacked.log_softmax(1))).sum(1)
    expected = (
        F.cross_entropy(clean, labels) + 5 * divergence.mean() + beta * cluster_regularizer(attacked, SUPERCLASSES)
    )
    before = copy.deepcopy(network).eval()
    torch.testing.assert_close(step_loss(network, images, labels, recipe, SUPERCLASSES)(), expected)
    (settings,) = asked
    target, seen = before(images), before(images + FIXED)
    inner = (target.softmax(1) * (target.log_softmax(1) - seen.log_softmax(1))).sum()
    assert settings["value"] == pytest.approx(inner.item(), rel=1e-3)
    assert 0 < settings["start"].abs().max() < 0.01
    assert not settings["training"]


HELPERS = [
    {"ema": 0.9},
    {"awp": 0.01},
    {"label_smoothing": 0.1},
    {"regularizer": "linear", "beta": 0.5, "linear_every": 2},
    {"method": "at", "ema": 0.9, "awp": 0.01, "regularizer": "logits", "beta": 0.3, **ATTACK},
]


@pytest.mark.long
@pytest.mark.parametrize("options", HELPERS, ids=lambda options: "+".join(options))
def test_a_run_that_is_saved_and_gone_on_from_gives_the_same_weights(options: dict) -> None:
    images, labels = data()
    recipe = dataclasses.replace(RECIPE, **options)
    torch.manual_seed(0)
    whole = Trainer(small_network(), images, labels, recipe, SUPERCLASSES)
    torch.manual_seed(5)
    for _ in range(3):
        whole.epoch()
    torch.manual_seed(5)
    first = Trainer(small_network(), images, labels, recipe, SUPERCLASSES)
    torch.manual_seed(5)
    first.epoch()
    state = copy.deepcopy(first.state())
    torch.manual_seed(77)
    second = Trainer(small_network(), images, labels, recipe, SUPERCLASSES)
    second.restore(state)
    second.epoch()
    second.epoch()
    expected, found = whole.averaged_model.state_dict(), second.averaged_model.state_dict()
    assert all(torch.equal(expected[key], found[key]) for key in expected)


def test_pixels_of_one_byte_are_the_same_images() -> None:
    images, labels = data()
    bytes_ = (images * 255).round().to(torch.uint8)
    states = []
    for given in (bytes_, bytes_.float() / 255):
        network = small_network()
        torch.manual_seed(0)
        train(network, given, labels, RECIPE, SUPERCLASSES)
        states.append(network.state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_the_average_of_weights_is_what_the_formula_says() -> None:
    """After each step ``a <- d a + (1 - d) w``, buffers of whole numbers copied; the first is a copy."""
    images, labels = data(64)
    recipe = dataclasses.replace(RECIPE, ema=0.5, batch_size=32, epochs=1)
    torch.manual_seed(0)
    trainer, seen = Trainer(small_network(), images, labels, recipe, SUPERCLASSES), []
    trainer.epoch(lambda *_: seen.append(trainer.model[0].weight.detach().clone()))
    assert trainer.recipe.ema == 0.5
    first, second = seen
    torch.testing.assert_close(trainer.averaged_model[0].weight, 0.5 * first + 0.5 * second)


def test_weights_are_perturbed_as_written_out() -> None:
    """The gradient at ``w + size ||w|| g / ||g||``, by a copy of the network that is moved by hand."""
    images, labels = data(32)
    network = small_network()
    twin = copy.deepcopy(network)
    F.cross_entropy(twin(images), labels).backward()
    with torch.no_grad():
        for weight in twin.parameters():
            if weight.ndim > 1:
                weight += 0.1 * weight.norm() * weight.grad / weight.grad.norm()
            weight.grad = None
    expected = F.cross_entropy(twin(images), labels)
    expected.backward()
    before = copy.deepcopy(network.state_dict())
    value = perturbed_backward(network, lambda: F.cross_entropy(network(images), labels), 0.1)
    torch.testing.assert_close(value, expected.detach())
    for ours, theirs in zip(network.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)
    for name, weight in network.named_parameters():
        torch.testing.assert_close(weight.detach(), before[name])


BAD = [
    ({"beta": -0.1}, "beta"),
    ({"eps": 1.5}, "eps"),
    ({"eps": float("nan")}, "eps"),
    ({"epochs": 0}, "epochs"),
    ({"max_lr": 0.0}, "learning rate"),
    ({"ema": 1.0}, "ema"),
    ({"label_smoothing": 1.0}, "label_smoothing"),
    ({"method": "at"}, "eps, steps"),
]


@pytest.mark.parametrize(("options", "named"), BAD, ids=[str(options) for options, _ in BAD])
def test_recipes_that_make_no_sense(options: dict, named: str) -> None:
    images, labels = data(64)
    with pytest.raises(InputError, match=named):
        Trainer(small_network(), images, labels, dataclasses.replace(RECIPE, **options), SUPERCLASSES)


def test_fewer_images_than_a_batch() -> None:
    images, labels = data(16)
    with pytest.raises(InputError, match="one batch of 32"):
        Trainer(small_network(), images, labels, RECIPE, SUPERCLASSES)
