"""Own attacks and transferred adversarials: what they may do, what is checked, and what is undone."""

import random
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from auditor.attacks import Protocol, evaluate_robustness
from auditor.attacks.result import RobustnessResult
from auditor.errors import InputError
from tests.factories.attacked_models import Linear, distances

EPS = 0.05
NOTHING = Protocol("nothing", 10, (), "no attack of auditor's")


class WithState(nn.Module):
    """A linear model with a batch norm and a dropout that only eval mode keeps still."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm, self.dropout = Linear(4), nn.BatchNorm1d(4), nn.Dropout(0.5)
        self.levels, self.factors = 1.0, [1.0]

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.norm(self.linear(x))) * self.levels * self.factors[0]


@pytest.fixture
def model() -> nn.Module:
    return WithState().eval()


@pytest.fixture
def samples(model: nn.Module) -> tuple[Tensor, Tensor]:
    images = torch.rand(40, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    return images, model(images).argmax(1)


def evaluate(model: nn.Module, samples: tuple[Tensor, Tensor], *, norm: str = "Linf", **given: Any) -> RobustnessResult:
    return evaluate_robustness(model, *samples, norm=norm, eps=EPS, **{"protocol": "quick", **given})


def shift(model: nn.Module, images: Tensor, labels: Tensor, *, eps: float, **_: object) -> Tensor:
    """The steepest step, which is the best attack on a linear model but for the limits of pixels."""
    images = images.requires_grad_()
    logits = model(images)
    true = logits.gather(1, labels[:, None])[:, 0]
    other = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
    (gradient,) = torch.autograd.grad((other - true).sum(), images)
    return (images + eps * gradient.sign()).clamp(0, 1)


def test_it_runs_last_on_what_survives_and_gets_what_it_was_promised() -> None:
    model, seen = Linear(4), []
    images = 0.3 + 0.4 * torch.rand(60, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    labels = model(images).argmax(1)

    def attack(network: nn.Module, x: Tensor, y: Tensor, *, numbers: Tensor, **settings: object) -> Tensor:
        assert not network.training
        assert torch.is_grad_enabled()
        assert torch.equal(network(x), model(x))
        seen.append((numbers, settings, labels[numbers].equal(y), images[numbers].equal(x)))
        return shift(network, x, y, **settings)  # type: ignore[arg-type]

    fgsm = evaluate_robustness(model, images, labels, norm="Linf", eps=0.01, protocol="quick")
    found = evaluate_robustness(model, images, labels, norm="Linf", eps=0.01, protocol="quick", attacks={"a": attack})
    assert [score.attack for score in found.attacks] == ["fgsm", "pgd-20", "a"]
    assert found.attacks[-1].n == int(fgsm.survived.sum())
    numbers, settings, right_labels, right_images = seen[0]
    assert torch.equal(numbers, fgsm.survived.nonzero().flatten())
    assert settings == {"norm": "Linf", "eps": 0.01, "seed": 0}
    assert right_labels
    assert right_images
    # A closed form: a linear model's sample survives if its distance to the boundary is larger than the radius.
    alone = evaluate_robustness(model, images, labels, norm="Linf", eps=EPS, protocol=NOTHING, attacks={"shift": shift})
    assert torch.equal(alone.survived, distances(model, images, labels, "Linf") > EPS)
    assert set(alone.broken_at[~alone.survived].tolist()) == {0}


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda x: x[:, :, :5], r"expected candidates \(\d+, 1, 6, 6\) torch.float32 .*, got \(\d+, 1, 5, 6\)"),
        (lambda x: x[:1], r"expected candidates .*, got \(1, 1, 6, 6\)"),
        (lambda x: x.double(), "expected candidates .*, got .* torch.float64"),
        (lambda x: x.numpy(), "expected candidates .*, got ndarray"),
        (lambda x: x.to_sparse(), "expected candidates .*, got a torch.sparse_coo tensor"),
        (lambda _: sys.exit(3), r"mine raised SystemExit: 3 \(at attacks/test_own.py:\d+\)"),
        (lambda _: None, "expected candidates .*, got NoneType"),
        (lambda x: x * torch.nan, r"expected finite pixels, got NaN or infinite ones in \d+ of \d+ candidates"),
        (lambda x: x / 0, "expected finite pixels, got NaN or infinite"),
        (lambda x: x.reshape(11, -1), r"mine raised RuntimeError: shape .* \(at attacks/test_own.py:\d+\)"),
    ],
)  # fmt: skip
def test_what_is_no_image_is_one_clear_line(
    model: nn.Module, samples: tuple[Tensor, Tensor], fault: Callable[[Tensor], Any], message: str
) -> None:
    def mine(_model: nn.Module, images: Tensor, _labels: Tensor, **_: object) -> Tensor:
        return fault(images.detach())

    with pytest.raises(InputError, match=message) as raised:
        evaluate(model, samples, attacks={"mine": mine})
    assert str(raised.value).startswith("mine")
    assert "\n" not in str(raised.value)


def test_global_settings_of_torch_are_restored(model: nn.Module, samples: tuple[Tensor, Tensor]) -> None:
    threads = torch.get_num_threads()

    def mine(_model: nn.Module, images: Tensor, _labels: Tensor, **_: object) -> Tensor:
        torch.use_deterministic_algorithms(True)
        torch.set_num_threads(threads + 1)
        return images

    evaluate(model, samples, attacks={"mine": mine})
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    "outside", [lambda x: x + 10 * EPS, lambda x: x - 2, lambda x: 1 - x], ids=["far", "dark", "mirrored"]
)
def test_images_out_of_the_budget_or_the_box_do_not_count(
    model: nn.Module, samples: tuple[Tensor, Tensor], outside: Callable[[Tensor], Tensor]
) -> None:
    plain = evaluate(model, samples)
    found = evaluate(model, samples, attacks={"far": lambda _m, images, _l, **_: outside(images)})
    assert torch.equal(found.survived, plain.survived)
    assert found.attacks[-1].broken == 0
    assert "out_of_budget" in found.flags
    assert any(note.startswith("far: ") and note.endswith("out of budget, not counted") for note in found.notes)


def state(model: nn.Module) -> list[Tensor]:
    return [one.detach().clone() for one in (*model.parameters(), *model.buffers())]


CHANGES: dict[str, Callable[[nn.Module], object]] = {
    "train mode, which moves batch statistics": lambda model: model.train()(torch.rand(9, 1, 6, 6)),
    "no gradients": lambda _: torch.set_grad_enabled(False),
    "another default dtype": lambda _: torch.set_default_dtype(torch.float64),
    "gradients of weights": lambda model: model.requires_grad_()(torch.rand(2, 1, 6, 6)).sum().backward(),
    "seeds": lambda _: (torch.manual_seed(5), np.random.seed(5), random.seed(5)),
    "a setting of the model": lambda model: setattr(model.model, "levels", 0.0),
    "a new attribute": lambda model: setattr(model.model, "more", 0.0),
    "buffers": lambda model: [buffer.zero_() for buffer in model.buffers()],
}  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_what_an_attack_leaves_behind_is_undone(
    model: nn.Module, samples: tuple[Tensor, Tensor], change: Callable[[nn.Module], object]
) -> None:
    def untidy(network: nn.Module, images: Tensor, _labels: Tensor, **_: object) -> Tensor:
        images.fill_(0.5)  # its own copy
        change(network)
        return images.to(torch.float32)

    before, draws = state(model), []
    plain = evaluate(model, samples, attacks={"last": shift})
    for attacks in ({"last": shift}, {"untidy": untidy, "last": shift}):
        torch.manual_seed(3)
        found = evaluate(model, samples, batch_size=16, attacks=attacks)
        assert torch.equal(found.survived, plain.survived)
        draws.append((torch.rand(1).item(), np.random.get_state()[1].tolist(), random.getstate()))
    assert draws[0] == draws[1]
    assert torch.is_grad_enabled()
    assert torch.get_default_dtype() == torch.float32
    assert not model.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert all(map(torch.equal, before, state(model)))


def _step(model: nn.Module) -> None:
    with torch.no_grad():
        next(model.parameters()).add_(1)


ERRORS: dict[str, tuple[Callable[[nn.Module], object], str]] = {
    "a list": (lambda m: m.model.factors.__setitem__(0, -1.0), "what the model answers to clean images"),
    "a weight": (_step, "the weights 'linear.weight'"),
    "a weight's data": (lambda m: setattr(next(m.parameters()), "data", torch.zeros(2)), "the weights"),
    "another parameter": (lambda m: setattr(m.model.linear, "bias", nn.Parameter(torch.ones(4))), "the parameters"),
    "a module": (lambda m: setattr(m.model, "dropout", nn.Identity()), "the modules, methods or hooks"),
    "a method": (lambda m: setattr(m.model.linear, "forward", lambda x: x.flatten(1)), "the modules, methods or hooks"),
    "a hook": (lambda m: m.model.linear.register_forward_hook(lambda *_: None), "the modules, methods or hooks"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "named"), ERRORS.values(), ids=ERRORS.keys())
def test_a_changed_model_is_an_error(
    model: nn.Module, samples: tuple[Tensor, Tensor], change: Callable[[nn.Module], object], named: str
) -> None:
    def thief(network: nn.Module, images: Tensor, _labels: Tensor, **_: object) -> Tensor:
        change(network)
        return images

    before = state(model)
    with pytest.raises(InputError, match=f"thief changed {named}.*: work on a copy"):
        evaluate(model, samples, attacks={"thief": thief})
    assert all(map(torch.equal, before, state(model)))


def test_a_failed_attack_changes_no_weights_either(model: nn.Module, samples: tuple[Tensor, Tensor]) -> None:
    def fails(network: nn.Module, *_: Tensor, **__: object) -> Tensor:
        _step(network)
        raise ValueError("enough")

    before = state(model)
    with pytest.raises(InputError, match="fails raised ValueError: enough"):
        evaluate(model, samples, attacks={"fails": fails})
    assert all(map(torch.equal, before, state(model)))


def random_signs(
    _m: nn.Module, images: Tensor, _l: Tensor, *, eps: float, seed: int, numbers: Tensor, **_: Any
) -> Tensor:
    signs = [
        torch.randn(images.shape[1:], generator=torch.Generator().manual_seed(seed + int(number))).sign()
        for number in numbers
    ]
    return (images + eps * torch.stack(signs)).clamp(0, 1)


def test_an_attack_that_draws_by_number_is_independent_of_the_batch(
    model: nn.Module, samples: tuple[Tensor, Tensor]
) -> None:
    given = {"protocol": NOTHING, "attacks": {"signs": random_signs}}
    found = [evaluate(model, samples, batch_size=size, **given).survived for size in (1, 7, 64)]
    assert 0 < int(found[0].sum()) < 40
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_global_draws_are_those_of_the_seed(model: nn.Module, samples: tuple[Tensor, Tensor]) -> None:
    draws: list[tuple[float, float, float]] = []

    def attack(_m: nn.Module, images: Tensor, _l: Tensor, **_: object) -> Tensor:
        draws.append((torch.rand(1).item(), float(np.random.rand()), random.random()))
        return images

    for seed in (1, 1, 2):
        evaluate(model, samples, seed=seed, attacks={"a": attack})
    assert draws[0] == draws[1]
    assert draws[0] != draws[2]


@pytest.mark.parametrize("attacks", [{"fgsm": shift}, {"pgd-20 from twin": shift}])
def test_two_attacks_of_one_name(model: nn.Module, samples: tuple[Tensor, Tensor], attacks: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"got two named .*: rename yours"):
        evaluate(model, samples, attacks=attacks, transfer_from={"twin": model})


@pytest.mark.parametrize(("attack", "got"), [(3, "int"), (nn.Module, "the class Module"), (None, "NoneType")])
def test_no_function(model: nn.Module, samples: tuple[Tensor, Tensor], attack: Any, got: str) -> None:
    with pytest.raises(InputError, match=f"expected the attack 'x' as a function, got {got}"):
        evaluate(model, samples, attacks={"x": attack})


@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_adversarials_of_a_twin_transfer_and_those_of_a_stranger_do_not(norm: str) -> None:
    """A model that passes no gradient falls to its twin that does."""
    twin, stranger = Linear(4), Linear(4, seed=7)
    images = 0.3 + 0.4 * torch.rand(60, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    samples = images, twin(images).argmax(1)
    found = [
        evaluate(lambda x: twin(x.detach()), samples, norm=norm, transfer_from={"other": other})
        for other in (twin, stranger)
    ]
    assert [score.attack for score in found[0].attacks][-2:] == ["pgd-20 from other", "pgd-50 from other"]
    survivors = distances(twin, *samples, norm) > EPS
    assert torch.equal(found[0].survived, survivors)
    assert int(found[1].survived.sum()) > int(survivors.sum())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda z: z * torch.nan, "transfer from other: expected finite logits, the model gives NaN or infinite ones"),
        (lambda z: z.detach(), "transfer from other: the model passes no gradient to its input"),
    ],
)
def test_a_model_that_gives_no_adversarials_is_told(
    change: Callable[[Tensor], Tensor], message: str, model: nn.Module, samples: tuple[Tensor, Tensor]
) -> None:
    other = Linear(4, seed=3)
    with pytest.raises(InputError, match=message):
        evaluate(model, samples, transfer_from={"other": lambda x: change(other(x))})


def test_another_number_of_classes_does_not_transfer(model: nn.Module, samples: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(InputError, match="transfer from five: expected 4 classes, as the audited model has, got 5"):
        evaluate(model, samples, transfer_from={"five": Linear(5)})


@pytest.mark.long
def test_randomized_models_keep_extra_attacks() -> None:
    class Noisy(Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + 1e-3 * torch.randn(len(x), 4)

    images = torch.rand(30, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    samples = images, Linear(4)(images).argmax(1)
    found = evaluate(Noisy(4), samples, attacks={"shift": shift})
    assert "randomized" in found.flags
    assert [score.attack for score in found.attacks] == ["fgsm", "pgd-20", "apgd-ce", "apgd-dlr", "shift"]


def test_the_other_model_is_as_before(model: nn.Module, samples: tuple[Tensor, Tensor]) -> None:
    other = WithState().train()
    before = state(other)
    evaluate(model, samples, transfer_from={"other": other})
    assert other.training
    assert all(parameter.requires_grad for parameter in other.parameters())
    assert all(map(torch.equal, before, state(other)))


class Memory:
    """Saved progress that ends the run after so many saves."""

    def __init__(self, saves: int) -> None:
        self.content, self.saves = b"", saves

    def load(self) -> bytes | None:
        return self.content or None

    def save(self, state: bytes) -> None:
        self.content, self.saves = state, self.saves - 1
        if self.saves == 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("saves", [1, 2, 3, 4, 5])
def test_an_interrupted_run_resumes_to_the_same_result(
    model: nn.Module, samples: tuple[Tensor, Tensor], saves: int
) -> None:
    given: dict[str, Any] = {
        "attacks": {"signs": random_signs, "shift": shift},
        "transfer_from": {"other": Linear(4, seed=3)},
    }
    whole = evaluate(model, samples, **given)
    memory = Memory(saves)
    with pytest.raises(KeyboardInterrupt):
        evaluate(model, samples, **given, saved=memory)
    again = evaluate(model, samples, **given, saved=memory)
    assert torch.equal(again.survived, whole.survived)
    assert torch.equal(again.broken_at, whole.broken_at)
    assert [(score.attack, score.n, score.broken) for score in again.attacks] == [
        (score.attack, score.n, score.broken) for score in whole.attacks
    ]


@pytest.mark.parametrize("protocol", ["standard", "strong"])
@pytest.mark.long
def test_every_protocol_takes_own_attacks(protocol: str) -> None:
    model = Linear(4)
    images = 0.3 + 0.4 * torch.rand(30, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    labels = model(images).argmax(1)
    found = evaluate(model, (images, labels), protocol=protocol, attacks={"shift": shift})
    assert found.attacks[-1].attack == "shift"
    assert torch.equal(found.survived, distances(model, images, labels, "Linf") > EPS)


def test_own_attacks_also_end_early() -> None:
    model = Linear(4)
    images = 0.3 + 0.4 * torch.rand(640, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    labels = model(images).argmax(1)
    found = evaluate(model, (images, labels), attacks={"shift": shift}, stop_at=0.99)
    assert len(found.positions) < 640
    kept = distances(model, images[found.positions], labels[found.positions], "Linf") > EPS
    assert torch.equal(found.survived, kept)
