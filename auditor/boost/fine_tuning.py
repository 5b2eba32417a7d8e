"""Fine-tune a model for robustness: validate each epoch, stop when training fails, return the best epoch."""

import math
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from auditor.attacks.gradient import cross_entropy, frozen, pgd
from auditor.attacks.norms import NORMS
from auditor.boost.checks import check_training
from auditor.boost.regularizers import model_gap
from auditor.boost.training import OnStep, Trainer, pixels_of, size_of
from auditor.errors import InputError, LinearizationError
from auditor.linear.linearize import checked_model
from auditor.records.boosts import EpochScore, Recipe
from auditor.torch_state import default_modes, trackable

VALIDATION_STEPS = 20
COLLAPSE = 0.5
"""Validated PGD accuracy below this share of the best so far: catastrophic overfitting (Wong et al., ICLR 2020)."""
PATIENCE = 5
"""Epochs without improvement after which training stops for robust overfitting (Rice et al., ICML 2020)."""


@dataclass(frozen=True)
class FineTuned:
    """The result of fine-tuning.

    Attributes:
        state: the state dict of the best epoch, on the CPU.
        best: the epoch with the best validated PGD accuracy; never number 0, which is the unchanged model.
        history: all epochs, number 0 first.
        stopped: why training ended before the last epoch; None if it did not.
    """

    state: dict[str, Tensor]
    best: EpochScore
    history: tuple[EpochScore, ...]
    stopped: str | None


def fine_tune(
    model: nn.Module,
    training: tuple[Tensor, Tensor],
    validation: tuple[Tensor, Tensor],
    recipe: Recipe,
    superclasses: Sequence[Hashable],
    *,
    on_step: OnStep | None = None,
    on_epoch: Callable[[EpochScore], None] | None = None,
    load: Callable[[], dict[str, Any] | None] = lambda: None,
    save: Callable[[dict[str, Any]], None] = lambda _: None,
) -> FineTuned:
    """Fine-tune ``model`` in place by the recipe; afterwards it has the best epoch's weights and is in eval mode.

    Images ``(N, C, H, W)`` are float in [0, 1] or uint8, labels ``(N,)`` int64. The validation images
    decide which epoch is best and whether training stops early; they must be neither training nor test images. The
    same seed, threads and versions give the same weights on a CPU, also if the run was interrupted and resumed.

    Args:
        on_step: called after each step.
        on_epoch: called after each epoch; epoch number 0 is the unchanged model.
        save: stores the state of the run after each epoch, replacing the last one: tensors and plain values, for
            ``torch.save`` and ``weights_only`` loading.
        load: returns the state that a run with the same arguments saved, or None.

    Raises:
        InputError: the recipe, the images and the superclasses do not fit together, the model has steps that stop the
            gradient, or the loss was not finite in the first epoch.
    """
    with default_modes(torch.get_default_dtype(), exact=False), trackable(checked_model(model), keep=True):
        return _fine_tune(model, training, validation, recipe, superclasses, on_step, on_epoch, load, save)


def _fine_tune(
    model: nn.Module,
    training: tuple[Tensor, Tensor],
    validation: tuple[Tensor, Tensor],
    recipe: Recipe,
    superclasses: Sequence[Hashable],
    on_step: OnStep | None,
    on_epoch: Callable[[EpochScore], None] | None,
    load: Callable[[], dict[str, Any] | None],
    save: Callable[[dict[str, Any]], None],
) -> FineTuned:
    check_training(model, training, validation, recipe, superclasses)
    devices = [next(model.parameters()).device] if next(model.parameters()).is_cuda else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(recipe.seed)
        run = _Run(Trainer(model, *training, recipe, superclasses), validation, on_epoch)
        saved = load()
        if saved is None:
            run.begin()
            save(run.state())
        else:
            run.restore(saved)
        while run.trainer.number < recipe.epochs and run.stopped is None:
            run.advance(on_step)
            save(run.state())
    if run.best_state is None or run.best is None:
        raise InputError(f"{run.stopped}: try a lower learning rate than {recipe.max_lr:g}")
    model.load_state_dict(run.best_state)
    model.eval()
    return FineTuned(run.best_state, run.best, tuple(run.history), run.stopped)


class _Run:
    """A trainer, the validation scores of its epochs, and the best weights so far."""

    def __init__(
        self, trainer: Trainer, validation: tuple[Tensor, Tensor], on_epoch: Callable[[EpochScore], None] | None
    ) -> None:
        self.trainer, self.validation = trainer, validation
        self.on_epoch = on_epoch or (lambda _: None)
        self.history: list[EpochScore] = []
        self.best_state: dict[str, Tensor] | None = None
        self.stopped: str | None = None

    @property
    def best(self) -> EpochScore | None:
        trained = [score for score in self.history if score.number > 0]
        return max(trained, key=lambda score: (score.pgd_accuracy, score.clean_accuracy), default=None)

    def begin(self) -> None:
        self._validate_epoch(0, math.nan, time.perf_counter())

    def advance(self, on_step: OnStep | None) -> None:
        started = time.perf_counter()
        epoch = self.trainer.epoch(on_step)
        if not math.isfinite(epoch.loss):
            self.stopped = f"the loss was not finite in epoch {epoch.number}"
            return
        self._validate_epoch(epoch.number, epoch.loss, started)
        if self.best is self.history[-1]:
            state = self.trainer.averaged_model.state_dict()
            self.best_state = {name: tensor.detach().cpu().clone() for name, tensor in state.items()}
        self.stopped = stop_reason(self.history)

    def state(self) -> dict[str, Any]:
        scores = [asdict(score) for score in self.history]
        return {"trainer": self.trainer.state(), "history": scores, "best": self.best_state, "stopped": self.stopped}

    def restore(self, state: dict[str, Any]) -> None:
        self.trainer.restore(state["trainer"])
        self.history = [EpochScore(**score) for score in state["history"]]
        self.best_state, self.stopped = state["best"], state["stopped"]

    def _validate_epoch(self, number: int, loss: float, started: float) -> None:
        model, recipe = self.trainer.averaged_model, self.trainer.recipe
        clean, robust = validate(model, *self.validation, recipe)
        gap = _gap(model, size_of(self.validation[0]), self.trainer.superclasses)
        score = EpochScore(
            number=number,
            loss=loss,
            clean_accuracy=clean,
            pgd_accuracy=robust,
            gap=gap,
            seconds=time.perf_counter() - started,
        )
        self.history.append(score)
        self.on_epoch(score)


def stop_reason(history: Sequence[EpochScore]) -> str | None:
    """Why training has to stop after these epochs; None if it continues."""
    last, best = history[-1], max(history, key=lambda score: score.pgd_accuracy)
    if last.pgd_accuracy < COLLAPSE * best.pgd_accuracy:
        return (
            f"catastrophic overfitting: PGD accuracy on validation images fell from {best.pgd_accuracy:.1%} "
            f"to {last.pgd_accuracy:.1%} in epoch {last.number}"
        )
    trained = [score for score in history if score.number > 0]
    peak = max(trained, key=lambda score: score.pgd_accuracy, default=last)
    if last.number - peak.number >= PATIENCE:
        return f"robust overfitting: no epoch was better on validation images than epoch {peak.number}"
    return None


def validate(model: nn.Module, images: Tensor, labels: Tensor, recipe: Recipe) -> tuple[float, float]:
    """Clean and PGD-20 accuracy, 0 to 1, in eval mode and float32; step eps / 4, random start by sample and seed."""
    device, hits = next(model.parameters()).device, [0, 0]
    norm = NORMS[recipe.norm]
    attack: dict[str, Any] = {"norm": norm, "eps": recipe.eps, "steps": VALIDATION_STEPS}
    with frozen(model):
        for chosen in torch.split(torch.arange(len(images)), 250):
            x, y = pixels_of(images[chosen].to(device)), labels[chosen].to(device)
            start = norm.random_start(chosen, x, recipe.eps, seed=recipe.seed, name="validate")
            with torch.no_grad():
                hits[0] += int((model(x).argmax(1) == y).sum())
            attacked = pgd(model, x, cross_entropy(y), start=start, labels=y, step_size=recipe.eps / 4, **attack)
            with torch.no_grad():
                hits[1] += int((model(attacked).argmax(1) == y).sum())
    return hits[0] / len(images), hits[1] / len(images)


def _gap(model: nn.Module, input_size: tuple[int, int, int], superclasses: Sequence[Hashable]) -> float:
    """The gap of C; NaN if it is undefined."""
    try:
        return model_gap(model, input_size, superclasses)
    except (InputError, LinearizationError):
        return math.nan
