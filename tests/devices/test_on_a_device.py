"""What touches a device, on the CPU or with ``--device cuda`` on a GPU: against closed forms, and against the CPU."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from auditor.attacks import PROTOCOLS, Protocol, evaluate_robustness
from auditor.attacks.protocols import in_mixed_precision
from auditor.audit.batch_size import fastest_batch_size
from auditor.audit.run import audit
from auditor.boost.fine_tuning import fine_tune
from auditor.certify import certify_bounds, certify_smoothing
from auditor.data import load_images
from auditor.linear import class_correlation, implicit_weight
from auditor.records import AuditRequest, JobContext
from auditor.records.boosts import Recipe
from auditor.screening import screen
from auditor.zoo.demo import DemoZoo
from auditor.zoo.demo.networks import SmallResNet
from tests.factories.attacked_models import Linear, distances

pytestmark = pytest.mark.long

GROUPS = ["a", "a", "b", "b", "c", "c", "c", "d", "d", "d"]
EPS = 0.05


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.config.getoption("--device"))


def demo(name: str) -> nn.Module:
    zoo = DemoZoo()
    entry = next(entry for entry in zoo.entries() if entry.model == f"demo:{name}")
    return zoo.load(entry).model.eval().requires_grad_(False)


def clear_images(model: Linear, norm: str, device: torch.device) -> tuple[Tensor, Tensor, Tensor, float]:
    """Images and labels on the device, distances to the boundary, and a radius that none of these is near."""
    images = 0.3 + 0.4 * torch.rand(32, 1, 6, 6, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        labels = model(images).argmax(1)
    reach = distances(model, images, labels, norm)
    eps = reach.median().item()
    clear = (reach - eps).abs() > 0.05 * eps
    return images[clear].to(device), labels[clear].to(device), reach[clear], eps


@pytest.mark.parametrize("norm", ["Linf", "L2"])
@pytest.mark.parametrize("name", ["gradient", "search", "mixed", "apgd-ce", "apgd-t", "fab-t"])
def test_attacks_find_the_closed_form_of_a_linear_classifier(name: str, norm: str, device: torch.device) -> None:
    model = Linear(5)
    images, labels, reach, eps = clear_images(model, norm, device)
    attacks = {
        "gradient": PROTOCOLS["quick"].attacks,
        "search": PROTOCOLS["strong"].attacks[2:3],
        "mixed": in_mixed_precision(PROTOCOLS["strong"]).attacks[2:3],
        **{attack.name: (attack,) for attack in PROTOCOLS["standard"].attacks[3:]},
    }
    protocol = Protocol(name, None, attacks[name], "")
    found = evaluate_robustness(model.to(device), images, labels, norm=norm, eps=eps, protocol=protocol)
    if name in ("gradient", "apgd-ce"):  # cross-entropy need not find the nearest class
        assert found.survived[reach > eps].all()
        assert (found.survived == (reach > eps)).double().mean() > 0.9
    else:
        assert torch.equal(found.survived, reach > eps)
    assert found.flags == []


def test_square_breaks_samples_of_a_linear_classifier_and_none_beyond_reach(device: torch.device) -> None:
    model = Linear(5)
    images, labels, reach, eps = clear_images(model, "Linf", device)
    square = replace(PROTOCOLS["strong"].attacks[4], parameters={"queries": 200, "restarts": 1, "draws": "sample"})
    protocol = Protocol("square", None, (square,), "")
    found = evaluate_robustness(model.to(device), images, labels, norm="Linf", eps=eps, protocol=protocol)
    assert found.survived[reach > eps].all()
    assert not found.survived.all()


@pytest.mark.parametrize("protocol", ["quick", "strong"])
def test_verdicts_are_those_of_the_cpu(protocol: str, device: torch.device, demo_images: tuple[Tensor, Tensor]) -> None:
    images, labels = (part[:32] for part in demo_images)
    given: dict[str, Any] = {"norm": "Linf", "eps": EPS, "seed": 1}
    steps = PROTOCOLS[protocol].attacks
    given["protocol"] = Protocol("short", None, steps if protocol == "quick" else (*steps[:2], _short(steps[2])), "")
    expected = evaluate_robustness(demo("at-eps0.05"), images, labels, **given)
    found = evaluate_robustness(demo("at-eps0.05").to(device), images.to(device), labels.to(device), **given)
    assert found.survived.device.type == "cpu"
    assert (found.survived != expected.survived).sum() <= 1
    assert torch.equal(found.correct, expected.correct)
    torch.testing.assert_close(found.logits, expected.logits, atol=1e-3, rtol=1e-3)


def _short(search: Any) -> Any:
    changes = {"iterations": 8, "targets": 3, "explore_iterations": 4, "rounds": [[0.05, 2]]}
    return replace(search, parameters={**search.parameters, **changes})


def test_w_and_c_are_those_of_the_cpu(device: torch.device) -> None:
    expected, found = (implicit_weight(demo("at-eps0.10").to(one), (1, 28, 28)) for one in ("cpu", device))
    assert found.device.type == device.type
    torch.testing.assert_close(found.cpu() / expected.abs().max(), expected / expected.abs().max(), atol=1e-4, rtol=0)
    correlations = [class_correlation(demo("at-eps0.10").to(one), (1, 28, 28)) for one in ("cpu", device)]
    torch.testing.assert_close(*correlations, atol=1e-4, rtol=0)


def test_screening_is_that_of_the_cpu(device: torch.device) -> None:
    scores = [
        screen(demo("at-eps0.05").to(one), (1, 28, 28), GROUPS, norm="Linf", eps=EPS, probes=8)
        for one in ("cpu", device)
    ]
    assert scores[1].score == pytest.approx(scores[0].score, abs=0.02)
    assert scores[1].margin == pytest.approx(scores[0].margin, rel=0.02)


class _Saved:
    """Keeps the last state; fails at the first state after ``good``."""

    def __init__(self, good: int = 10**9) -> None:
        self.state: bytes | None = None
        self.good = good

    def load(self) -> bytes | None:
        return self.state

    def save(self, state: bytes) -> None:
        if self.good == 0:
            raise KeyboardInterrupt
        self.state, self.good = state, self.good - 1


class _Noisy(nn.Module):
    """A linear classifier with noise from the generator of its device."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Linear(5)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.inner(x)
        return logits + 0.02 * torch.randn_like(logits)


@pytest.mark.parametrize("make", [lambda: Linear(5), _Noisy])
def test_an_interrupted_evaluation_resumes_exactly(make: Callable[[], nn.Module], device: torch.device) -> None:
    images, labels, _, eps = clear_images(Linear(5), "Linf", device)
    images, labels = images[:6], labels[:6]
    given: dict[str, Any] = {"norm": "Linf", "eps": eps, "protocol": "quick", "batch_size": 4, "seed": 4}
    model = make().to(device)
    expected = evaluate_robustness(model, images, labels, **given)
    saved = _Saved(good=1)
    with pytest.raises(KeyboardInterrupt):
        evaluate_robustness(model, images, labels, saved=saved, **given)
    saved.good = 10**9
    found = evaluate_robustness(model, images, labels, saved=saved, **given)
    assert torch.equal(found.survived, expected.survived)
    assert torch.equal(found.predicted, expected.predicted)
    assert found.earlier > 0


def test_random_draws_of_the_caller_stay_as_they_were(device: torch.device) -> None:
    images, labels, _, eps = clear_images(Linear(5), "Linf", device)

    def states() -> list[Tensor]:
        return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]

    before = states()
    found = evaluate_robustness(_Noisy().to(device), images[:4], labels[:4], norm="Linf", eps=eps, protocol="quick")
    assert "randomized" in found.flags
    assert all(torch.equal(*pair) for pair in zip(before, states(), strict=True))


class _OfLittleMemory(nn.Module):
    """A classifier that runs out of memory beyond eight images."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Linear(5)

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > 8:
            raise torch.OutOfMemoryError("CUDA out of memory, for a test")
        logits: Tensor = self.inner(x)
        return logits


def test_batches_are_halved_until_they_fit(device: torch.device) -> None:
    images, labels, _, eps = clear_images(Linear(5), "Linf", device)
    given: dict[str, Any] = {"norm": "Linf", "eps": eps, "protocol": "quick"}
    expected = evaluate_robustness(Linear(5).to(device), images, labels, **given)
    found = evaluate_robustness(_OfLittleMemory().to(device), images, labels, batch_size=32, **given)
    assert found.batch_size == 8
    assert torch.equal(found.survived, expected.survived)


def test_the_batch_size_changes_no_verdict(device: torch.device) -> None:
    torch.manual_seed(0)
    model = SmallResNet().double().eval().to(device)
    images = torch.rand(12, 1, 28, 28, dtype=torch.float64).to(device)
    labels = model(images).argmax(1)
    steps = PROTOCOLS["strong"].attacks
    protocol = Protocol("short", None, (*steps[:2], _short(steps[2])), "")
    found = [
        evaluate_robustness(model, images, labels, norm="Linf", eps=0.002, protocol=protocol, batch_size=size)
        for size in (12, 5)
    ]
    assert 0 < found[0].robust_accuracy < 1
    assert torch.equal(found[0].survived, found[1].survived)


def test_the_fastest_batch_is_one_of_those_that_there_are(device: torch.device) -> None:
    assert 32 <= fastest_batch_size(demo("standard").to(device), torch.rand(64, 1, 28, 28).to(device)) <= 64


@pytest.mark.parametrize("amp", [False, True])
def test_training_lowers_its_loss(amp: bool, device: torch.device, demo_images: tuple[Tensor, Tensor]) -> None:
    images, labels = demo_images
    recipe = Recipe(
        method="at", eps=EPS, steps=1, step_size=EPS, epochs=2, batch_size=64, max_lr=0.02, beta=0.1, ema=0.9, amp=amp
    )
    tuned = fine_tune(
        copy.deepcopy(demo("standard")).requires_grad_(True).to(device),
        (images[:256], labels[:256]),
        (images[256:320], labels[256:320]),
        recipe,
        GROUPS,
    )
    first, *later = tuned.history
    assert first.number == 0
    assert all(np.isfinite(epoch.loss) for epoch in later)
    assert tuned.best.number > 0
    assert all(tensor.device.type == "cpu" for tensor in tuned.state.values())


def test_bounds_certify_what_they_certify_on_the_cpu(device: torch.device) -> None:
    images, labels, reach, eps = clear_images(Linear(5), "Linf", device)
    certified = certify_bounds(Linear(5).to(device).requires_grad_(False), images, labels, norm="Linf", eps=eps)
    assert torch.equal(certified > 0, reach > eps)


def test_smoothing_certifies_no_more_than_the_distance_to_the_boundary(device: torch.device) -> None:
    images, _, reach, _ = clear_images(Linear(5), "L2", device)
    found = certify_smoothing(Linear(5).to(device).requires_grad_(False), images[:6], sigma=0.1, draws=1000)
    radii = torch.as_tensor(found.radii)
    assert (radii <= reach[:6].double() + 1e-6).all()  # the smoothed linear model has the linear model's distances
    assert radii.max() > 0


def test_own_and_transferred_attacks_run_on_the_device(device: torch.device) -> None:
    images, labels, reach, eps = clear_images(Linear(5), "Linf", device)
    seen = []

    def shift(_model: nn.Module, images: Tensor, _labels: Tensor, *, eps: float, **_: object) -> Tensor:
        seen.append(images.device.type)
        return images + eps

    found = evaluate_robustness(
        Linear(5).to(device),
        images,
        labels,
        norm="Linf",
        eps=eps,
        protocol=Protocol("none", None, (), ""),
        attacks={"shift": shift},
        transfer_from={"twin": Linear(5).to(device)},
    )
    assert seen
    assert set(seen) == {device.type}
    assert [score.attack for score in found.attacks][-1] == "shift"
    assert found.survived[reach > eps].all()
    assert not found.survived.all()


def test_a_curve_has_the_distances_of_a_linear_classifier(device: torch.device) -> None:
    images, labels, reach, eps = clear_images(Linear(5), "Linf", device)
    found = evaluate_robustness(
        Linear(5).to(device), images[:6], labels[:6], norm="Linf", eps=eps, protocol="quick", curve=True
    )
    assert found.curve is not None
    assert found.curve.sizes == pytest.approx(reach[:6].numpy(), rel=0.02)


def test_an_audit_is_that_of_the_cpu(device: torch.device) -> None:
    zoo = DemoZoo()
    entry = next(entry for entry in zoo.entries() if entry.model == "demo:at-eps0.05")
    images = load_images("fashion_mnist", 64)
    requests = [AuditRequest(protocol="quick", device=str(one), measure_batch=True) for one in ("cpu", device)]
    expected, found = (audit(entry, zoo.load(entry), request, images, JobContext()) for request in requests)
    assert found.identity == expected.identity
    assert found.device == str(device)
    assert found.robust_accuracy == pytest.approx(expected.robust_accuracy, abs=0.02)
    for ours, theirs in zip(found.clusterings, expected.clusterings, strict=True):
        assert ours.scores.gap == pytest.approx(theirs.scores.gap, abs=1e-3)
    assert found.not_measurable == ()
