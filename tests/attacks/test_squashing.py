"""Squashed outputs: attacked before they are squashed, or flagged; never more robust than the same network without."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from auditor.attacks import Protocol, evaluate_robustness, squashing
from auditor.attacks.classifier import Classifier
from auditor.attacks.flags import saturates
from auditor.attacks.gradient import frozen
from auditor.attacks.norms import L2
from auditor.attacks.protocols import PROTOCOLS
from auditor.attacks.result import RobustnessResult
from auditor.attacks.squashing import Unsquashed, find_logits, nonlinearity, orders_alike
from auditor.data import load_images
from auditor.zoo.demo import DemoZoo
from tests.factories.attacked_models import Linear

IMAGES = 64
FGSM = PROTOCOLS["quick"].attacks[:1]


class Headed(nn.Module):
    """A network and what is done to its logits."""

    def __init__(self, network: nn.Module, head: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.network, self.head = network, head

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.network(x))


def _demo(name: str) -> nn.Module:
    zoo = DemoZoo()
    return zoo.load(next(entry for entry in zoo.entries() if entry.model == f"demo:{name}")).model


@pytest.fixture(scope="module")
def noise() -> nn.Module:
    return _demo("noise")


@pytest.fixture(scope="module")
def data() -> tuple[Tensor, Tensor]:
    found = load_images("fashion_mnist", IMAGES, None)
    return torch.from_numpy(found.images), torch.from_numpy(found.labels)


def _quick(model: nn.Module, data: tuple[Tensor, Tensor], norm: str = "Linf") -> RobustnessResult:
    return evaluate_robustness(model, *data, norm=norm, eps=0.05 if norm == "Linf" else 0.6, protocol="quick")


@pytest.fixture(scope="module")
def plain(noise: nn.Module, data: tuple[Tensor, Tensor]) -> dict[str, RobustnessResult]:
    return {norm: _quick(noise, data, norm) for norm in ("Linf", "L2")}


def _in_place(z: Tensor) -> Tensor:
    return z.sigmoid_()


def _by_hand(z: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-z))


SQUASHINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "sigmoid in place": _in_place,
    "sigmoid by hand": _by_hand,
    "3 sigmoid(5 z)": lambda z: 3 * torch.sigmoid(5 * z),
    "sigmoid at temperature 100": lambda z: torch.sigmoid(z / 100),
    "tanh": torch.tanh,
    "hardtanh": F.hardtanh,
    "clamp": lambda z: z.clamp(-10, 10),
    "softsign": F.softsign,
    "softsign by hand": lambda z: z / (1 + z.abs()),
    "arctan": torch.atan,
    "erf": torch.erf,
    "log of clamped softmax": lambda z: z.softmax(1).clamp(1e-3, 1 - 1e-3).log(),
    "half of softmax": lambda z: 0.5 * z.softmax(1),
    "softmax": lambda z: z.softmax(1),
    "rounded": torch.round,
    "rounded to tenths": lambda z: (10 * z).round() / 10,
    "unit length": lambda z: F.normalize(z, dim=1),
    "from 0 to 1": lambda z: (z - z.amin(1, keepdim=True)) / (z.amax(1, keepdim=True) - z.amin(1, keepdim=True)),
    "one hot": lambda z: F.one_hot(z.argmax(1), z.shape[1]).float() + 0 * z,
    "exp": torch.exp,
    "cube": lambda z: z**3,
    "softplus": F.softplus,
    "square root": lambda z: z.sign() * z.abs().sqrt(),
}
FACTORS = [1e-30, 1e-6, 1e-3, 0.1, 0.25, 4, 64, 1e4, 1e6]


@pytest.mark.long
@pytest.mark.parametrize("name", SQUASHINGS)
def test_a_squashed_twin_is_as_robust_or_flagged(
    name: str, noise: nn.Module, data: tuple[Tensor, Tensor], plain: dict[str, RobustnessResult]
) -> None:
    found = _quick(Headed(noise, SQUASHINGS[name]), data)
    near = abs(found.robust_accuracy - plain["Linf"].robust_accuracy) <= 0.02
    assert near or {"squashed_output", "softmax_output", "zero_gradients"} & set(found.flags)
    if found.clean_accuracy == plain["Linf"].clean_accuracy:  # else ties of saturated outputs decide
        assert found.robust_accuracy <= plain["Linf"].robust_accuracy + 0.02
    if name != "clamp":  # which changes no logit of these images
        assert {"squashed_output", "softmax_output"} & set(found.flags)


@pytest.mark.long
@pytest.mark.parametrize("norm", ["Linf", "L2"])
@pytest.mark.parametrize("factor", FACTORS)
def test_a_factor_makes_nothing_more_robust(
    factor: float, norm: str, noise: nn.Module, data: tuple[Tensor, Tensor], plain: dict[str, RobustnessResult]
) -> None:
    found = _quick(Headed(noise, lambda z: z * factor), data, norm)
    assert abs(found.robust_accuracy - plain[norm].robust_accuracy) <= 0.02
    assert "squashed_output" not in found.flags


def test_weights_that_are_small_leave_no_logits_before_and_are_attacked_times_a_factor(
    noise: nn.Module, data: tuple[Tensor, Tensor], plain: dict[str, RobustnessResult]
) -> None:
    small = copy.deepcopy(noise)
    with torch.no_grad():
        small.head.weight.mul_(1e-4)
        small.head.bias.mul_(1e-4)
    found = _quick(small, data)
    assert found.robust_accuracy <= plain["Linf"].robust_accuracy + 0.05
    assert any("attacks run on the outputs times" in note for note in found.notes)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("head", [nn.Sigmoid, nn.Tanh, nn.Hardsigmoid])
def test_what_a_script_hides_is_flagged(
    head: Callable[[], nn.Module], noise: nn.Module, data: tuple[Tensor, Tensor]
) -> None:
    scripted = torch.jit.script(nn.Sequential(copy.deepcopy(noise), head()).eval())
    assert "squashed_output" in _quick(scripted, data).flags


class Ensemble(nn.Module):
    """Two networks, and how their logits become outputs."""

    def __init__(self, network: nn.Module, join: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.network, self.join = network, join

    def forward(self, x: Tensor) -> Tensor:
        return self.join(self.network(x), 1.5 * self.network(x.flip(3)))


def _flags(join: Callable[[Tensor, Tensor], Tensor]) -> list[str]:
    """The flags of an ensemble of linear networks whose logits spread as a trained network's do."""
    images = torch.rand(64, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    model = Ensemble(Headed(Linear(10), lambda z: 2 * z), join)
    with torch.no_grad():
        labels = model(images).argmax(1)
    return evaluate_robustness(
        model, images, labels, norm="Linf", eps=0.01, protocol=Protocol("fgsm", 10, FGSM, "")
    ).flags  # fmt: skip


SHARES = torch.linspace(0.8, 1.2, 10)
HIDDEN: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "sum of probabilities": lambda a, b: 5 * (a.softmax(1) + b.softmax(1)),
    "weighted and shifted": lambda a, b: 3 * a.softmax(1) + b.softmax(1) + 2,
    "product of probabilities": lambda a, b: a.softmax(1) * b.softmax(1),
    "largest probability": lambda a, b: 10 * torch.maximum(a.softmax(1), b.softmax(1)),
    "mean of sigmoids": lambda a, b: ((5 * a).sigmoid() + (5 * b).sigmoid()) / 2,
    "factors by class": lambda a, _: 10 * torch.sigmoid(5 * a) * SHARES,
    "biases by class": lambda a, _: torch.tanh(a) + SHARES,
    "linear layer": lambda a, _: F.linear(torch.sigmoid(5 * a), torch.eye(10) + 0.05),
    "over prior": lambda a, _: 7 * a.softmax(1) / SHARES,
    "more classes": lambda a, _: torch.cat([10 * torch.sigmoid(5 * a), -torch.ones(len(a), 2)], 1),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_squashed_parts_of_outputs_are_flagged(name: str) -> None:
    assert "squashed_output" in _flags(HIDDEN[name])


HONEST: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mean of logits": lambda a, b: (a + b) / 2,
    "logarithm of the mean of probabilities": lambda a, b: ((a.softmax(1) + b.softmax(1)) / 2).log(),
    "mean of log-softmax": lambda a, b: (a.log_softmax(1) + b.log_softmax(1)) / 2,
    "log-sum-exp": torch.logaddexp,
    "two classes that are never predicted": lambda a, _: torch.cat([a, -30 + a[:, :2]], 1),
    "factors by class": lambda a, _: a * SHARES,
    "temperature": lambda a, _: a / 100,
}


@pytest.mark.parametrize("name", HONEST)
def test_joined_logits_are_not_flagged(name: str) -> None:
    assert _flags(HONEST[name]) == []


@pytest.mark.long
@pytest.mark.parametrize(
    "last", [lambda z: z, lambda z: z + 1, lambda z: z.log_softmax(1), lambda z: z - z.mean(1)[:, None]]
)
def test_an_honest_model_has_no_flag_and_its_own_numbers(
    last: Callable[[Tensor], Tensor], noise: nn.Module, data: tuple[Tensor, Tensor], plain: dict[str, RobustnessResult]
) -> None:
    found = _quick(Headed(noise, last), data)
    assert (found.flags, found.notes) == ([], [])
    assert torch.equal(found.survived, plain["Linf"].survived)


def test_verdicts_are_about_the_outputs(noise: nn.Module, data: tuple[Tensor, Tensor]) -> None:
    """Ties of clamped outputs go to the first class; the largest logit is the model's decision all the same."""
    model = Headed(noise, F.hardtanh).eval()
    with frozen(model), torch.no_grad():
        logits = find_logits(model, data[0], 10)
        assert logits is not None
        inside = Unsquashed(model, logits)(data[0])
        assert torch.equal(inside.argmax(1), model(data[0]).argmax(1))
        assert (inside.argmax(1) != noise(data[0]).argmax(1)).any()  # or nothing is shown


def test_what_orders_alike_and_what_bends() -> None:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(20, 5, generator=generator, dtype=torch.float64)
    shift = torch.randn(20, 1, generator=generator, dtype=torch.float64)
    assert orders_alike(z, z.tanh())
    assert orders_alike(z, z.round())
    assert not orders_alike(z, -z)
    assert not orders_alike(z, z.roll(1, 1))
    assert not orders_alike(z, torch.zeros_like(z))  # tells nothing
    assert not orders_alike(z * torch.nan, z)
    assert nonlinearity(z, 1e-9 * z + shift) < 1e-6
    assert nonlinearity(z, (3 * z).sigmoid()) > 0.05


@pytest.mark.parametrize("scale", [1.0, 1e-20, 1e-30, 1e-37])
def test_the_l2_direction_of_tiny_gradients_has_unit_length(scale: float) -> None:
    gradient = torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    expected = gradient / gradient.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    torch.testing.assert_close(L2.normalize(scale * gradient), expected, atol=1e-3, rtol=1e-3)
    assert not L2.normalize(torch.zeros(3, 1, 4, 4)).any()


def test_a_pass_that_goes_another_way_gives_the_outputs() -> None:
    class Forked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(16, 5)

        def forward(self, x: Tensor) -> Tensor:
            z = self.layer(x.flatten(1))
            return z.sigmoid() if len(x) > 4 else x.flatten(1)[:, :5].exp()

    model = Classifier(Forked().eval().requires_grad_(False))
    images = torch.rand(32, 1, 4, 4)
    logits = find_logits(model, images, 5)
    assert logits is not None
    few = images[:3].clone().requires_grad_()
    torch.testing.assert_close(Unsquashed(model, logits)(few).argmax(1), model(images[:3]).argmax(1))


def test_a_plain_network_is_attacked_itself_whatever_its_spread_on_further_images() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 5)).eval()
    images = torch.rand(160, 1, 6, 6)
    images[:64] *= 0.2  # the probed images have another spread than the others
    outputs = model(images).detach() * 20
    scaled = nn.Sequential(model, nn.Identity())
    scaled[0][1].weight.data *= 20
    scaled[0][1].bias.data *= 20
    found = squashing.find_logits(scaled, images[:64], 5)
    assert squashing.choose_target(scaled, found, outputs, without_gradients=False) is scaled


@pytest.mark.long
@pytest.mark.parametrize("count", [2, 64])
@pytest.mark.parametrize("batch_size", [1, 3, 64])
@pytest.mark.parametrize(
    ("last", "flags"),
    [(lambda z: z, []), (torch.sigmoid, ["squashed_output"]), (lambda z: z / 1e4, [])],
    ids=["logits", "sigmoid", "temperature"],
)
def test_the_flag_depends_on_neither_the_batch_size_nor_the_number_of_images(
    last: Callable[[Tensor], Tensor], flags: list[str], batch_size: int, count: int
) -> None:
    images = torch.rand(count, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    model = Headed(Linear(4), last)
    with torch.no_grad():
        labels = model(images).argmax(1)
    found = evaluate_robustness(
        model, images, labels, norm="Linf", eps=0.01, protocol="quick", batch_size=batch_size
    )  # fmt: skip
    assert found.flags == flags
    assert all("attacks run on the logits before that, the result of add" in note for note in found.notes)


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("count", [1, 2, 64])
def test_hidden_logits_that_nothing_squashes_are_not_flagged(count: int) -> None:
    images = torch.rand(count, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    model = torch.jit.script(Linear(4))
    with torch.no_grad():
        labels = model(images).argmax(1)
    found = evaluate_robustness(model, images, labels, norm="Linf", eps=0.01, protocol="quick")
    assert "squashed_output" not in found.flags


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_a_model_that_looks_at_its_neighbours_is_flagged_at_any_batch_size(batch_size: int) -> None:
    images = torch.rand(64, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    model = Headed(Linear(4), lambda z: z - 2 * z.mean(0))
    with torch.no_grad():
        labels = model(images).argmax(1)
    found = evaluate_robustness(
        model, images, labels, norm="Linf", eps=0.01, protocol="quick", batch_size=batch_size
    )  # fmt: skip
    assert "batch_dependent" in found.flags


class Brighter(nn.Module):
    """Logits of four classes that are the first four pixels, times a factor that grows with the last pixel."""

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        return 10 * flat[:, :4] * (1 + flat[:, -1:])


@pytest.mark.parametrize("count", [1, 4, 64])
def test_what_an_operation_does_to_other_images_is_no_flag(count: int) -> None:
    """Few images, and images with ties, are filled up with noise, on which the last pixel is not always the same."""
    images, labels = torch.full((count, 1, 6, 6), 0.3), torch.arange(count) % 4
    images.flatten(1)[torch.arange(count), labels] = 0.8
    found = evaluate_robustness(Brighter(), images, labels, norm="Linf", eps=0.01, protocol="quick")
    assert found.flags == []


@pytest.mark.parametrize("shape", [(1, 2), (1, 10), (2, 10), (4, 10), (1, 100)])
def test_a_few_outputs_are_no_evidence_of_bounds(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    assert not any(saturates(torch.randn(shape, generator=generator)) for _ in range(500))


@pytest.mark.parametrize("head", [torch.sigmoid, torch.tanh, F.hardtanh, lambda z: 5 * F.hardtanh(z)])
def test_many_outputs_at_their_bounds_are(head: Callable[[Tensor], Tensor]) -> None:
    generator = torch.Generator().manual_seed(0)
    assert all(saturates(head(3 * torch.randn(20, 10, generator=generator))) for _ in range(100))
