"""Protocol `strong`: what it finds, what it does not depend on, what it costs, and what it says of what it left out."""

from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
from scipy.stats import hypergeom
from torch import nn

from auditor.attacks import PROTOCOLS, Protocol, evaluate_robustness
from auditor.attacks.ascent import ascend
from auditor.attacks.gradient import margin
from auditor.attacks.norms import LINF
from auditor.attacks.protocols import Attack
from auditor.attacks.search import measure_lack, rank_targets
from auditor.attacks.selection import draw_part, most_broken, smallest_part
from auditor.audit.timing import passes
from auditor.data.fashion_mnist import load_split
from auditor.records.protocols import ProtocolName
from auditor.zoo.demo import DemoZoo
from auditor.zoo.demo.networks import SmallResNet
from tests.factories.attacked_models import Linear, Wrapped, distances

STRONG = PROTOCOLS["strong"]
FEW = {"iterations": 5, "targets": 3, "explore": 0.5, "explore_iterations": 3, "pairs": 2, "rounds": [[0.5, 2]]}


def _short() -> Protocol:
    """The protocol with a short search, and without FAB and a long Square."""
    square = replace(STRONG.attacks[4], parameters={**STRONG.attacks[4].parameters, "queries": 20, "share": 0.3})
    return Protocol("short", 40, (*STRONG.attacks[:2], Attack("search", "search", FEW), square), "")


def _images(model: nn.Module, n: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    images = 0.3 + 0.4 * torch.rand(n, 1, 6, 6, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        return images, model(images).argmax(1)


def test_every_protocol_is_in_the_table_of_names() -> None:
    assert tuple(PROTOCOLS) == get_args(ProtocolName)


@pytest.mark.parametrize("norm", ["Linf", "L2"])
@pytest.mark.parametrize("classes", [2, 3, 5])
def test_robust_accuracy_of_a_linear_classifier_is_its_closed_form(norm: str, classes: int) -> None:
    model = Linear(classes)
    images, labels = _images(model, 24)
    reach = distances(model, images, labels, norm)
    eps = reach.median().item()
    clear = (reach - eps).abs() > 0.02 * eps
    images, labels, reach = images[clear], labels[clear], reach[clear]
    protocol = Protocol("search", None, STRONG.attacks[:3], "")
    result = evaluate_robustness(model, images, labels, norm=norm, eps=eps, protocol=protocol)
    assert torch.equal(result.survived, reach > eps)
    assert result.flags == []


def test_the_lack_of_a_linear_classifier_is_its_distance() -> None:
    model = Linear(5)
    images, labels = _images(model)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    reach = distances(model, images, labels, "Linf")
    lack = measure_lack(model, images, lambda logits: margin(labels)(logits), LINF, 0.5)
    nearest = rank_targets(model, images, labels, LINF, 9)[:, 0]
    margins = model(images).gather(1, labels[:, None]) - model(images)
    sizes = (model.weight[labels][:, None] - model.weight[None]).abs().sum(2)
    assert (lack >= reach.double() / 0.5 - 1e-4).all()  # the margin's class need not be the nearest
    assert torch.equal(nearest, (margins / sizes.clamp_min(1e-9)).scatter(1, labels[:, None], torch.inf).argmin(1))


@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_verdicts_depend_on_the_sample_alone(norm: str) -> None:
    """Another batch size, another order and another set of samples change no verdict, in float64."""
    torch.manual_seed(0)
    model = SmallResNet().double()
    images = torch.rand(24, 1, 28, 28, dtype=torch.float64)
    labels = model.eval()(images).argmax(1)
    given: dict[str, Any] = {"norm": norm, "eps": 0.002 if norm == "Linf" else 0.02, "protocol": _short(), "seed": 2}
    first = evaluate_robustness(model, images, labels, batch_size=24, **given)
    assert 0 < first.robust_accuracy < 1
    again = evaluate_robustness(model, images, labels, batch_size=5, **given)
    assert torch.equal(first.survived, again.survived)
    assert torch.equal(first.predicted, again.predicted)
    order = torch.arange(23, 7, -1)
    part = evaluate_robustness(model, images[order], labels[order], indices=order.tolist(), batch_size=7, **given)
    assert torch.equal(first.survived[order], part.survived)


class _Saved:
    def __init__(self, state: bytes | None = None) -> None:
        self.state, self.states = state, []

    def load(self) -> bytes | None:
        return self.state

    def save(self, state: bytes) -> None:
        self.states.append(state)


def test_a_resumed_run_ends_as_one_in_one_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auditor.attacks.progress.SAVE_SECONDS", 0.0)
    model = Linear(5)
    images, labels = _images(model)
    given: dict[str, Any] = {"norm": "Linf", "eps": 0.03, "protocol": _short(), "batch_size": 13}
    saved = _Saved()
    expected = evaluate_robustness(model, images, labels, saved=saved, **given)
    assert 0 < expected.robust_accuracy < 1
    assert len(saved.states) > 8
    for state in saved.states:
        result = evaluate_robustness(model, images, labels, saved=_Saved(state), **given)
        assert torch.equal(result.survived, expected.survived)
        assert torch.equal(result.broken_at, expected.broken_at)
        assert (result.notes, result.left_out) == (expected.notes, expected.left_out)
        scores = [[replace(score, seconds=0) for score in one.attacks] for one in (result, expected)]
        assert scores[0] == scores[1]


def _demo(name: str, n: int, first: int = 0) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    zoo = DemoZoo()
    model = zoo.load(next(entry for entry in zoo.entries() if entry.model == f"demo:{name}")).model
    pixels, numbers = load_split("test")
    chosen = slice(first, first + n)
    images = torch.from_numpy(pixels[chosen].copy()).unsqueeze(1).float() / 255
    return model, images, torch.from_numpy(numbers[chosen])


@pytest.mark.slow
def test_nothing_is_rated_above_standard() -> None:
    model, images, labels = _demo("trades-eps0.10", 12, 500)
    survivors = [
        evaluate_robustness(model, images, labels, norm="Linf", eps=0.1, protocol=protocol).survived
        for protocol in ("strong", "standard")
    ]
    assert not (survivors[0] & ~survivors[1]).any()


@pytest.mark.slow
def test_a_masked_model_is_not_overrated() -> None:
    model, images, labels = _demo("saturated", 40)
    result = evaluate_robustness(model, images, labels, norm="Linf", eps=0.1, protocol="strong")
    assert result.robust_accuracy == 0


@pytest.mark.parametrize("fault", ["quantized", "detached"])
def test_without_gradients_square_runs_on_every_survivor(fault: str) -> None:
    """No lack says that these samples are far, so none is left out. The row is flagged, as under `standard`."""
    model = Wrapped(fault)
    images, labels = _images(model.inner, 100)
    protocol = Protocol("strong", None, (*STRONG.attacks[:3], STRONG.attacks[4]), "")
    result = evaluate_robustness(model, images, labels, norm="Linf", eps=0.1, protocol=protocol)
    assert "zero_gradients" in result.flags
    if fault == "detached":  # of the quantized model the search breaks all, from its random starts
        assert "square_beats_gradients" in result.flags
    else:
        assert result.robust_accuracy == 0
    assert result.left_out is not None
    assert result.left_out.rest == 0


def test_a_break_in_the_random_part_makes_square_run_on_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that calls everything far is found out by Square."""
    model = Linear(5)
    images, labels = _images(model, 60)
    lazy = Attack("search", "search", {**FEW, "iterations": 1, "explore": 0.0, "rounds": []})
    square = replace(STRONG.attacks[4], parameters={**STRONG.attacks[4].parameters, "nearer_than": 0.0, "share": 0.3})
    rest = replace(square, name="square-rest", parameters={**square.parameters, "rest_of": True})
    monkeypatch.setattr("auditor.attacks.search.Search.run", lambda self, _: self.lack.fill_(1.0))
    result = evaluate_robustness(
        model, images, labels, norm="Linf", eps=0.1, protocol=Protocol("own", None, (lazy, square, rest), "")
    )
    scores = {score.attack: score for score in result.attacks}
    assert scores["square"].broken > 0
    assert scores["square"].n + scores["square-rest"].n == 60
    assert "square_beats_gradients" in result.flags
    assert any("ran on all samples: they broke" in note for note in result.notes)


@pytest.mark.parametrize(("drawn", "rest"), [(0, 10), (1, 9), (20, 80), (44, 350), (81, 570), (30, 0)])
@pytest.mark.parametrize("broken", [0, 1])
def test_the_bound_is_the_hypergeometric_one(drawn: int, rest: int, broken: int) -> None:
    if broken > drawn:
        return
    plausible = [
        further
        for further in range(rest + 1)
        if hypergeom(drawn + rest, broken + further, drawn).cdf(broken) >= 0.05 - 1e-12
    ]
    assert most_broken(drawn, broken, rest) == max(plausible)


def test_the_bound_holds_in_19_of_20_draws() -> None:
    """60 of 400 can be broken; parts drawn by sample number contradict it as rarely as they should."""
    breakable, settings, missed = torch.arange(400) < 60, {"share": 0.125}, 0
    for seed in range(300):
        part = draw_part(settings, torch.arange(400), seed, torch.ones(400, dtype=torch.bool), 400)
        seen = int((part & breakable).sum())
        missed += most_broken(int(part.sum()), seen, int((~part).sum())) < 60 - seen
    assert missed <= 300 * 0.05 + 12


@pytest.mark.parametrize(("far", "n"), [(0, 10), (16, 16), (75, 100), (140, 200), (25, 500), (400, 500), (9000, 10000)])
def test_the_random_part_is_as_large_as_the_bound_needs(far: int, n: int) -> None:
    """Without a break in it, at most a tenth of all samples can be broken among the rest; one fewer is too few."""
    numbers, settings = torch.arange(n).flip(0), {"share": 0.0, "left_out_at_most": 0.1}
    chosen = torch.arange(n) % n < far
    part = draw_part(settings, numbers, 3, chosen, n)
    drawn = int(part.sum())
    assert not (part & ~chosen).any()
    assert most_broken(drawn, 0, far - drawn) <= 0.1 * n
    assert drawn == 0 or most_broken(drawn - 1, 0, far - drawn + 1) > 0.1 * n
    order = torch.randperm(n, generator=torch.Generator().manual_seed(1))
    assert torch.equal(draw_part(settings, numbers[order], 3, chosen[order], n), part[order])


class _Counted(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.gradients, self.forwards = model, 0, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.requires_grad:
            self.gradients += len(x)
        else:
            self.forwards += len(x)
        return self.model(x)


def test_an_ascent_takes_as_many_gradients_as_it_has_iterations() -> None:
    model = _Counted(Linear(5).requires_grad_(False))
    images, labels = _images(model, 10)
    end = ascend(
        model, images, labels, lambda rows: margin(labels[rows]), norm=LINF, eps=1e-6, iterations=7, start=images
    )
    assert not end.broken.any()
    assert model.gradients == 70


def test_the_passes_of_a_search_are_those_that_the_estimate_counts() -> None:
    """On samples that nothing breaks and that all lack too little to be left out."""
    model = _Counted(Linear(5))
    images, labels = _images(model, 10)
    every: dict[str, Any] = {"iterations": 5, "targets": 4, "explore": 1e9, "explore_iterations": 3, "pairs": 3}
    every["rounds"] = [[1e9, 4]]
    attack = Attack("search", "search", every)
    images, labels = images[:8], labels[:8]
    none = evaluate_robustness(model, images, labels, norm="Linf", eps=1e-6, protocol=Protocol("none", 8, (), ""))
    before = model.gradients
    model.gradients = 0
    result = evaluate_robustness(model, images, labels, norm="Linf", eps=1e-6, protocol=Protocol("s", 8, (attack,), ""))
    assert torch.equal(none.survived, result.survived)
    most = passes((attack,), around=False)[0]
    assert most - 4 // 2 * 5 * 2 <= (model.gradients - before) / 8 <= most  # half of the rounds have no diverse start


def test_the_bound_of_a_large_data_set_is_a_number() -> None:
    """Binomial coefficients of thousands are larger than any float."""
    assert most_broken(drawn=800, broken=0, rest=9200) == 35


def test_of_few_images_most_are_drawn() -> None:
    """Nothing is near the boundary; of 16 images one may be in doubt at most."""
    model = Linear(5)
    images, labels = _images(model, 16)
    result = evaluate_robustness(model, images, labels, norm="Linf", eps=1e-6, protocol="strong", seed=2)
    assert result.left_out is not None
    assert (result.left_out.near, result.left_out.broken, result.left_out.at_most) == (0, 0, 1)
    attacked = {score.attack: score.n for score in result.attacks}
    assert attacked["fab-t"] == attacked["square"] == result.left_out.drawn == smallest_part(16, 1.6)
    assert "fab-t-rest" not in attacked
