"""Requests and results: through JSON and back, and one line for values out of range."""

import dataclasses
import json

import pytest

from auditor.errors import AuditorError, UsageError
from auditor.records.adaptations import (
    RECIPES,
    Accuracy,
    AdaptRequest,
    AdaptResult,
    AdaptScore,
    SourceScore,
    Tuning,
    request_from,
    result_from,
    result_to,
)
from auditor.records.assignments import CIFAR100
from auditor.records.boosts import Recipe
from auditor.records.json import to_json

ACCURACY = Accuracy(clean=0.9, robust=0.5, low=0.4, high=0.6, n=100, flags=("zero_gradients",))
REQUESTS = [
    AdaptRequest(),
    AdaptRequest(assignment=CIFAR100, start="demo:standard", source_images=None, seeds=(0, 7), norm="L2", eps=1.5),
    AdaptRequest(recipe=Recipe(epochs=1), start="standard", tuning=Tuning(layers="all", head="fresh"), shots=(3,)),
]


@pytest.mark.parametrize("request_", REQUESTS)
def test_through_json_and_back(request_: AdaptRequest) -> None:
    request_.check()
    assert request_from(json.loads(json.dumps(to_json(request_)))) == request_
    result = AdaptResult(
        request=request_,
        scores=(
            AdaptScore(seed=0, shots=0, adapted=ACCURACY, baseline=None),
            AdaptScore(seed=0, shots=5, adapted=ACCURACY, baseline=ACCURACY),
        ),
        sources=(SourceScore(seed=0, accuracy=ACCURACY, weights_sha256="ab"),),
        data_sha256=("c", "d"),
        notes=("a note",),
        seconds=1.5,
    )
    assert result_from(json.loads(json.dumps(result_to(result)))) == result


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"shots": "few"}, "shots: expected a list, got 'few'"),
        ({"assignment": None}, "assignment: expected an object, got null"),
        ({"tuning": {"layers": "tail"}}, "tuning.layers: expected 'head' or 'all', got 'tail'"),
    ],
)
def test_what_is_no_request_is_one_line(change: dict, reason: str) -> None:
    with pytest.raises(UsageError) as error:
        request_from(to_json(AdaptRequest()) | change)
    assert str(error.value) == f"not a stored AdaptRequest: {reason}"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"start": "robustest"}, "no recipe named 'robustest'; expected one of: standard, robust, .*source:id"),
        ({"shots": ()}, "expected shots that differ, at least one"),
        ({"shots": (1, 1)}, "expected shots that differ"),
        ({"shots": (-1,)}, "expected shots from 0"),
        ({"seeds": ()}, "expected seeds that differ, at least one"),
        ({"seeds": (-3,)}, "expected seeds from 0"),
        ({"held_out": 2}, "expected held_out from 3"),
        ({"source_images": 4}, "expected source_images from 5"),
        ({"norm": "L1"}, "expected the norm Linf or L2, got 'L1'"),
        ({"eps": 0.0}, "expected eps from 1e-09 to 1, got 0"),
        ({"eps": 1.5}, "expected eps from 1e-09 to 1, got 1.5"),
        ({"eps": float("nan")}, "expected eps"),
        ({"tuning": Tuning(lr=0.0)}, "expected lr from"),
        ({"tuning": Tuning(beta=-1.0)}, "expected beta from 0"),
        ({"tuning": Tuning(steps=0)}, "expected steps from 1"),
        ({"tuning": Tuning(layers="tail")}, "expected layers head or all"),
        ({"tuning": Tuning(head="fresh"), "shots": (0, 1)}, "leave out 0 shots"),
        ({"recipe": Recipe(method="at")}, "adversarial training needs eps"),
    ],
)
def test_values_out_of_range_are_one_line(change: dict, said: str) -> None:
    with pytest.raises(AuditorError, match=said) as error:
        dataclasses.replace(AdaptRequest(), **change).check()
    assert "\n" not in str(error.value)


def test_recipes_differ_in_what_their_names_say() -> None:
    robust, clustered = RECIPES["robust"], RECIPES["robust+clustered"]
    assert robust.method == "at"
    assert dataclasses.replace(robust, beta=clustered.beta) == clustered
    assert RECIPES["standard"].method == "standard"
    assert [recipe.regularized for recipe in RECIPES.values()] == ["none", "none", "logits", "logits"]
