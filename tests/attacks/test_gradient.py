"""The gradient attacks against foolbox, and their projections by property."""

import foolbox
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from auditor.attacks.gradient import cross_entropy, frozen, margin, pgd
from auditor.attacks.norms import L2, LINF, NORMS, Norm


def _network() -> nn.Module:
    torch.manual_seed(0)
    features = (nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2), nn.ReLU())
    return nn.Sequential(*features, nn.Flatten(), nn.Linear(128, 6)).eval()


def _images(n: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(n, 1, 10, 10, generator=generator), torch.arange(n) % 6


@pytest.mark.parametrize(
    ("attack", "norm", "steps", "step"),
    [
        (foolbox.attacks.LinfFastGradientAttack(), "Linf", 1, 1.0),
        (foolbox.attacks.LinfPGD(steps=20, rel_stepsize=0.25, random_start=False), "Linf", 20, 0.25),
        (foolbox.attacks.LinfPGD(steps=7, rel_stepsize=0.1, random_start=False), "Linf", 7, 0.1),
        (foolbox.attacks.L2FastGradientAttack(), "L2", 1, 1.0),
        (foolbox.attacks.L2PGD(steps=20, rel_stepsize=0.25, random_start=False), "L2", 20, 0.25),
    ],
    ids=["fgsm", "pgd-20", "pgd-7", "l2-fgsm", "l2-pgd-20"],
)
def test_the_same_perturbation_as_foolbox(attack: object, norm: str, steps: int, step: float) -> None:
    network, (images, labels) = _network(), _images()
    eps = 0.1 if norm == "Linf" else 0.7
    theirs, _, _ = attack(foolbox.PyTorchModel(network, bounds=(0, 1), device="cpu"), images, labels, epsilons=eps)
    ours = pgd(network, images, cross_entropy(labels), norm=NORMS[norm], eps=eps, steps=steps, step_size=step * eps)
    torch.testing.assert_close(ours, theirs, atol=2e-6, rtol=0)
    assert (ours != images).any()


def test_margin_is_positive_exactly_where_the_sample_is_misclassified() -> None:
    logits, labels = torch.tensor([[1.0, 3, 2], [1, 3, 2], [5, 0, -1]]), torch.tensor([1, 2, 0])
    assert margin(labels)(logits).tolist() == [-1, 1, -5]


def test_with_labels_a_broken_sample_stays_where_it_broke() -> None:
    network, (images, labels) = _network(), _images(64)
    settings = {"norm": LINF, "eps": 0.05, "steps": 20, "step_size": 0.0125}
    with frozen(network):
        plain = pgd(network, images, cross_entropy(labels), **settings)
        stopped = pgd(network, images, cross_entropy(labels), labels=labels, **settings)
        clean = network(images).argmax(1) == labels
        assert torch.equal(stopped[~clean], images[~clean])
        broken_plain = network(plain).argmax(1) != labels
        broken = network(stopped).argmax(1) != labels
    assert (broken | ~broken_plain).all()


def test_frozen_puts_everything_back_also_after_an_error() -> None:
    network = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout()).train()
    network[1].eval()
    network[0].bias.requires_grad_(False)
    seen = []

    def look() -> None:
        with frozen(network):
            seen.extend([module.training for module in network.modules()])
            seen.extend([parameter.requires_grad for parameter in network.parameters()])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        look()
    assert seen
    assert not any(seen)
    assert [network.training, network[0].training, network[1].training] == [True, True, False]
    assert [network[0].weight.requires_grad, network[0].bias.requires_grad] == [True, False]


@given(st.integers(0, 10**6), st.sampled_from([LINF, L2]), st.floats(1e-3, 1))
def test_projection_keeps_the_budget_and_leaves_what_is_inside(seed: int, norm: Norm, eps: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(3, 2, 4, 4, generator=generator)
    far = images + torch.randn(images.shape, generator=generator)
    projected = norm.project(far, images, eps)
    assert norm.within_budget(projected, images, eps).all()
    torch.testing.assert_close(norm.project(projected, images, eps), projected, atol=1e-6, rtol=0)


@given(st.integers(0, 10**6), st.sampled_from([LINF, L2]))
def test_a_random_start_depends_on_the_sample_not_on_its_batch(seed: int, norm: Norm) -> None:
    images = torch.zeros(6, 1, 3, 3, dtype=torch.float64)
    settings = {"eps": 0.3, "seed": seed, "name": "pgd-20"}
    numbers = torch.tensor([4, 8, 15, 16, 23, 42])
    together = norm.random_start(numbers, images, **settings)
    alone = torch.cat([norm.random_start(numbers[i : i + 1], images[:1], **settings) for i in range(6)])
    assert torch.equal(together, alone)
    assert (norm.size(together) <= 0.3 + 1e-12).all()
    assert len(torch.unique(together)) == together.numel()
    assert not torch.equal(together, norm.random_start(numbers, images, **(settings | {"name": "cw-20"})))


@given(st.integers(0, 10**6), st.sampled_from([LINF, L2]))
def test_the_dual_norm_is_the_slope_along_the_steepest_unit_step(seed: int, norm: Norm) -> None:
    generator = torch.Generator().manual_seed(seed)
    gradient, other = torch.randn(2, 5, 2, 4, 4, generator=generator, dtype=torch.float64)
    steepest, slope = norm.normalize(gradient), norm.dual(gradient)
    torch.testing.assert_close(norm.size(steepest).flatten(), torch.ones(5, dtype=torch.float64))
    torch.testing.assert_close((gradient * steepest).flatten(1).sum(1), slope)
    assert ((gradient * other / norm.size(other)).flatten(1).sum(1) <= slope).all()


@pytest.mark.parametrize(
    ("change", "kept"),
    [(0.1, True), (0.1001, False), (-0.6, False), (float("nan"), False), (0.0, True)],
)
def test_budget(change: float, kept: bool) -> None:
    images = torch.full((1, 1, 2, 2), 0.5)
    adversarials = images.clone()
    adversarials[0, 0, 1, 1] += change
    assert LINF.within_budget(adversarials, images, 0.1).item() is kept
    assert L2.within_budget(adversarials, images, 0.1).item() is kept


EPS = 0.02


def _plain(network: nn.Module, images: torch.Tensor, labels: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    """Twenty steps of eps/4 in Linf for all; of each sample the first point that is misclassified, or the last."""
    low, high = (images - EPS).clamp_min(0), (images + EPS).clamp_max(1)
    seen = [(images + start).clamp(low, high)]
    for _ in range(20):
        point = seen[-1].clone().requires_grad_()
        nn.functional.cross_entropy(network(point), labels, reduction="sum").backward()
        seen.append((point + EPS / 4 * point.grad.sign()).detach().clamp(low, high))
    broken = torch.stack([network(points).argmax(1) != labels for points in seen])
    first = torch.where(broken.any(0), broken.int().argmax(0), 20)
    return torch.stack(seen)[first, torch.arange(len(images))]


@pytest.mark.parametrize("together", [False, True])
def test_a_broken_sample_stays_where_it_was_first_misclassified(together: bool) -> None:
    network, (images, _) = _network(), _images(60)
    with torch.no_grad():
        network[-1].bias -= network(images).mean(0)
        labels = network(images).argmax(1)
    start = EPS * (2 * torch.rand(images.shape, generator=torch.Generator().manual_seed(2)) - 1)
    expected = _plain(network, images, labels, start)
    network.requires_grad_(False)
    found = pgd(
        network, images, cross_entropy(labels), norm=LINF, eps=EPS, steps=20, step_size=EPS / 4, start=start,
        labels=labels, together=together,
    )  # fmt: skip
    broken = (network(found).argmax(1) != labels).sum()
    assert 10 < broken < 60
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_no_pass_is_made_of_what_is_broken() -> None:
    network, (images, _) = _network().requires_grad_(False), _images()
    seen = []
    network.register_forward_pre_hook(lambda _module, given: seen.append(len(given[0])))
    wrong = (network(images).argmax(1) + 1) % 6
    seen.clear()
    found = pgd(network, images, cross_entropy(wrong), norm=LINF, eps=0.1, steps=20, step_size=0.025, labels=wrong)
    assert seen == [16]
    assert torch.equal(found, images)
