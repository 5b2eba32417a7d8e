"""What an audit would cost: passes against those that attacks really make, memory against a closed form."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from auditor import estimate as estimating
from auditor.attacks import evaluate_robustness, find_protocol
from auditor.attacks.protocols import for_randomized
from auditor.estimate import estimate, passes
from auditor.measure import measure
from auditor.records import AuditRequest, Contact, Measurement
from auditor.zoo import select
from auditor.zoo.demo import DemoZoo


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
    record = measure(source, entry, request_, Contact())
    assert estimate(source, entry, request_, Contact(wanted=lambda name: identities.append(name))) is None
    assert identities == [record.identity]


def test_the_time_is_that_of_the_passes(request_: Measurement, monkeypatch: pytest.MonkeyPatch) -> None:
    source = DemoZoo()
    (entry,) = select(source.entries(), models=["standard"])
    monkeypatch.setattr(estimating, "_seconds", lambda _: 4.0)  # a second an image, whatever is timed
    found = estimate(source, entry, request_, Contact())
    gradients, forwards = passes(find_protocol("quick").attacks)
    assert found.seconds == 4 * 10 + 4 * 4 + 10 * (gradients + forwards)
    assert found.memory > 10**8


def test_a_sketch_costs_a_forward_pass_a_probe(request_: Measurement, monkeypatch: pytest.MonkeyPatch) -> None:
    source = DemoZoo()
    (entry,) = select(source.entries(), models=["standard"])
    monkeypatch.setattr(estimating, "_seconds", lambda function: float(function()))
    monkeypatch.setattr(estimating, "_forward", lambda *_: 4)  # a second an image, 1,000 with the gradient
    monkeypatch.setattr(estimating, "_forward_and_backward", lambda *_: 4000)
    monkeypatch.setattr(estimating, "_scoring_seconds", lambda _: 0)
    screen = replace(request_, audit=replace(request_.audit, protocol="screen"), samples=0)
    found = {
        probes: estimate(source, entry, replace(screen, audit=replace(screen.audit, sketch=probes)), Contact())
        for probes in (None, 8, 64)
    }
    assert found[None].seconds == 4 * 10 * 1000
    assert found[8].seconds == 4 * (8 + 7 * 1000)
    assert found[64].seconds - found[8].seconds == 4 * (64 - 8)


def test_what_a_forward_pass_keeps_is_counted_once_and_without_the_weights() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 50, bias=False), nn.ReLU(), nn.Linear(50, 10, bias=False))
    model.requires_grad_(False)
    # Weights are frozen, so a linear layer keeps no input: what is left is the output of ReLU.
    assert estimating._bytes_kept(model, torch.rand(4, 1, 6, 6)) == 4 * 50 * 4
