"""FGSM along signs that were found before is the FGSM that finds them itself."""

import pytest
import torch
from torch import nn

from auditor.attacks import PROTOCOLS, Protocol, evaluate_robustness
from auditor.attacks.clean_gradients import FirstStep
from auditor.attacks.gradient import cross_entropy, frozen, pgd
from auditor.attacks.norms import L2, LINF, Norm
from auditor.zoo.demo.networks import SmallResNet

FGSM, PGD_20 = PROTOCOLS["quick"].attacks
EPS = 0.1


def _some() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    model, images = SmallResNet(8).eval(), torch.rand(40, 1, 28, 28)
    with torch.no_grad():
        labels = model(images).argmax(1)
    labels[::3] = (labels[::3] + 1) % 10
    return model, images, labels


def test_the_same_images_to_the_last_bit() -> None:
    model, images, labels = _some()
    some, first = torch.arange(5, 35), FirstStep(images, labels, LINF, reproducible=True)
    with frozen(model):
        first.zero_gradients(model, some)
        found = first.fgsm(FGSM, some, EPS)
        loss = cross_entropy(labels[some])
        told = {"norm": LINF, "eps": EPS, "steps": 1, "step_size": EPS, "labels": labels[some]}
        expected = pgd(model, images[some], loss, **told)
    assert found is not None
    assert torch.equal(found, expected)
    moved = (found != images[some]).flatten(1).any(1)
    assert torch.equal(moved, some % 3 != 0)  # what is misclassified stays where it is
    assert first.fgsm(FGSM, some, EPS) is None  # kept once, and given once


@pytest.mark.parametrize(
    ("norm", "reproducible", "attack"), [(L2, True, FGSM), (LINF, False, FGSM), (LINF, True, PGD_20)]
)
def test_where_signs_are_not_what_the_attack_wants(norm: Norm, reproducible: bool, attack: object) -> None:
    model, images, labels = _some()
    first = FirstStep(images, labels, norm, reproducible)
    with frozen(model):
        first.zero_gradients(model, torch.arange(40))
    assert first.fgsm(attack, torch.arange(40), EPS) is None


def test_signs_of_too_many_pixels_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    model, images, labels = _some()
    monkeypatch.setattr("auditor.attacks.clean_gradients.MAX_BYTES", images.numel() - 1)
    first = FirstStep(images, labels, LINF, reproducible=True)
    with frozen(model):
        first.zero_gradients(model, torch.arange(40))
    assert first.signs == {}


class Counting(nn.Module):
    """A model, and how many of its passes may be gone back through."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.passes = inner, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.passes += x.requires_grad
        return self.inner(x)


def test_an_evaluation_with_and_without_differs_in_passes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    model, images, labels = _some()
    sharing, alone = Counting(model), Counting(model)
    asked = {"norm": "Linf", "eps": EPS, "protocol": Protocol("fgsm alone", 40, (FGSM,), ""), "batch_size": 16}
    found = evaluate_robustness(sharing, images, labels, **asked)
    monkeypatch.setattr("auditor.attacks.clean_gradients.MAX_BYTES", 0)
    other = evaluate_robustness(alone, images, labels, **asked)
    assert torch.equal(found.survived, other.survived)
    assert alone.passes - sharing.passes == -(-int(found.correct.sum()) // 16) == 2
