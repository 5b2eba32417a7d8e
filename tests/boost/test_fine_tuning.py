"""Fine-tuning: what is best is said by validation, it stops where it should, and a killed run ends as one in one go."""

import dataclasses
import io
import math
from typing import Any

import pytest
import torch
from torch import nn

from auditor.attacks.gradient import cross_entropy, frozen, pgd
from auditor.attacks.norms import LINF
from auditor.boost import fine_tune
from auditor.boost.fine_tuning import stop_reason, validate
from auditor.errors import InputError
from auditor.records.boosts import EpochScore
from tests.factories.fine_tuning import RECIPE, SUPERCLASSES, data, halves, small_network


class KilledError(Exception):
    pass


def _through_file(state: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded: dict[str, Any] = torch.load(file, weights_only=True)
    return loaded


def test_the_best_epoch_by_validation_is_what_is_left() -> None:
    training, validation = halves()
    model, steps = small_network(), []
    found = fine_tune(model, training, validation, RECIPE, SUPERCLASSES, on_step=lambda *told: steps.append(told))
    assert [score.number for score in found.history] == [0, 1, 2, 3, 4]
    assert math.isnan(found.history[0].loss)
    assert found.best == max(found.history[1:], key=lambda score: (score.pgd_accuracy, score.clean_accuracy))
    assert found.best.pgd_accuracy > found.history[0].pgd_accuracy
    assert validate(model, *validation, RECIPE) == (found.best.clean_accuracy, found.best.pgd_accuracy)
    assert all(torch.equal(value, found.state[name]) for name, value in model.state_dict().items())
    assert [told[:2] for told in steps] == [(step, 6) for _ in range(4) for step in range(1, 7)]
    assert not model.training


@pytest.mark.long
@pytest.mark.parametrize("killed_after", [0, 1, 3])
@pytest.mark.parametrize("options", [{}, {"regularizer": "linear"}, {"method": "trades", "awp": 0.01, "ema": 0.0}])
def test_a_killed_run_ends_as_one_in_one_go(killed_after: int, options: dict) -> None:
    training, validation = halves()
    recipe, saved = dataclasses.replace(RECIPE, **options), []

    def save(state: dict[str, Any]) -> None:
        saved.append(_through_file(state))
        if len(saved) == killed_after + 1:
            raise KilledError

    whole = fine_tune(small_network(), training, validation, recipe, SUPERCLASSES)
    with pytest.raises(KilledError):
        fine_tune(small_network(), training, validation, recipe, SUPERCLASSES, save=save)
    torch.manual_seed(123)
    resumed = fine_tune(small_network(), training, validation, recipe, SUPERCLASSES, load=lambda: saved[-1])
    assert all(torch.equal(whole.state[name], resumed.state[name]) for name in whole.state)
    timeless = [[dataclasses.replace(score, seconds=0) for score in one.history[1:]] for one in (whole, resumed)]
    assert timeless[0] == timeless[1]


def test_the_random_state_of_the_caller_is_left_alone() -> None:
    training, validation = halves()
    model = small_network()
    torch.manual_seed(9)
    before = torch.get_rng_state()
    fine_tune(model, training, validation, dataclasses.replace(RECIPE, epochs=1), SUPERCLASSES)
    torch.testing.assert_close(torch.get_rng_state(), before)


def test_validation_is_pgd_20_of_a_quarter_of_eps() -> None:
    """The attack written out on the whole set at once, with the same starts."""
    images, labels = data(64)
    model = small_network()
    with frozen(model):
        clean = (model(images).argmax(1) == labels).float().mean().item()
        reached = pgd(model, images, cross_entropy(labels), norm=LINF, eps=0.1, steps=200, step_size=0.01)
        floor = (model(reached).argmax(1) == labels).float().mean().item()
    found = validate(model, images, labels, RECIPE)
    assert found[0] == pytest.approx(clean)
    assert floor - 0.1 <= found[1] <= clean
    assert validate(model, (images * 255).round().byte(), labels, RECIPE)[0] == pytest.approx(clean, abs=0.05)


def _scores(*pgd_accuracies: float) -> list[EpochScore]:
    return [
        EpochScore(number=i, loss=1.0, clean_accuracy=0.9, pgd_accuracy=value, gap=0.5, seconds=1.0)
        for i, value in enumerate(pgd_accuracies)
    ]


@pytest.mark.parametrize(
    ("accuracies", "reason"),
    [
        ((0.0, 0.4), None),
        ((0.0, 0.4, 0.5, 0.1), "catastrophic overfitting: PGD accuracy on validation images fell from 50.0% to 10.0%"),
        ((0.7, 0.2), "catastrophic"),
        ((0.7, 0.4), None),
        ((0.0, 0.5, 0.49, 0.48, 0.47, 0.46), None),
        ((0.0, 0.5, 0.49, 0.48, 0.47, 0.46, 0.45), "robust overfitting: no epoch was better on validation images than"),
        ((0.9, 0.5, 0.5, 0.5, 0.51, 0.5, 0.5), None),
        ((0.0, 0.0, 0.0), None),
    ],
)
def test_when_training_stops(accuracies: tuple, reason: str | None) -> None:
    found = stop_reason(_scores(*accuracies))
    assert (found is None) if reason is None else (found is not None and found.startswith(reason))


def test_a_collapse_keeps_the_epoch_before(monkeypatch: pytest.MonkeyPatch) -> None:
    training, validation = halves()
    said = iter([(0.9, 0.0), (0.9, 0.5), (0.9, 0.6), (0.9, 0.1)])
    monkeypatch.setattr("auditor.boost.fine_tuning.validate", lambda *_: next(said))
    found = fine_tune(small_network(), training, validation, RECIPE, SUPERCLASSES)
    assert found.best.number == 2
    assert found.stopped is not None
    assert found.stopped.startswith("catastrophic overfitting")
    assert len(found.history) == 4


def test_a_loss_that_is_not_finite() -> None:
    training, validation = halves()
    with pytest.raises(InputError, match="lower learning rate"):
        fine_tune(
            small_network(), training, validation, dataclasses.replace(RECIPE, max_lr=1e30, beta=0.0), SUPERCLASSES
        )


def _wrong_labels(images: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return images, labels + 1


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model": nn.Sequential(nn.Flatten(), nn.Linear(64, 5))}, r"logits \(N, 4\)"),
        ({"superclasses": ("a",) * 4, "recipe": {"regularizer": "linear"}}, "no gap"),
        ({"superclasses": tuple("abcd")}, "at least two classes"),
        ({"training": _wrong_labels}, "from 0 to 3"),
        ({"validation": lambda images, labels: (images[:0], labels[:0])}, "validation images"),
        ({"recipe": {"beta": -1.0}}, "beta"),
        ({"recipe": {"eps": 1.5}}, "eps"),
        ({"recipe": {"method": "standard", "eps": 0.0}}, "eps above 0"),
    ],
)
def test_what_does_not_fit_together_is_said_before_training(change: dict, named: str) -> None:
    training, validation = halves()
    training = change.get("training", lambda *given: given)(*training)
    validation = change.get("validation", lambda *given: given)(*validation)
    recipe = dataclasses.replace(RECIPE, **change.get("recipe", {}))
    with pytest.raises(InputError, match=named):
        fine_tune(
            change.get("model") or small_network(),
            training,
            validation,
            recipe,
            change.get("superclasses", SUPERCLASSES),
        )
