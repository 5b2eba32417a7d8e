"""Targeted attacks against a linear programme: what lies within the budget of a linear classifier is known exactly."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from auditor.attacks import Protocol, evaluate_robustness
from auditor.attacks.gradient import cross_entropy, frozen, pgd
from auditor.attacks.norms import LINF
from auditor.attacks.targeted import choose_targets, target_margin
from auditor.errors import InputError
from tests.factories.attacked_models import Linear, OutOfMemory, Wrapped

N, K, EPS = 24, 5, 0.02
FAMILIES = ["x", "x", "y", "y", "z"]
SETTINGS = {"norm": "Linf", "eps": EPS, "protocol": "quick", "superclasses": FAMILIES}


def _images(model: Linear) -> tuple[torch.Tensor, torch.Tensor]:
    """Images in the middle of the box, so that it does not bind; every tenth label is wrong."""
    images = 0.3 + 0.4 * torch.rand(N, 1, 6, 6, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        labels = model(images).argmax(1)
    labels[::10] = (labels[::10] + 1) % K
    return images, labels


def _reach(model: Linear, image: torch.Tensor, target: int) -> float:
    """The largest margin of the target over all other classes within the budget."""
    weight, logits = model.weight.detach().double().numpy(), model(image[None])[0].detach().double().numpy()
    others = [k for k in range(K) if k != target]
    # maximize m, so that m <= (z_t - z_k) + (w_t - w_k) d for all other classes k, with |d| <= eps
    rows = np.hstack([-(weight[target] - weight[others]), np.ones((K - 1, 1))])
    bounds = [(-EPS, EPS)] * weight.shape[1] + [(None, None)]
    cost = np.zeros(weight.shape[1] + 1)
    cost[-1] = -1
    return -linprog(cost, rows, logits[target] - logits[others], bounds=bounds).fun


def test_success_rates_are_those_of_a_linear_programme() -> None:
    model = Linear(K)
    images, labels = _images(model)
    found = evaluate_robustness(model, images, labels, **SETTINGS)
    chosen = [k for k in range(N) if found.correct[k]]
    possible, sure = np.zeros((2, 2), int)
    for k in chosen:
        label = int(labels[k])
        margins = {target: _reach(model, images[k], target) for target in range(K) if target != label}
        for kind, same in enumerate((True, False)):
            reach = [value for target, value in margins.items() if (FAMILIES[target] == FAMILIES[label]) is same]
            possible[kind] += any(value > 0 for value in reach)
            sure[kind] += any(value > 0.05 for value in reach)
    score = found.targeted
    assert (score.n, score.targets) == (len(chosen), K - 1)
    assert score.within_n == sum(FAMILIES.count(FAMILIES[labels[k]]) > 1 for k in chosen)
    assert score.across_n == len(chosen)
    assert sure[0] <= score.within <= possible[0]
    assert sure[1] <= score.across <= possible[1]
    assert 0 < score.within < score.within_n
    assert 0 < score.across < score.across_n


@pytest.mark.long
def test_it_changes_no_verdict_and_depends_on_no_batch() -> None:
    model = Linear(K)
    images, labels = _images(model)
    plain = evaluate_robustness(model, images, labels, norm="Linf", eps=EPS, protocol="quick")
    assert plain.targeted is None
    results = [evaluate_robustness(model, images, labels, batch_size=size, **SETTINGS) for size in (64, 7, 1)]
    for one in results:
        assert one.targeted == results[0].targeted
        for field in ("correct", "survived", "predicted", "broken_at"):
            assert torch.equal(getattr(one, field), getattr(plain, field))
    short = evaluate_robustness(OutOfMemory(limit=9), images, labels, batch_size=32, **SETTINGS)
    assert short.targeted.n == short.correct.sum()


def test_what_the_cascade_missed_is_a_note() -> None:
    model = Wrapped("saturated")
    images, labels = _images(model.inner)
    result = evaluate_robustness(model, images, labels, **SETTINGS | {"protocol": Protocol("none", N, (), "nothing")})
    (note,) = [note for note in result.notes if note.startswith("targeted")]
    missed = int(note.split()[3])
    assert max(result.targeted.within, result.targeted.across) <= missed <= result.targeted.n
    assert note == f"targeted attacks broke {missed} samples that survived the cascade; they do not count"
    assert result.survived.sum() == result.correct.sum()


def test_without_correct_samples_or_gradients_nothing_is_attacked() -> None:
    model = Linear(K)
    images, labels = _images(model)
    with torch.no_grad():
        wrong = (model(images).argmax(1) + 1) % K
    none = evaluate_robustness(model, images, wrong, **SETTINGS).targeted
    assert dataclasses.asdict(none) == {
        "targets": 4, "n": 0, "within_n": 0, "within": 0, "across_n": 0, "across": 0,
    }  # fmt: skip
    detached = evaluate_robustness(Wrapped("detached"), images, labels, **SETTINGS)
    assert detached.targeted is None
    assert "targeted left out: the model passes no gradient to its input" in detached.notes
    with pytest.raises(InputError, match="expected 5 superclasses, one a class, got 2"):
        evaluate_robustness(model, images, labels, **SETTINGS | {"superclasses": ["x", "y"]})


def test_targets_are_the_wrong_classes_in_the_order_of_their_logits() -> None:
    logits = torch.randn(6, 30, generator=torch.Generator().manual_seed(0))
    labels = logits.argmax(1)
    targets = choose_targets(logits, labels)
    for row, target, label in zip(logits.tolist(), targets.tolist(), labels.tolist(), strict=True):
        order = [k for k in np.argsort(-np.array(row)) if k != label]
        assert target == order[:9]


def test_a_point_that_reached_its_target_stays_there() -> None:
    model = Linear(K)
    images, labels = _images(model)
    targets = choose_targets(model(images).detach(), labels)[:, 0]
    settings = {"norm": LINF, "eps": EPS, "steps": 20, "step_size": EPS / 4}
    with frozen(model):
        found = pgd(model, images, target_margin(targets), targets=targets, **settings)
        together = pgd(model, images, target_margin(targets), targets=targets, together=True, **settings)
        free = pgd(model, images, target_margin(targets), **settings)
        untargeted = pgd(model, images, cross_entropy(labels), labels=labels, **settings)
    reached, later = model(found).argmax(1) == targets, model(free).argmax(1) == targets
    assert torch.equal(found, together)
    assert (reached | ~later).all()
    assert reached.any()
    assert not torch.equal(found, untargeted)
