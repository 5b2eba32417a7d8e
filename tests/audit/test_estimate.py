"""What an audit would cost: passes against those that attacks really make, memory against a closed form."""

import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from auditor.attacks import RobustnessResult, evaluate_robustness, find_protocol
from auditor.attacks.protocols import for_randomized
from auditor.audit import estimate as estimating
from auditor.audit.estimate import attack_seconds, estimate, template_seconds
from auditor.audit.task import measure
from auditor.audit.timing import Line, passes
from auditor.data import ImageSet
from auditor.errors import LinearizationError
from auditor.records import AuditRequest, JobContext, Measurement
from auditor.zoo import select
from auditor.zoo.demo import DemoZoo
from tests.factories.records import entry


class Counting(nn.Module):
    """A robust linear model of ten classes that counts the images it sees; with noise it is a randomized one."""

    def __init__(self, noise: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("weight", torch.eye(36)[:10] * 10)
        self.noise, self.seen = noise, 0

    def forward(self, images: Tensor) -> Tensor:
        self.seen += len(images)
        logits = images.flatten(1) @ self.weight.T
        return logits + self.noise * torch.randn_like(logits)


@pytest.mark.long
@pytest.mark.parametrize(("protocol", "noise"), [("quick", 0.0), ("standard", 0.0), ("quick", 0.01)])
def test_no_attack_makes_more_passes_than_are_counted_nor_far_fewer(protocol: str, noise: float) -> None:
    images = torch.full((4, 1, 6, 6), 0.1)
    labels = torch.arange(4)
    images.flatten(1)[torch.arange(4), labels] = 0.9
    model = Counting(noise)
    result = evaluate_robustness(model, images, labels, norm="Linf", eps=0.01, protocol=protocol)
    assert result.robust_accuracy == 1
    attacks = find_protocol(protocol).attacks
    most = 4 * sum(passes(for_randomized(attacks) if noise else attacks))
    assert most / 3 < model.seen <= most


@pytest.fixture(scope="module")
def request_() -> Measurement:
    return Measurement(audit=AuditRequest(protocol="quick"), samples=10)


def test_a_model_that_is_done_before_is_not_timed(request_: Measurement) -> None:
    source = DemoZoo()
    (entry,) = select(source.entries(), models=["standard"])
    identities: list[str] = []
    record = measure(source, entry, request_, JobContext())
    assert estimate(source, entry, request_, JobContext(needs_measuring=lambda name: identities.append(name))) is None
    assert identities == [record.identity]


SPEEDS = {0.005: 32, 0.0101: 18, 0.2: 4}
"""Seconds of a pass of an image, and on how many images the attacks are then tried."""


class Mixed(nn.Module):
    """Logits of ten classes that are the first ten pixels, each image's times its last pixel: some are far apart."""

    def __init__(self) -> None:
        super().__init__()
        self.passes = 0

    def forward(self, images: Tensor) -> Tensor:
        self.passes += len(images)
        flat = images.flatten(1)
        return flat[:, :10] * 10 * (1 + flat[:, 20:21])


def some_images(n: int, least: float, most: float) -> ImageSet:
    """The label's pixel above the others by from ``least`` to ``most``: FGSM needs half of that to break an image."""
    labels = np.arange(n) % 10
    images = np.full((n, 1, 6, 6), 0.3, np.float32)
    margins = np.random.default_rng(0).uniform(least, most, n).astype(np.float32)
    images.reshape(n, -1)[np.arange(n), labels] += margins
    return ImageSet("x", images, labels, np.arange(n), np.arange(n).astype(np.uint64), "0")


@pytest.mark.parametrize("image", SPEEDS)
@pytest.mark.parametrize(
    ("least", "most", "wrong"),
    [
        (0.4, 0.5, 0),  # all stand
        (0.01, 0.02, 0),  # FGSM breaks all
        (0.01, 0.4, 0),  # half of each
        (0.15, 0.25, 0),  # those near the border
        (0.01, 0.4, 100),  # misclassified as they are
    ],
)
def test_the_time_is_that_of_the_passes_that_are_really_made(
    monkeypatch: pytest.MonkeyPatch, least: float, most: float, wrong: int, image: float
) -> None:
    monkeypatch.setattr(estimating, "line_of", lambda *_: Line(0.0, image))  # whatever is timed
    images = some_images(256, least, most)
    images.labels[:wrong] = (images.labels[:wrong] + 1) % 10
    one = replace(entry(), norm="Linf", eps=0.1, input_size=(1, 6, 6))
    trials: list[int] = []

    def evaluate(model: nn.Module, pixels: Tensor, labels: Tensor, **settings: Any) -> RobustnessResult:
        trials.append(len(pixels))
        return evaluate_robustness(model, pixels, labels, **settings)

    monkeypatch.setattr(estimating, "evaluate_robustness", evaluate)
    found, bound = attack_seconds(Mixed(), one, AuditRequest(protocol="quick"), images, 1)
    assert trials == [SPEEDS[image]]
    model = Mixed()
    given = torch.from_numpy(images.images), torch.from_numpy(images.labels)
    evaluate_robustness(model, *given, norm="Linf", eps=0.1, protocol="quick")
    really = model.passes * image
    assert really / 1.5 < found < really * 1.5
    assert really <= bound * 1.3


@pytest.mark.parametrize(("standing", "share"), [((0.4, 0.5), 1.0), ((0.01, 0.02), 0.0)])
def test_strong_attacks_run_on_what_stands(
    monkeypatch: pytest.MonkeyPatch, standing: tuple[float, float], share: float
) -> None:
    monkeypatch.setattr(estimating, "line_of", lambda *_: Line(0.0, 1.0))
    monkeypatch.setattr(estimating, "MAX_TRIAL_SECONDS", 1e9)
    one = replace(entry(), norm="Linf", eps=0.1, input_size=(1, 6, 6))
    images = some_images(1000, *standing)
    found, bound = attack_seconds(Mixed(), one, AuditRequest(protocol="standard"), images, 1)
    whole = 1000 * sum(passes(find_protocol("standard").attacks))
    assert found == pytest.approx(whole * share, rel=0.05, abs=0.01 * whole)
    assert whole / 40 < bound <= whole * 1.01  # of 32 that do not stand one in 34 of all may


@pytest.mark.parametrize("why", ["randomized", "slow"])
def test_where_attacks_cannot_be_tried_they_are_taken_to_break_nothing(
    monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    monkeypatch.setattr(estimating, "line_of", lambda *_: Line(0.0, 1.0))
    one = replace(entry(), norm="Linf", eps=0.1, input_size=(1, 6, 6))
    if why == "slow":
        monkeypatch.setattr(estimating, "MAX_TRIAL_SECONDS", 0.0)
    model = Counting(0.01) if why == "randomized" else Mixed()
    found, bound = attack_seconds(model, one, AuditRequest(protocol="quick"), some_images(100, 0.01, 0.02), 1)
    attacks = find_protocol("quick").attacks
    each = sum(passes(for_randomized(attacks) if why == "randomized" else attacks))
    assert found == bound == pytest.approx(100 * each, rel=0.01)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that only moves when a test moves it."""
    at = [0.0]
    monkeypatch.setattr(estimating.time, "perf_counter", lambda: at[0])
    return at


@pytest.mark.parametrize(
    ("classes", "rank", "seconds"),
    [
        (10, 10, 5 + 10),
        (7, 7, 5 + 7),
        (24, 24, 5 + 24),
        (1000, 10, 5 + 1000),  # from the first ten and thirty
        (1000, 1, 5 + 1000 + 2 * (5 + 1000)),  # collapsed: once more in float64
        (10, 1, 5 + 10 + 2 * (5 + 10)),
    ],
)
def test_templates_take_as_long_as_the_first_ones_say(
    monkeypatch: pytest.MonkeyPatch, clock: list[float], classes: int, rank: int, seconds: float
) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, classes))

    def template_gram(part: nn.Module, *_: Any, double: bool, **__: Any) -> Any:
        number = part(torch.rand(2, 1, 6, 6)).shape[1]
        clock[0] += (2 if double else 1) * (5 + number)
        rows = torch.eye(number, dtype=torch.float64) if rank > 1 else torch.ones(number, 1, dtype=torch.float64)
        return SimpleNamespace(gram=rows @ rows.T)

    monkeypatch.setattr(estimating, "template_gram", template_gram)
    found = template_seconds(model, (1, 6, 6), AuditRequest(protocol="screen"), classes)
    assert found == (pytest.approx(seconds), rank == 1)


@pytest.mark.parametrize("probes", [8, 10, 30, 64, 1000])
def test_a_sketch_takes_as_long_as_its_first_probes_say(
    monkeypatch: pytest.MonkeyPatch, clock: list[float], probes: int
) -> None:
    def template_sketch(*_: Any, probes: int, **__: Any) -> None:
        clock[0] += 3 + 0.5 * probes

    monkeypatch.setattr(estimating, "template_sketch", template_sketch)
    request = AuditRequest(protocol="screen", sketch=probes)
    assert template_seconds(nn.Identity(), (1, 6, 6), request, 1000) == (pytest.approx(3 + 0.5 * probes), False)


def test_what_cannot_be_linearized_takes_as_long_as_to_find_out(
    monkeypatch: pytest.MonkeyPatch, clock: list[float]
) -> None:
    def template_gram(*_: Any, **__: Any) -> None:
        clock[0] += 4
        raise LinearizationError("no")

    monkeypatch.setattr(estimating, "template_gram", template_gram)
    assert template_seconds(nn.Identity(), (1, 6, 6), AuditRequest(protocol="screen"), 10) == (4, False)


def test_an_estimate_is_of_all_parts(request_: Measurement) -> None:
    source = DemoZoo()
    (one,) = select(source.entries(), models=["standard"])
    found = estimate(source, one, request_, JobContext())
    assert 0 < found.seconds <= found.seconds_at_most < 600
    assert found.memory > 10**8
    screen = replace(request_, audit=replace(request_.audit, protocol="screen"), samples=0)
    assert estimate(source, one, screen, JobContext()).seconds > 0


def test_a_model_below_the_threshold_of_a_triage_costs_no_attacks(
    request_: Measurement, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimating, "_resident", lambda: 0)  # it differs from one call to the next
    source = DemoZoo()
    (one,) = select(source.entries(), models=["standard"])
    screened, attacked = (
        estimate(source, one, replace(request_, audit=replace(request_.audit, triage=threshold)), JobContext())
        for threshold in (0.99, 0.0)
    )
    assert re.fullmatch(r"screening score 0\.\d\d, below 0\.99: no attacks", screened.screened_only)
    assert attacked.screened_only == ""
    assert screened.memory < attacked.memory


def test_a_model_that_a_triage_left_alone_is_done_whether_attacks_were_targeted_or_not(request_: Measurement) -> None:
    source = DemoZoo()
    (one,) = select(source.entries(), models=["standard"])

    def identities(targeted: str | None) -> list[str]:
        names: list[str] = []
        audit = replace(request_.audit, triage=0.99, targeted=targeted)
        estimate(source, one, replace(request_, audit=audit), JobContext(needs_measuring=lambda n: not names.append(n)))
        return names

    plain, targeted = identities(None), identities("superclass")
    assert plain[0] != targeted[0]
    assert plain[1] == targeted[1]


def test_what_a_forward_pass_keeps_is_counted_once_and_without_the_weights() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 50, bias=False), nn.ReLU(), nn.Linear(50, 10, bias=False))
    model.requires_grad_(False)
    # Weights are frozen, so a linear layer keeps no input: what is left is the output of ReLU.
    assert estimating._saved_bytes(model, torch.rand(4, 1, 6, 6)) == 4 * 50 * 4
