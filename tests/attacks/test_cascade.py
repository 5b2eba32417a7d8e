"""The cascade against closed forms, and everything an audit must not depend on."""

import copy
import dataclasses

import pytest
import torch
from pyautoattack import AutoAttack
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from pyautoattack.fab_pt import FABAttack_PT
from pyautoattack.square import SquareAttack
from torch import nn

from auditor.attacks import PROTOCOLS, Protocol, evaluate_robustness
from auditor.attacks.protocols import Attack
from auditor.errors import InputError
from auditor.zoo.demo.networks import SmallResNet
from tests.factories.attacked_models import LessMemoryLater, Linear, OutOfMemory, Wrapped, distances

Images = tuple[torch.Tensor, torch.Tensor]


def _images(model: nn.Module, n: int = 60) -> Images:
    """Images in the middle of the box, so that it does not bind; labels mostly right."""
    images = 0.3 + 0.4 * torch.rand(n, 1, 6, 6, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        logits = model(images)
    labels = logits.argmax(1)
    labels[::10] = (labels[::10] + 1) % logits.shape[1]
    return images, labels


@pytest.mark.long
@pytest.mark.parametrize("norm", ["Linf", pytest.param("L2", marks=pytest.mark.long)])
@pytest.mark.parametrize("classes", [2, 3, 5, 10])
def test_robust_accuracy_of_a_linear_classifier_is_its_closed_form(norm: str, classes: int) -> None:
    model = Linear(classes)
    images, labels = _images(model)
    reach = distances(model, images, labels, norm)
    eps = reach[reach > 0].median().item()
    clear = (reach - eps).abs() > 0.02 * eps  # those on the very edge are decided by rounding
    images, labels, reach = images[clear], labels[clear], reach[clear]
    result = evaluate_robustness(model, images, labels, norm=norm, eps=eps, protocol="standard")
    assert torch.equal(result.survived, reach > eps)
    assert torch.equal(result.correct, reach > 0)
    assert result.robust_accuracy == pytest.approx((reach > eps).float().mean().item())
    assert result.low < result.robust_accuracy < result.high
    assert result.flags == []
    names = [score.attack for score in result.attacks]
    assert names[:4] == ["fgsm", "pgd-20", "cw-20", "apgd-ce"]
    assert names[4:] == {
        2: ["fab-t", "square"],
        3: ["apgd-dlr", "fab-t", "square"],
    }.get(classes, ["apgd-t", "fab-t", "square"])
    assert len([note for note in result.notes if "targets instead" in note]) == (
        0 if classes == 10 else 1 if classes < 4 else 2
    )


def _standard_of(name: str) -> Attack:
    return next(attack for attack in PROTOCOLS["standard"].attacks if attack.name == name)


@pytest.mark.long
@pytest.mark.parametrize("name", [attack.name for attack in PROTOCOLS["standard"].attacks])
def test_each_attack_alone_breaks_a_linear_classifier(name: str) -> None:
    """No attack hides behind another: alone, each breaks most of what is breakable, and nothing that is not."""
    model = Linear(5)
    images, labels = _images(model)
    reach = distances(model, images, labels, "Linf")
    eps = reach[reach > 0].quantile(0.7).item()
    alone = Protocol("alone", 60, (_standard_of(name),), "one attack")
    result = evaluate_robustness(model, images, labels, norm="Linf", eps=eps, protocol=alone)
    breakable = (reach > 0) & (reach < 0.8 * eps)
    assert breakable.sum() > 10
    assert result.survived[reach > 1.01 * eps].all()
    assert (~result.survived[breakable]).float().mean() > (0.75 if name == "square" else 0.9)  # Square sees no gradient


def test_the_cascade_runs_each_attack_on_what_stands() -> None:
    model = Linear(5)
    images, labels = _images(model)
    result = evaluate_robustness(model, images, labels, norm="Linf", eps=0.05, protocol="standard")
    standing = int(result.correct.sum())
    for score in result.attacks:
        assert score.n == standing
        standing -= score.broken
        assert score.robust_accuracy == standing / 60
        assert result.robust_accuracy <= score.robust_accuracy
    assert standing == int(result.survived.sum())
    assert not (result.survived & ~result.correct).any()


@pytest.mark.long
@pytest.mark.parametrize("norm", ["Linf", pytest.param("L2", marks=pytest.mark.long)])
def test_verdicts_do_not_depend_on_the_batch_size(norm: str) -> None:
    torch.manual_seed(0)
    model = SmallResNet().double()
    images = torch.rand(40, 1, 28, 28, dtype=torch.float64)
    labels = model.eval()(images).argmax(1)
    gradient = Protocol("gradient", 40, PROTOCOLS["standard"].attacks[:3], "our own attacks")
    eps = 0.002 if norm == "Linf" else 0.02
    results = [
        evaluate_robustness(model, images, labels, norm=norm, eps=eps, protocol=gradient, batch_size=size)
        for size in (1, 7, 64)
    ]
    assert 0 < results[0].robust_accuracy < 1
    for name in ("survived", "predicted", "broken_at"):
        assert all(torch.equal(getattr(results[0], name), getattr(other, name)) for other in results[1:])


@pytest.mark.long
def test_a_sample_keeps_its_noise_in_another_subset() -> None:
    torch.manual_seed(0)
    model = SmallResNet().double()
    images = torch.rand(30, 1, 28, 28, dtype=torch.float64)
    labels = model.eval()(images).argmax(1)
    settings = {"norm": "Linf", "eps": 0.002, "protocol": "quick"}
    whole = evaluate_robustness(model, images, labels, **settings)
    part = evaluate_robustness(model, images[10:], labels[10:], indices=range(10, 30), **settings)
    assert torch.equal(whole.survived[10:], part.survived)


def test_a_rerun_reproduces_and_touches_no_generator() -> None:
    model = Linear(5)
    images, labels = _images(model)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = evaluate_robustness(model, images, labels, norm="Linf", eps=0.05, protocol="standard", seed=3)
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(7)
    second = evaluate_robustness(model, images, labels, norm="Linf", eps=0.05, protocol="standard", seed=3)
    assert torch.equal(first.survived, second.survived)
    assert [score.broken for score in first.attacks] == [score.broken for score in second.attacks]


@pytest.mark.slow
def test_mode_buffers_and_parameters_are_left_alone() -> None:
    model = SmallResNet().train()
    before = copy.deepcopy(model.state_dict())
    images, labels = torch.rand(8, 1, 28, 28), torch.zeros(8, dtype=torch.int64)
    evaluate_robustness(model, images, labels, norm="Linf", eps=0.01, protocol="standard")
    assert model.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


@pytest.mark.long
@pytest.mark.parametrize(
    ("fault", "protocol", "flag"),
    [
        ("saturated", "quick", "zero_gradients"),
        ("quantized", "quick", "zero_gradients"),
        ("softmax", "quick", "softmax_output"),
        ("random", "quick", "randomized"),
        ("offset", "quick", "randomized"),
        ("detached", "quick", "zero_gradients"),
        ("quantized", "standard", "square_beats_gradients"),
        ("detached", "standard", "square_beats_gradients"),
    ],
)
def test_flags(fault: str, protocol: str, flag: str) -> None:
    model = Wrapped(fault)
    images, labels = _images(model.inner, 100)
    result = evaluate_robustness(model, images, labels, norm="Linf", eps=0.1, protocol=protocol)
    assert flag in result.flags


def test_a_healthy_model_has_no_flags() -> None:
    model = Wrapped("none")
    images, labels = _images(model.inner)
    result = evaluate_robustness(model, images, labels, norm="Linf", eps=0.05, protocol="standard")
    assert result.flags == []
    assert result.notes == [
        "apgd-t with 4 targets instead of 9: 5 classes",
        "fab-t with 4 targets instead of 9: 5 classes",
    ]


class _Wall(nn.Module):
    """Linear at the images and at the corners of their eps-boxes; between them constant, with its gradient reversed.

    One step of eps from the image lands on a corner and breaks it; small steps from anywhere else are led away.
    """

    def __init__(self, images: torch.Tensor, eps: float) -> None:
        super().__init__()
        self.inner, self.centres, self.eps = Linear(5), images, eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        centre = self.centres[torch.cdist(x.flatten(1), self.centres.flatten(1), p=torch.inf).argmin(1)]
        moved = (x - centre).abs().flatten(1)
        honest = (moved.amax(1) < 1e-7) | (moved.amin(1) > 0.999 * self.eps)
        reversed_ = self.inner(2 * centre - x)
        between = self.inner(centre) + reversed_ - reversed_.detach()
        return torch.where(honest[:, None], self.inner(x), between)


def test_more_steps_weaker_flags_a_wall() -> None:
    images, labels = _images(Linear(5), 60)
    labels = Linear(5)(images).argmax(1)
    result = evaluate_robustness(_Wall(images, 0.1), images, labels, norm="Linf", eps=0.1, protocol="quick")
    assert "more_steps_weaker" in result.flags


def test_randomized_models_get_eot_attacks_and_say_so() -> None:
    model = Wrapped("random")
    images, labels = _images(model.inner, 10)
    result = evaluate_robustness(model, images, labels, norm="Linf", eps=0.02, protocol="standard")
    assert [score.attack for score in result.attacks][-2:] == ["apgd-ce", "apgd-dlr"]
    assert result.attacks[-1].parameters["eot"] == 20
    assert any("EOT" in note for note in result.notes)


def test_out_of_memory_halves_the_batch_and_any_other_error_does_not() -> None:
    model = OutOfMemory(limit=9)
    images, labels = _images(model.inner)
    expected = evaluate_robustness(model.inner, images, labels, norm="Linf", eps=0.05, protocol="quick")
    result = evaluate_robustness(model, images, labels, norm="Linf", eps=0.05, protocol="quick", batch_size=32)
    assert result.batch_size == 8
    assert torch.equal(result.survived, expected.survived)
    assert any("out of memory" in note for note in result.notes)
    with pytest.raises(torch.OutOfMemoryError):
        evaluate_robustness(OutOfMemory(0), images, labels, norm="Linf", eps=0.05, protocol="quick")


@pytest.mark.parametrize("passes", [1, 2, 5])
def test_out_of_memory_in_the_checks_of_the_model_halves_the_batch_too(passes: int) -> None:
    images, labels = _images(Linear(5), 32)
    expected = evaluate_robustness(Linear(5), images, labels, norm="Linf", eps=0.05, protocol="quick")
    model = LessMemoryLater(9, passes)
    result = evaluate_robustness(model, images, labels, norm="Linf", eps=0.05, protocol="quick", batch_size=32)
    assert result.batch_size == 8
    assert torch.equal(result.survived, expected.survived)
    assert result.flags == []
    notes = [note for note in result.notes if note.startswith("out of memory")]
    assert notes == [f"out of memory: batch size {size} from {_halving(passes)} on" for size in (16, 8)]


def _halving(passes: int) -> str:
    """What runs out of memory after so many passes over all images: one for the logits, four to repeat it."""
    return "repeated passes" if passes < 5 else "gradients"


def test_the_flags_of_halved_batches_are_about_batches_of_that_size() -> None:
    images, labels = _images(Linear(5), 32)
    model = LessMemoryLater(9, 2, lambda logits: logits - logits.mean(0))
    result = evaluate_robustness(model, images, labels, norm="Linf", eps=0.05, protocol="quick", batch_size=32)
    assert "batch_dependent" in result.flags
    assert "randomized" not in result.flags  # its logits in batches of 32 and of 8 differ


@pytest.mark.parametrize(("limit", "fits"), [(1, 1), (3, 2)])
def test_memory_for_one_image_or_a_few_is_enough(limit: int, fits: int) -> None:
    model = OutOfMemory(limit)
    images, labels = _images(model.inner, 12)
    expected = evaluate_robustness(model.inner, images, labels, norm="Linf", eps=0.05, protocol="quick")
    for size in (1, 8):
        result = evaluate_robustness(model, images, labels, norm="Linf", eps=0.05, protocol="quick", batch_size=size)
        assert result.batch_size == min(size, fits)
        assert torch.equal(result.survived, expected.survived)
        assert result.flags == []


class _Cheat(nn.Module):
    """Makes an attack that leaves the budget look like a success."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([10 * x.mean((1, 2, 3)), torch.full((len(x),), 5.0)], 1)


def test_what_leaves_the_budget_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = torch.full((4, 1, 2, 2), 0.6), torch.zeros(4, dtype=torch.int64)
    monkeypatch.setattr("auditor.attacks.attacker.pgd", lambda model, images, loss, **_: images * 0)  # noqa: ARG005
    result = evaluate_robustness(_Cheat(), images, labels, norm="Linf", eps=0.05, protocol="quick")
    assert result.robust_accuracy == 1
    assert "pgd-20: 4 out of budget, not counted" in result.notes
    assert result.flags == ["out_of_budget"]


def test_nothing_correct_is_no_accident() -> None:
    model = Linear(5)
    images, labels = _images(model)
    with torch.no_grad():
        labels = model(images).argmin(1)
    result = evaluate_robustness(model, images, labels, norm="Linf", eps=0.05, protocol="quick")
    assert (result.clean_accuracy, result.robust_accuracy) == (0, 0)
    assert result.low == 0


GOOD = {"norm": "Linf", "eps": 0.1, "protocol": "quick"}


@pytest.mark.parametrize(
    ("images", "labels", "changes", "message"),
    [
        (torch.rand(3, 1, 6, 6) * 2, torch.zeros(3).long(), {}, r"images in \[0, 1\]"),
        (torch.rand(3, 1, 6, 6) - 1, torch.zeros(3).long(), {}, r"images in \[0, 1\]"),
        (torch.full((3, 1, 6, 6), torch.nan), torch.zeros(3).long(), {}, r"images in \[0, 1\]"),
        (torch.zeros(3, 1, 4, 4, dtype=torch.uint8), torch.zeros(3).long(), {}, "floating point"),
        (torch.rand(3, 1, 6, 6).half(), torch.zeros(3).long(), {}, "float32 or float64"),
        (torch.rand(3, 1, 6, 6), torch.zeros(3).long(), {"seed": -1}, "seed"),
        (torch.rand(3, 16), torch.zeros(3).long(), {}, r"\(N, C, H, W\)"),
        (torch.rand(0, 1, 6, 6), torch.zeros(0).long(), {}, r"\(N, C, H, W\)"),
        (torch.rand(3, 1, 6, 6), torch.zeros(2).long(), {}, "int64 labels"),
        (torch.rand(3, 1, 6, 6), torch.zeros(3), {}, "int64 labels"),
        (torch.rand(3, 1, 6, 6), torch.tensor([0, 1, 5]), {}, "labels from 0 to 4"),
        (torch.rand(3, 1, 6, 6), torch.tensor([0, 1, -1]), {}, "labels from 0 to 4"),
        (torch.rand(3, 1, 6, 6), torch.zeros(3).long(), {"norm": "L3"}, "Linf or L2 or L1"),
        (torch.rand(3, 1, 6, 6), torch.zeros(3).long(), {"eps": 0}, "eps"),
        (torch.rand(3, 1, 6, 6), torch.zeros(3).long(), {"eps": 8}, "eps"),
        (torch.rand(3, 1, 6, 6), torch.zeros(3).long(), {"batch_size": 0}, "batch size"),
    ],
)
def test_bad_input(images: torch.Tensor, labels: torch.Tensor, changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        evaluate_robustness(Linear(5), images, labels, **(GOOD | changes))


def test_models_that_give_nan_are_refused() -> None:
    with pytest.raises(InputError, match="finite logits"):
        evaluate_robustness(Wrapped("nan"), torch.rand(3, 1, 6, 6), torch.zeros(3).long(), **GOOD)


def test_unknown_protocol() -> None:
    with pytest.raises(InputError, match="quick, standard, strong, full"):
        evaluate_robustness(Linear(5), torch.rand(3, 1, 6, 6), torch.zeros(3).long(), **(GOOD | {"protocol": "best"}))


def test_a_protocol_whose_iterations_the_library_does_not_run_is_refused() -> None:
    wrong = dataclasses.replace(_standard_of("apgd-ce"), parameters={"iterations": 7, "restarts": 1})
    images, labels = _images(Linear(5))
    with pytest.raises(ValueError, match="100 iterations"):
        evaluate_robustness(
            Linear(5), images, labels, norm="Linf", eps=0.01, protocol=Protocol("own", 60, (wrong,), "")
        )


def test_models_that_work_on_their_input_in_place() -> None:
    images, labels = _images(Linear(5))
    expected = evaluate_robustness(Wrapped("none"), images, labels, norm="Linf", eps=0.05, protocol="standard")
    kept = images.clone()
    found = evaluate_robustness(Wrapped("in place"), images, labels, norm="Linf", eps=0.05, protocol="standard")
    assert torch.equal(kept, images)
    assert int((found.survived != expected.survived).sum()) <= 1
    assert found.flags == []


def test_models_that_write_buffers_get_them_back() -> None:
    model = Wrapped("counting")
    images, labels = _images(model.inner)
    evaluate_robustness(model, images, labels, norm="Linf", eps=0.05, protocol="quick")
    assert model.calls == 0


def test_the_attack_library_runs_what_the_protocol_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """What each of pyautoattack's attacks is set to when it runs, against its own standard and rand versions."""
    seen = []
    for kind in (APGDAttack, APGDAttack_targeted, FABAttack_PT, SquareAttack):

        def spy(self: object, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:  # noqa: ARG001
            seen.append(vars(self) | {"kind": type(self)})
            return x

        monkeypatch.setattr(kind, "perturb", spy)
    model = Linear(12)
    images, labels = _images(model)
    evaluate_robustness(model, images, labels, norm="Linf", eps=1e-6, protocol="standard", seed=11)
    common = ("kind", "norm", "n_restarts", "seed")
    both = [
        ("loss", "n_iter", "eot_iter", "eps", "thr_decr"),
        ("loss", "n_iter", "eot_iter", "eps", "thr_decr", "n_target_classes"),
        ("targeted", "n_iter", "eps", "alpha_max", "eta", "beta", "n_target_classes"),
        ("n_queries", "eps", "p_init"),
    ]
    theirs = AutoAttack(model, norm="Linf", eps=1e-6, seed=11, version="standard")
    theirs.apgd.loss, theirs.fab.targeted = "ce", True
    for part in (theirs.apgd, theirs.apgd_targeted, theirs.fab, theirs.square):
        part.seed = 11
    parts = [theirs.apgd, theirs.apgd_targeted, theirs.fab, theirs.square]
    assert len(seen) == 4
    for found, part, names in zip(seen, parts, both, strict=True):
        for name in (*common, *names):
            assert issubclass(found[name], type(part)) if name == "kind" else found[name] == getattr(part, name), name
    seen.clear()
    random = Wrapped("random")
    images, labels = _images(random.inner)
    evaluate_robustness(random, images, labels, norm="Linf", eps=1e-6, protocol="standard")
    rand = AutoAttack(random, norm="Linf", eps=1e-6, version="rand")
    assert [(found["loss"], found["eot_iter"], found["n_restarts"]) for found in seen] == [
        ("ce", rand.apgd.eot_iter, rand.apgd.n_restarts),
        ("dlr", rand.apgd.eot_iter, rand.apgd.n_restarts),
    ]
