"""The whole of it on tiny data: what is measured on what, repeatably, and one line for what does not fit together."""

import dataclasses

import pytest
import torch
from torch import nn

from auditor.adapt import adapt, nearest_mean, superclass_head
from auditor.adapt.measure import measure
from auditor.adapt.splits import few_targets, held_out_targets
from auditor.adapt.tuning import tune
from auditor.errors import AuditorError, UsageError
from auditor.records import ZooEntry
from auditor.records.adaptations import AdaptRequest, AdaptResult, Tuning
from auditor.records.boosts import Recipe
from auditor.zoo import LoadedModel
from tests.adapt.data import ASSIGNMENT, CLASSES, network, tiny

DATA = tiny(48)
RECIPE = Recipe(epochs=6, batch_size=32, max_lr=0.1)
REQUEST = AdaptRequest(
    assignment=ASSIGNMENT, start="standard", recipe=RECIPE, shots=(0, 2, 5), seeds=(0, 1), held_out=12, eps=0.05
)


def _given(model: nn.Module, dataset: str = "tiny") -> tuple[ZooEntry, LoadedModel]:
    entry = ZooEntry(
        model="local:one", source="local", description="", architecture={}, preprocessing={}, dataset=dataset,
        threat_model="Linf", norm="Linf", eps=0.1, input_size=(1, 8, 8),
    )  # fmt: skip
    return entry, LoadedModel(model, "digest", ("loaded with care",))


def _timeless(result: AdaptResult) -> AdaptResult:
    return dataclasses.replace(result, seconds=0.0)


@pytest.mark.slow
def test_a_recipe_is_trained_adapted_and_measured_for_each_seed() -> None:
    told = []
    result = adapt(REQUEST, lambda *words: told.append(words), data=DATA)
    assert [(score.seed, score.shots) for score in result.scores] == [(s, n) for s in (0, 1) for n in (0, 2, 5)]
    assert [source.seed for source in result.sources] == [0, 1]
    assert result.sources[0].weights_sha256 != result.sources[1].weights_sha256
    assert [score.baseline is None for score in result.scores] == [True, False, False] * 2
    assert all(score.adapted.n == 12 for score in result.scores)
    assert all(score.adapted.clean > 0.9 for score in result.scores if score.shots)
    assert all(score.adapted.robust <= score.adapted.clean for score in result.scores)
    assert all(source.accuracy.clean > 0.8 for source in result.sources)
    assert result.data_sha256 == ("train", "test")
    assert result.notes == ()
    assert [words for words in told if words[0] == "train"][:7] == [("train", n, 6) for n in range(7)]
    assert [words for words in told if words[0] == "adapt"][:4] == [("adapt", n, 3) for n in range(4)]
    assert _timeless(adapt(REQUEST, data=DATA)) == _timeless(result)


@pytest.mark.long
@pytest.mark.parametrize("layers", ["head", "all"])
def test_a_given_model_is_adapted_as_its_parts_say(layers: str) -> None:
    """Each number against the parts put together by hand; the source model is measured once, and is left alone."""
    model, tuning = network(), Tuning(layers=layers)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    request = dataclasses.replace(REQUEST, start="local:one", recipe=None, tuning=tuning, shots=(3,))
    result = adapt(request, given=_given(model), data=DATA)
    held = held_out_targets(DATA, ASSIGNMENT, 12)
    for score in result.scores:
        few = few_targets(DATA, ASSIGNMENT, 3, score.seed)
        adapted = superclass_head(model, [[2, 0], [4, 7]], held.images)
        tune(adapted, few, tuning, score.seed)
        for name, found in {"adapted": adapted.model, "baseline": nearest_mean(few.images, few.labels, 2)}.items():
            expected = measure(found, held, norm="Linf", eps=0.05, protocol="adapt")
            assert getattr(score, name) == expected
    assert len(result.sources) == 1
    with torch.no_grad():
        numbers = [CLASSES.index(name) for name in ASSIGNMENT.sources for _ in range(3)]
        tests = [torch.nonzero(DATA.test_labels == number).flatten()[:3] for number in numbers[::3]]
        hits = model(DATA.test_images[torch.cat(tests)]).argmax(1) == torch.tensor(numbers)
    assert result.sources[0].accuracy.clean == pytest.approx(hits.double().mean().item())
    assert "so it was trained on the targets, too (a2, a4, b2)" in result.notes[0]
    assert result.notes[1] == "loaded with care"
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_names_are_taken_as_the_data_set_spells_them() -> None:
    spelled = dataclasses.replace(ASSIGNMENT, superclasses=tuple(
        dataclasses.replace(group, targets=tuple(name.upper() for name in group.targets))
        for group in ASSIGNMENT.superclasses
    ))  # fmt: skip
    request = dataclasses.replace(REQUEST, assignment=spelled, start="local:one", recipe=None, seeds=(0,), shots=(1,))
    assert adapt(request, given=_given(network()), data=DATA).request.assignment == ASSIGNMENT


@pytest.mark.parametrize(
    ("change", "given", "said"),
    [
        ({"shots": (1, 49)}, None, "at least 49 training images of the target a2, got 48"),
        ({"protocol": "best"}, None, "no protocol named 'best'; expected one of: adapt, quick, standard, strong, full"),
        ({"protocol": "screen"}, None, "no protocol named 'screen'; expected one of: adapt"),
        ({"start": "demo:nothing", "recipe": None}, None, "no model named 'demo:nothing'"),
        ({"start": "local:one"}, _given(network(5)), ".1, 5., expected .1, 8.: one for each class of tiny"),
        ({"start": "local:one"}, _given(network(), "cifar10"), "is a model of cifar10, the classes are those of tiny"),
    ],
)  # fmt: skip
def test_what_does_not_fit_together_is_one_line(change: dict, given: tuple | None, said: str) -> None:
    with pytest.raises(AuditorError, match=said) as error:
        adapt(dataclasses.replace(REQUEST, **change), given=given, data=DATA)
    assert "\n" not in str(error.value)


def test_an_unknown_data_set_is_one_line() -> None:
    with pytest.raises(UsageError, match="no data set named 'tiny'"):
        adapt(REQUEST)


@pytest.mark.long
def test_a_demo_model_by_name() -> None:
    """Its features are robust, and one image a class is enough for its head on two superclasses far apart."""
    request = AdaptRequest(start="demo:at-eps0.10", shots=(0, 1), held_out=40, protocol="quick")
    result = adapt(request)
    assert all(score.adapted.clean > 0.8 for score in result.scores)
    assert "demo:at-eps0.10 has a logit for each class" in result.notes[0]
    assert result.sources[0].accuracy.n == 40
