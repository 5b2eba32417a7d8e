"""Protocol `strong`: what it finds, what it does not depend on, what it costs, and what it says of what it left out."""

import json
import zlib
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import betabinom, hypergeom
from torch import nn

from auditor.attacks import PROTOCOLS, Protocol, evaluate_robustness
from auditor.attacks.ascent import ascend
from auditor.attacks.gradient import margin
from auditor.attacks.norms import LINF, NORMS, L2Norm
from auditor.attacks.protocols import Attack
from auditor.attacks.search import measure_lack, rank_targets
from auditor.attacks.selection import EXPECTED, choose_size, most_broken, order_far, smallest_part
from auditor.audit.timing import passes
from auditor.data.fashion_mnist import load_split
from auditor.records.protocols import ProtocolName
from auditor.zoo.demo import DemoZoo
from auditor.zoo.demo.networks import SmallResNet
from tests.factories.attacked_models import Linear, Threshold, Wrapped, distances

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


@pytest.mark.long
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


@pytest.mark.long
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


@pytest.mark.long
@settings(max_examples=8, deadline=None)
@given(
    st.integers(0, 2**20), st.integers(2, 6), st.sampled_from(["Linf", "L2", "L1"]), st.sampled_from(["quick", "short"])
)
def test_on_any_tiny_network_the_batch_size_changes_nothing(seed: int, classes: int, norm: str, name: str) -> None:
    """Float64; another batch size changes neither a verdict, nor a class, nor what each attack broke, nor the bound.

    Logits spread as a trained network's. Otherwise the outputs may be attacked as squashed ones, which the first batch
    decides.
    """
    torch.manual_seed(seed)
    activation = (nn.ReLU(), nn.Tanh(), nn.Softplus())[seed % 3]
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), activation, nn.AvgPool2d(2), nn.Flatten(), nn.Linear(4 * 4, classes)
    ).double()
    images = torch.rand(20, 1, 6, 6, dtype=torch.float64)
    with torch.no_grad():
        model[-1].weight *= 3 / model(images).std(0).mean()
        labels = model(images).argmax(1)
        scale = {"Linf": 1.0, "L2": 6.0, "L1": 36.0}[norm]
    results = [
        evaluate_robustness(
            model, images, labels, norm=norm, eps=0.05 * scale, seed=seed, batch_size=size,
            protocol=_short() if name == "short" else name,
        )
        for size in (1, 7, 64)
    ]  # fmt: skip
    first = results[0]
    for other in results[1:]:
        for field in ("correct", "survived", "predicted", "broken_at"):
            assert torch.equal(getattr(first, field), getattr(other, field)), field
        assert [(score.attack, score.n, score.broken) for score in first.attacks] == [
            (score.attack, score.n, score.broken) for score in other.attacks
        ]
        assert first.left_out == other.left_out


def test_in_l2_a_pixel_is_found_that_has_no_gradient_in_the_ball(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small changes pass no threshold; one large change breaks the sample, and only wider balls show it."""
    images, labels = torch.full((12, 1, 16, 16), 0.2), torch.zeros(12, dtype=torch.int64)
    protocol = Protocol("search", None, (STRONG.attacks[2],), "")
    given: dict[str, Any] = {"norm": "L2", "eps": 0.45, "protocol": protocol}
    assert evaluate_robustness(Threshold(), images, labels, **given).robust_accuracy < 0.7
    monkeypatch.setattr(L2Norm, "radii", (1.0,))
    assert evaluate_robustness(Threshold(), images, labels, **given).robust_accuracy == 1


class _Saved:
    def __init__(self, state: bytes | None = None) -> None:
        self.state, self.states = state, []

    def load(self) -> bytes | None:
        return self.state

    def save(self, state: bytes) -> None:
        self.states.append(state)


@pytest.mark.long
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


@pytest.mark.long
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


def _misjudging(monkeypatch: pytest.MonkeyPatch, **settings: float) -> Protocol:
    """A search that breaks nothing and calls everything far, then Square."""
    monkeypatch.setattr("auditor.attacks.search.Search.run", lambda self, _: self.lack.fill_(1.0))
    lazy = Attack("search", "search", {**FEW, "iterations": 1, "explore": 0.0, "rounds": []})
    parameters = {**STRONG.attacks[4].parameters, "nearer_than": 0.0, **settings}
    return Protocol("misjudging", None, (lazy, replace(STRONG.attacks[4], parameters=parameters)), "")


def test_where_the_search_misjudges_square_runs_on_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Square breaks so much of the random part that the part grows to all samples."""
    model = Linear(5)
    images, labels = _images(model, 60)
    protocol = _misjudging(monkeypatch, share=0.1, left_out_at_most=0.05)
    result = evaluate_robustness(model, images, labels, norm="Linf", eps=0.1, protocol=protocol)
    alone = Protocol("square", None, (Attack("square", "autoattack", {"queries": 5000, "restarts": 1}),), "")
    everywhere = evaluate_robustness(model, images, labels, norm="Linf", eps=0.1, protocol=alone)
    square = result.attacks[1]
    assert square.n >= 57  # at most 5 % of 60 in doubt
    assert square.broken == int((~result.survived).sum()) == int((result.broken_at == 1).sum()) > 20
    assert abs(square.broken - everywhere.attacks[0].broken) <= 4  # it draws other numbers there
    assert "square_beats_gradients" in result.flags
    assert result.left_out is not None
    assert (result.left_out.broken, result.left_out.rest) == (square.broken, 60 - square.n)


def test_one_break_makes_the_part_a_little_larger(monkeypatch: pytest.MonkeyPatch) -> None:
    """One sample of the first part is broken; the part grows once, to the size for one break, in any batches."""
    model, n = Linear(5), 200
    images, labels = _images(model, n)
    far, first = torch.ones(n, dtype=torch.bool), smallest_part(n, 0.1 * n)
    unlucky = int(order_far(torch.arange(n), 0, far)[first // 2])
    wrong = images[(labels != labels[unlucky]).nonzero().flatten()[:1]]

    def break_one(*arguments: Any, numbers: torch.Tensor, **_: Any) -> torch.Tensor:
        return torch.where((numbers == unlucky).view(-1, 1, 1, 1), wrong, arguments[2])

    monkeypatch.setattr("auditor.attacks.attacker.run_autoattack", break_one)
    protocol = _misjudging(monkeypatch, share=0.0, left_out_at_most=0.1)
    results = [
        evaluate_robustness(model, images, labels, norm="Linf", eps=1.0, protocol=protocol, batch_size=size)
        for size in (200, 7)
    ]
    for result in results:
        second = smallest_part(n, 0.1 * n, broken=1)
        assert first < second < n / 2
        assert (result.attacks[1].n, result.attacks[1].broken) == (second, 1)
        assert result.broken_at[unlucky] == 1
        assert result.attacks[1].robust_accuracy == result.robust_accuracy == (n - 1) / n
        assert result.left_out is not None
        assert (result.left_out.drawn, result.left_out.broken, result.left_out.rest) == (second, 1, n - second)
        assert result.left_out.at_most <= 0.1 * n
    assert results[0].left_out == results[1].left_out


@pytest.mark.long
def test_a_run_resumed_while_the_part_grows_ends_as_one_in_one_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auditor.attacks.progress.SAVE_SECONDS", 0.0)
    model, saved = Linear(5), _Saved()
    images, labels = _images(model, 60)
    protocol = _misjudging(monkeypatch, share=0.1, left_out_at_most=0.2, queries=30)
    given: dict[str, Any] = {"norm": "Linf", "eps": 0.03, "protocol": protocol, "batch_size": 4}
    expected = evaluate_robustness(model, images, labels, saved=saved, **given)
    grown = [state for state in saved.states if len(json.loads(zlib.decompress(state))["drawn"]) > 1]
    assert len(grown) > 3
    for state in grown:
        result = evaluate_robustness(model, images, labels, saved=_Saved(state), **given)
        assert torch.equal(result.broken_at, expected.broken_at)
        assert (result.notes, result.left_out) == (expected.notes, expected.left_out)
        scores = [[replace(score, seconds=0) for score in one.attacks] for one in (result, expected)]
        assert scores[0] == scores[1]


@pytest.mark.long
@pytest.mark.parametrize(("drawn", "rest"), [(0, 10), (1, 9), (20, 80), (44, 350), (81, 570), (30, 0)])
@pytest.mark.parametrize("broken", [0, 1, 4])
def test_the_bound_is_that_of_prior_and_posterior(drawn: int, rest: int, broken: int) -> None:
    if broken > drawn:
        return
    expected = betabinom(drawn, 1, EXPECTED).pmf(broken) if drawn else 1.0
    plausible = [
        further
        for further in range(rest + 1)
        if hypergeom(drawn + rest, broken + further, drawn).pmf(broken) >= 0.05 * expected * (1 + 1e-9)
    ]
    assert most_broken(drawn, broken, rest) == max(plausible)


@pytest.mark.long
@pytest.mark.parametrize("breakable", [4, 20, 60, 150])
def test_the_bound_holds_in_19_of_20_growing_parts(breakable: int) -> None:
    """Of 400 samples so many can be broken; parts that grow until the bound is small contradict it as rarely as they
    should."""
    settings, missed, grown, runs = {"share": 1 / 12, "left_out_at_most": 0.1}, 0, 0, 400
    generator = np.random.default_rng(breakable)
    for _ in range(runs):
        order = generator.permutation(400)
        size, before = choose_size(settings, 400, 400), -1
        while size > before:
            seen, before = int((order[:size] < breakable).sum()), size
            grown += most_broken(size, seen, 400 - size) > 40
            size = choose_size(settings, 400, 400, seen, size)
        assert most_broken(size, seen, 400 - size) <= 40
        missed += most_broken(size, seen, 400 - size) < breakable - seen
    assert missed <= runs * 0.05 + 3 * (runs * 0.05 * 0.95) ** 0.5
    assert grown > 0


@pytest.mark.parametrize(("far", "n"), [(0, 10), (16, 16), (75, 100), (140, 200), (25, 500), (400, 500), (9000, 10000)])
@pytest.mark.parametrize("broken", [0, 2])
def test_the_random_part_is_as_large_as_the_bound_needs(far: int, n: int, broken: int) -> None:
    """At most a tenth of all samples can be broken among the rest; one fewer is too few."""
    broken = min(broken, far)
    size = choose_size({"share": 0.0, "left_out_at_most": 0.1}, far, n, broken)
    assert most_broken(size, broken, far - size) <= 0.1 * n
    assert size == broken or most_broken(size - 1, broken, far - size + 1) > 0.1 * n


def test_the_order_of_the_random_part_is_that_of_the_sample_numbers() -> None:
    numbers, chosen = torch.arange(50).flip(0), torch.arange(50) % 3 > 0
    places = order_far(numbers, 3, chosen)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(1))
    assert sorted(places.tolist()) == chosen.nonzero().flatten().tolist()
    assert torch.equal(numbers[order][order_far(numbers[order], 3, chosen[order])], numbers[places])


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


@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_the_passes_of_a_search_are_those_that_the_estimate_counts(norm: str) -> None:
    """On samples that nothing breaks and that all lack too little to be left out."""
    model = _Counted(Linear(5))
    images, labels = _images(model, 10)
    every: dict[str, Any] = {"iterations": 5, "targets": 4, "explore": 1e9, "explore_iterations": 3, "pairs": 3}
    every["rounds"] = [[1e9, 4]]
    attack = Attack("search", "search", every)
    images, labels = images[:8], labels[:8]
    none = evaluate_robustness(model, images, labels, norm=norm, eps=1e-6, protocol=Protocol("none", 8, (), ""))
    before = model.gradients
    model.gradients = 0
    result = evaluate_robustness(model, images, labels, norm=norm, eps=1e-6, protocol=Protocol("s", 8, (attack,), ""))
    assert torch.equal(none.survived, result.survived)
    most = passes((attack,), norm=NORMS[norm], around=False)[0]
    assert most - 4 // 2 * 5 * 2 <= (model.gradients - before) / 8 <= most  # half of the rounds have no diverse start


def test_the_bound_of_a_large_data_set_is_a_number() -> None:
    """Binomial coefficients of thousands are larger than any float."""
    assert most_broken(drawn=800, broken=0, rest=9200) == 80


@pytest.mark.long
def test_of_few_images_most_are_drawn() -> None:
    """Nothing is near the boundary; of 16 images one may be in doubt at most."""
    model = Linear(5)
    images, labels = _images(model, 16)
    result = evaluate_robustness(model, images, labels, norm="Linf", eps=1e-6, protocol="strong", seed=2)
    assert result.left_out is not None
    assert (result.left_out.near, result.left_out.broken) == (0, 0)
    assert result.left_out.at_most <= 1
    attacked = {score.attack: score.n for score in result.attacks}
    assert attacked["fab-t"] == attacked["square"] == result.left_out.drawn == smallest_part(16, 1.6)
