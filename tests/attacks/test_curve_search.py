"""The smallest perturbation against closed forms and foolbox, and as a part of an evaluation that changes no other."""

import dataclasses
from typing import Any

import foolbox
import numpy as np
import pytest
import torch
from torch import nn

from auditor.attacks import RobustnessResult, evaluate_robustness
from auditor.attacks.curve_search import (
    PARAMETERS,
    MinimalSearch,
    check_sizes,
    largest_radius,
    search_name,
    search_settings,
)
from auditor.attacks.norms import NORMS, L2Norm
from auditor.errors import InputError
from tests.factories.attacked_models import Linear, Threshold, Wrapped

N, K = 24, 5
EPS = {"Linf": 0.02, "L2": 0.1, "L1": 0.3}


def _images(model: nn.Module, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    """Images in the middle of the box, so that it does not bind; every tenth label is wrong."""
    images = 0.45 + 0.1 * torch.rand(N, 1, 6, 6, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        labels = model(images.to(dtype)).argmax(1)
    labels[::10] = (labels[::10] + 1) % K
    return images.to(dtype), labels


def _distances(model: Linear, images: torch.Tensor, labels: torch.Tensor, norm: str) -> torch.Tensor:
    """The margin to each other class over the dual norm of the difference of the weights, the smallest of them."""
    order = {"Linf": 1, "L2": 2, "L1": torch.inf}[norm]
    with torch.no_grad():
        logits = model(images)
        margins = logits.gather(1, labels[:, None]) - logits
        slopes = torch.linalg.vector_norm(model.weight[labels][:, None] - model.weight[None], order, dim=2)
        reach = margins / slopes.clamp_min(1e-12)
        reach[torch.arange(len(labels)), labels] = torch.inf
        return reach.amin(1).clamp_min(0)


def _evaluate(model: nn.Module, norm: str, **changes: Any) -> RobustnessResult:
    images, labels = _images(model.double())
    settings = {"norm": norm, "eps": EPS[norm], "protocol": "quick", "curve": True, **changes}
    return evaluate_robustness(model, images, labels, **settings)


@pytest.mark.long
@pytest.mark.parametrize("norm", NORMS)
def test_sizes_are_the_distances_to_the_boundary_of_a_linear_model(norm: str) -> None:
    model = Linear(K).double()
    found = _evaluate(model, norm)
    exact = _distances(model, *_images(model), norm).numpy()
    curve = found.curve
    assert curve is not None
    assert (curve.norm, curve.largest) == (norm, pytest.approx(4 * EPS[norm]))
    assert (curve.sizes[~found.correct.numpy()] == 0).all()
    reached = exact < 0.95 * curve.largest
    assert reached.sum() > N / 2
    ratio = curve.sizes[found.correct.numpy() & reached] / exact[found.correct.numpy() & reached]
    assert (ratio >= 1 - 1e-5).all()  # nothing is nearer than the boundary
    assert ratio.max() < 1.03
    assert np.isinf(curve.sizes[exact > 1.1 * curve.largest]).all()
    assert set(curve.found_by[curve.sizes == 0].tolist()) == {-1}
    assert curve.attacks == ("fgsm", "pgd-20", "minimal-3" if norm == "L2" else "minimal-2")


@pytest.mark.long
def test_a_curve_changes_no_other_part_of_the_result() -> None:
    plain, found = (_evaluate(Linear(K), "Linf", curve=curve) for curve in (False, True))
    assert plain.curve is None
    for name in ("correct", "survived", "predicted", "broken_at", "logits"):
        assert torch.equal(getattr(plain, name), getattr(found, name))
    assert (plain.flags, plain.notes, plain.robust_accuracy) == (found.flags, found.notes, found.robust_accuracy)


@pytest.mark.long
def test_samples_that_the_cascade_broke_are_broken_within_eps() -> None:
    found = _evaluate(Linear(K), "L2")
    assert found.curve is not None
    within = torch.from_numpy(found.curve.broken_within(EPS["L2"]))
    assert 0 < int((found.correct & ~found.survived).sum()) < N
    assert within[~found.survived].all()


@pytest.mark.long
@pytest.mark.parametrize("norm", NORMS)
def test_the_batch_makes_no_difference(norm: str) -> None:
    whole, parts = (_evaluate(Linear(K), norm, batch_size=size) for size in (64, 7))
    assert whole.curve is not None
    assert parts.curve is not None
    np.testing.assert_allclose(whole.curve.sizes, parts.curve.sizes, rtol=1e-6)


@pytest.mark.long
def test_sizes_beyond_the_protocol_are_a_note() -> None:
    model = _network()
    images, labels = _images(model)
    found = evaluate_robustness(model, images, labels, norm="L2", eps=0.4, protocol="quick", curve=True)
    assert found.curve is not None
    further = int((found.survived.numpy() & found.curve.broken_within(0.4)).sum())
    assert ("the curve breaks" in " ".join(found.notes)) == (further > 0)


def _network() -> nn.Module:
    torch.manual_seed(5)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Flatten(),
        nn.Linear(288, K),
    ).double().eval().requires_grad_(False)  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize(
    ("norm", "attack"),
    [
        ("Linf", foolbox.attacks.LInfFMNAttack(steps=300)),
        ("L2", foolbox.attacks.L2FMNAttack(steps=300)),
        ("L2", foolbox.attacks.DDNAttack(steps=300)),
        ("L1", foolbox.attacks.L1FMNAttack(steps=300)),
    ],
)
def test_foolbox_finds_nothing_clearly_smaller(norm: str, attack: foolbox.attacks.base.Attack) -> None:
    model = _network().float()
    images, labels = _images(model, torch.float32)
    with torch.no_grad():
        labels = model(images).argmax(1)
    theirs = attack(foolbox.PyTorchModel(model, bounds=(0, 1)), images, labels, epsilons=None)[0]
    most = check_sizes(model, images, labels, theirs.clamp(0, 1), NORMS[norm])
    known = torch.full((N,), torch.inf, dtype=torch.float64)
    search = MinimalSearch(
        model, model, images, labels, torch.arange(N), norm=NORMS[norm], largest=1e3, known=known, seed=0
    )
    search.run(search_settings(NORMS[norm]))
    ours = check_sizes(model, images, labels, search.found, NORMS[norm])
    assert ours.isfinite().all()
    assert float((ours / most).max()) < 1.05
    assert float((ours / most).median()) < 1.01


@pytest.mark.long
@pytest.mark.parametrize(("fault", "left_out"), [("random", True), ("detached", True), ("in place", False)])
def test_models_without_reproducible_logits_have_no_curve(fault: str, left_out: bool) -> None:
    images, labels = _images(Linear(K), torch.float32)
    found = evaluate_robustness(Wrapped(fault), images, labels, norm="Linf", eps=0.02, protocol="quick", curve=True)
    assert (found.curve is None) == left_out
    assert ("curve left out" in " ".join(found.notes)) == left_out


def test_it_needs_all_images() -> None:
    images, labels = _images(Linear(K), torch.float32)
    with pytest.raises(InputError, match="expected either curve or an early stop"):
        evaluate_robustness(Linear(K), images, labels, norm="Linf", eps=0.02, protocol="quick", curve=True, stop_at=0.5)


class StopError(BaseException):
    """Ends an evaluation in the middle."""


class Saved:
    """Keeps the last state; the evaluation ends at a save."""

    def __init__(self, state: bytes | None = None, last: int | None = None) -> None:
        self.state, self.last, self.saves = state, last, 0

    def load(self) -> bytes | None:
        return self.state

    def save(self, state: bytes) -> None:
        self.state, self.saves = state, self.saves + 1
        if self.saves == self.last:
            raise StopError


@pytest.mark.long
def test_wherever_it_ends_a_resumed_evaluation_has_the_same_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auditor.attacks.progress.SAVE_SECONDS", 0.0)
    for name, value in {"rounds": 3, "fab": [[9, 2]]}.items():  # it runs once for each place where it may end
        monkeypatch.setitem(PARAMETERS, name, value)
    counted = Saved()
    whole = _evaluate(Linear(K), "Linf", batch_size=7, saved=counted)
    assert counted.saves > 8
    for last in range(1, counted.saves + 1):
        stopped = Saved(last=last)
        with pytest.raises(StopError):
            _evaluate(Linear(K), "Linf", batch_size=7, saved=stopped)
        resumed = _evaluate(Linear(K), "Linf", batch_size=7, saved=Saved(stopped.state))
        assert resumed.curve is not None
        assert whole.curve is not None
        for name in ("sizes", "found_by"):
            np.testing.assert_array_equal(getattr(resumed.curve, name), getattr(whole.curve, name))
        assert resumed.curve.attacks == whole.curve.attacks
        assert (resumed.flags, resumed.notes) == (whole.flags, whole.notes)
        assert [dataclasses.replace(one, seconds=0) for one in resumed.attacks] == [
            dataclasses.replace(one, seconds=0) for one in whole.attacks
        ]


def test_a_point_that_rounding_decides_is_pushed_outward() -> None:
    model = Linear(2).double()
    images = torch.full((1, 1, 6, 6), 0.5, dtype=torch.float64)
    images[0, 0, 0, 0] += 0.01
    labels = model(images).argmax(1)
    exact = _distances(model, images, labels, "L2")
    other = 1 - int(labels[0])
    step = (model.weight[other] - model.weight[labels[0]]).detach().view(1, 1, 6, 6)
    before = images + 0.9999 * exact * step / step.norm()  # not yet misclassified
    size = check_sizes(model, images, labels, before, NORMS["L2"])
    assert float(exact) < float(size) < 1.01 * float(exact)
    assert check_sizes(model, images, labels, images, NORMS["L2"]).isinf().all()


def _search(norm: str) -> MinimalSearch:
    images, labels = torch.full((6, 1, 16, 16), 0.2), torch.zeros(6, dtype=torch.int64)
    known = torch.full((6,), torch.inf, dtype=torch.float64)
    search = MinimalSearch(
        Threshold(), Threshold(), images, labels, torch.arange(6), norm=NORMS[norm], largest=2.0, known=known, seed=0
    )
    search.run(search_settings(NORMS[norm]))
    return search


def test_in_l2_a_pixel_is_found_that_has_no_gradient_near_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slight slopes lead to a boundary at 0.71; one large change breaks the sample at 0.3."""
    assert (_search("L2").sizes < 0.31).sum() >= 4
    monkeypatch.setattr(L2Norm, "radii", (1.0,))
    assert (_search("L2").sizes > 0.7).all()


@pytest.mark.parametrize("norm", NORMS)
def test_only_a_search_through_wider_balls_is_of_another_version(norm: str) -> None:
    wider = norm == "L2"
    assert search_name(NORMS[norm]) == ("minimal-3" if wider else "minimal-2")
    assert (search_settings(NORMS[norm]) == PARAMETERS) is not wider


def test_the_largest_radius_of_linf_is_the_box() -> None:
    assert largest_radius(NORMS["Linf"], 0.5) == 1.0
    assert largest_radius(NORMS["L1"], 15.0) == 60.0
