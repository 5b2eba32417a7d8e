"""``screen`` from the outside: fields, reasons, findings, and that a model is left as it was."""

import importlib
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from auditor.clustering import clustering_scores
from auditor.errors import InputError
from auditor.linear import class_correlation
from auditor.screening import screen
from auditor.screening.constants import Constants, load_constants
from auditor.screening.features import Statistics
from auditor.screening.local import LocalMaps, local_maps
from auditor.screening.masking import margins_at

SIZE = (1, 8, 8)
SUPERCLASSES = ("tree", "tree", "flower", "flower")


def network(classes: int = 4) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(),
        nn.Linear(384, classes),
    )  # fmt: skip


@pytest.mark.parametrize(("norm", "eps"), [("Linf", 0.1), ("L2", 1.0), ("Linf", 2.0)])
def test_a_model_is_screened_alike_twice_and_left_as_it_was(norm: str, eps: float) -> None:
    model = network().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random = torch.get_rng_state()
    one, other = (screen(model, SIZE, SUPERCLASSES, norm=norm, eps=eps, probes=8) for _ in range(2))
    assert one.statistics == other.statistics
    assert one.margin > 0
    assert -2 <= one.local_gap <= 2
    correlation = class_correlation(model.eval(), SIZE).numpy()
    assert one.gap == pytest.approx(clustering_scores(correlation, SUPERCLASSES).gap, abs=1e-5)
    assert not one.findings
    model.train()
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(module.training for module in model.modules())
    assert torch.equal(random, torch.get_rng_state())


@pytest.mark.parametrize("norm", ["Linf", "L2"])
@pytest.mark.parametrize("classes", [4, 101])
def test_the_shipped_constants_give_a_probability_that_falls_with_the_radius(norm: str, classes: int) -> None:
    superclasses = ["a"] * 2 + ["b"] * (classes - 2)
    radii = [factor * (1 if norm == "Linf" else 10) for factor in (1e-3, 0.05, 0.9)]
    model = network(classes)
    scores = [screen(model, SIZE, superclasses, norm=norm, eps=eps, probes=4).score for eps in radii]
    assert 1 > scores[0] > scores[1] > scores[2] > 0
    assert 0 < screen(model, SIZE, None, norm=norm, eps=radii[1], probes=4).score < 1


@pytest.mark.parametrize("many", [False, True])
def test_a_norm_without_constants_has_no_score_and_a_reason(many: bool) -> None:
    score, why = load_constants("L1", many=many).score(Statistics({"margin/confident": 0.1}, 0.1))
    assert math.isnan(score)
    assert why == "no constants are fitted for this norm"


@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_neither_the_scale_nor_an_offset_of_the_logits_matters(norm: str) -> None:
    model = network().double()
    scaled = nn.Sequential(model, Affine(7.0, 3.0)).double()
    one, other = (screen(net, SIZE, SUPERCLASSES, norm=norm, eps=0.1, probes=6) for net in (model, scaled))
    assert other.score == pytest.approx(one.score, rel=1e-5)
    assert other.margin == pytest.approx(one.margin, rel=1e-5)
    assert other.local_gap == pytest.approx(one.local_gap, abs=1e-5)


class Affine(nn.Module):
    """Logits times a number, plus another one."""

    def __init__(self, factor: float, offset: float) -> None:
        super().__init__()
        self.factor, self.offset = factor, offset

    def forward(self, z: Tensor) -> Tensor:
        return self.factor * z + self.offset


@pytest.mark.parametrize("superclasses", [None, ("a",) * 4, ("a", "b", "c", "d")])
def test_without_a_hierarchy_gaps_are_unknown_and_margins_are_not(superclasses: tuple[str, ...] | None) -> None:
    found = screen(network(), SIZE, superclasses, norm="Linf", eps=0.1, probes=4)
    assert math.isnan(found.gap)
    assert math.isnan(found.local_gap)
    assert {"gap", "local_gap"} <= set(found.reasons)
    assert found.margin > 0


def test_many_classes_have_margins_and_no_local_gap() -> None:
    found = screen(network(101), SIZE, ["a"] * 50 + ["b"] * 51, norm="Linf", eps=0.1, probes=4)
    assert found.margin > 0
    assert math.isnan(found.local_gap)
    assert found.reasons["local_gap"] == "more than 100 classes"
    assert math.isfinite(found.gap)


class Quantized(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x.flatten(1)[:, :4] * 4).round()


class Detached(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.detach().flatten(1)[:, :4]


class Broken(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :4] / 0 - 1 / (x.flatten(1)[:, :4] * 0)


class InfiniteSlope(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        z = x.flatten(1)[:, :4]
        return torch.cat([z[:, :3], (z[:, 3:] * 0).sqrt() + 2], 1)


@pytest.mark.parametrize(
    ("model", "finding"),
    [
        (Quantized(), "zero_gradients"), (Detached(), "zero_gradients"), (Broken(), "nonfinite_logits"),
        (InfiniteSlope(), "nonfinite_gradients"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)  # fmt: skip
def test_gradients_that_say_nothing_are_findings(model: nn.Module, finding: str) -> None:
    found = screen(model, SIZE, SUPERCLASSES, norm="Linf", eps=0.1, probes=4)
    assert finding in found.findings
    assert math.isnan(found.margin)
    assert math.isnan(found.score)
    assert {"margin", "score"} <= set(found.reasons)


def test_a_model_in_double_precision_is_screened_too() -> None:
    one = screen(network(), SIZE, SUPERCLASSES, norm="L2", eps=1.0, probes=6)
    other = screen(network().double(), SIZE, SUPERCLASSES, norm="L2", eps=1.0, probes=6)
    assert other.margin == pytest.approx(one.margin, rel=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"norm": "L1"}, "Linf or L2"), ({"eps": 0.0}, "above 0"), ({"eps": math.inf}, "above 0"),
        ({"eps": math.nan}, "above 0"), ({"probes": 0}, "at least 1"), ({"superclasses": ("a", "b")}, "2 for 4"),
        ({"input_size": (8, 8)}, "input size"), ({"input_size": (1, 8, 0)}, "input size"),
    ],
)  # fmt: skip
def test_arguments_that_make_no_sense_are_refused(arguments: dict[str, object], message: str) -> None:
    usual = {"input_size": SIZE, "superclasses": SUPERCLASSES, "norm": "Linf", "eps": 0.1, "probes": 2}
    with pytest.raises(InputError, match=message):
        screen(network(), **(usual | arguments))  # type: ignore[arg-type]


def test_a_single_logit_is_no_classifier() -> None:
    with pytest.raises(InputError, match="two or more classes"):
        screen(network(1), SIZE, None, norm="Linf", eps=0.1)


def test_the_score_grows_with_each_feature_and_says_why_it_is_unknown() -> None:
    constants = Constants(0.5, (("margin/confident", -1.0, 2.0, 1.5), ("local_gap/confident", 0.2, 0.1, 0.7)))
    values = {"margin/confident": 0.1, "local_gap/confident": 0.4}
    score, why = constants.score(Statistics(values, eps=0.1))
    assert score == pytest.approx(1 / (1 + math.exp(-(0.5 + 1.5 * 0.5 + 0.7 * 2))))
    assert not why
    assert constants.score(Statistics(values | {"margin/confident": 0.2}, 0.1))[0] > score
    assert constants.score(Statistics(values, 0.2))[0] < score
    without_gap, _ = constants.score(Statistics(values | {"local_gap/confident": math.nan}, 0.1))
    assert without_gap == pytest.approx(1 / (1 + math.exp(-(0.5 + 1.5 * 0.5))))
    nothing, why = constants.score(Statistics({"local_gap/confident": 0.4}, 0.1))
    assert math.isnan(nothing)
    assert why
    nothing, why = Constants().score(Statistics(values, 0.1))
    assert math.isnan(nothing)
    assert why


@pytest.mark.parametrize(("classes", "probes"), [(2, 32), (10, 32), (20, 16), (43, 8), (100, 8), (101, 8)])
def test_more_classes_are_screened_with_fewer_probes(
    classes: int, probes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = []

    def counted(model: nn.Module, images: Tensor, *args: Any, **options: Any) -> LocalMaps:
        counts.append(len(images))
        return local_maps(model, images, *args, **options)

    monkeypatch.setattr(importlib.import_module("auditor.screening.score"), "local_maps", counted)
    screen(network(classes), SIZE, None, norm="Linf", eps=0.1)
    assert set(counts) == {probes}


class SwitchesOff(nn.Module):
    """Leaves gradients off behind it."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.inner(images)
        torch.set_grad_enabled(False)
        return logits


def test_modes_of_the_caller_and_of_the_model_change_no_number() -> None:
    plain = nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.ReLU(), nn.Linear(8, 4)).eval()
    images = torch.rand(3, 3, 4, 4)

    def measured(model: nn.Module) -> tuple[object, ...]:
        found = screen(model, (3, 4, 4), ["a", "a", "b", "b"], norm="Linf", eps=0.03)
        return found.margin, found.local_gap, found.findings, margins_at(model, images, "L2").tolist()

    expected = measured(plain)
    assert expected[2] == ()
    before = torch.get_default_dtype()
    try:
        for mode in (torch.no_grad, torch.inference_mode):
            with mode():
                assert measured(plain) == expected
        torch.set_grad_enabled(False)
        torch.set_default_dtype(torch.float64)
        assert measured(plain) == expected
    finally:
        torch.set_grad_enabled(True)
        torch.set_default_dtype(before)
    assert measured(SwitchesOff(plain).eval()) == expected
    assert torch.is_grad_enabled()
