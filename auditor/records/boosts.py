"""Recipes, tasks and results of boosts: plain values, so that commands and the database need no torch."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal

from auditor.errors import InputError, UsageError
from auditor.records.corruptions import is_corruptions
from auditor.records.norms import TRAINING_NORM_NAMES

Regularizer = Literal["none", "logits", "linear"]
GAIN, NO_GAIN, LOSS = "significant gain", "no significant gain", "significant loss"
NOT_AUDITED = "not audited"
METHOD_NAMES = {"standard": "standard", "at": "adversarial", "trades": "TRADES", "ibp": "interval bounds"}
"""How figures name the methods of training."""
BOOST_PROTOCOL: Final = "standard"
TRAINING_SECONDS = 2 * 86_400.0
"""Defaults of a boost: the protocol of its two audits, and the wall time that training may take."""
RUN, OWNER = "run.pt", "owner"
"""Files in a checkpoint's folder during training: the state for the next epoch, and the boost that owns the folder."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that determines a training run, except the network and the data.

    Attributes:
        method: ``standard``, ``at`` (PGD-AT, Madry et al., 2018) or ``trades`` (Zhang et al., 2019).
        norm, eps: the attack's norm ball, ``eps`` in [0, 1] pixels; ``steps`` steps of ``step_size``.
        regularizer, beta: the clustering regularizer and its weight; ``linear`` is applied every ``linear_every``
            steps, with ``linear_every`` times the weight.
        trades_lambda: the weight of TRADES's robust term.
        noise: standard deviation of Gaussian noise added to the pixels.
        augment: heavy augmentation.
        temperature: the cross-entropy is computed from ``logits / temperature``.
        label_smoothing: label smoothing of the cross-entropy, 0 to 1.
        ema: decay of the moving average of the weights, which is validated and stored; 0 for no average.
        awp: size of the adversarial weight perturbation (Wu et al., 2020), relative to each weight's norm; 0 for none.
        max_lr: the peak of the one-cycle schedule of SGD with Nesterov momentum.
        amp: bfloat16 by torch's autocast on a GPU.
    """

    method: Literal["standard", "at", "trades"] = "standard"
    eps: float = 0.0
    steps: int = 0
    step_size: float = 0.0
    random_start: bool = True
    beta: float = 0.0
    trades_lambda: float = 6.0
    noise: float = 0.0
    augment: bool = False
    temperature: float = 1.0
    epochs: int = 10
    batch_size: int = 128
    max_lr: float = 0.2
    momentum: float = 0.9
    weight_decay: float = 5e-4
    seed: int = 0
    norm: str = "Linf"
    regularizer: Regularizer = "logits"
    linear_every: int = 4
    label_smoothing: float = 0.0
    ema: float = 0.0
    awp: float = 0.0
    amp: bool = False

    @property
    def regularized(self) -> Regularizer:
        """The regularizer with an effect: ``none`` if its weight is 0."""
        return self.regularizer if self.beta else "none"

    def check(self) -> None:
        """Raises InputError for invalid values."""
        ranges = {
            "beta": (0, math.inf), "eps": (0, 1 if self.norm == "Linf" else math.inf), "steps": (0, 1000),
            "step_size": (0, math.inf), "trades_lambda": (0, math.inf), "noise": (0, math.inf), "epochs": (1, 100_000),
            "batch_size": (2, 2**20), "momentum": (0, 0.9999), "weight_decay": (0, 1), "label_smoothing": (0, 0.999),
            "ema": (0, 0.999999), "awp": (0, 1), "linear_every": (1, 10**6), "seed": (0, 2**31 - 1),
        }  # fmt: skip
        if self.norm not in TRAINING_NORM_NAMES:
            raise InputError(f"expected the norm Linf or L2, got {self.norm!r}: trainings take no other")
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if not low <= value <= high or not math.isfinite(value):
                raise InputError(f"expected {name} from {low:g} to {high:g}, got {value:g}")
        if not 0 < self.max_lr < math.inf or not 0 < self.temperature < math.inf:
            raise InputError(
                f"expected a learning rate and a temperature above 0, got {self.max_lr:g}, {self.temperature:g}"
            )
        if self.method != "standard" and not (self.eps > 0 and self.steps > 0 and self.step_size > 0):
            raise InputError(
                f"adversarial training needs eps, steps and a step size above 0, "
                f"got {self.eps:g}, {self.steps} and {self.step_size:g}"
            )


@dataclass(frozen=True, kw_only=True)
class RecipeOptions:
    """The options of a boost and their defaults, shared by the command line and the HTTP API.

    ``step_size``: None for ``2.5 eps / steps``; ``lr`` is the recipe's ``max_lr``, the others have the recipe's names.
    """

    method: Literal["at", "trades"] = "at"
    regularizer: Regularizer = "logits"
    beta: float = 0.1
    epochs: int = 5
    steps: int = 10
    step_size: float | None = None
    lr: float = 0.02
    batch_size: int = 128
    weight_decay: float = 5e-4
    ema: float = 0.99
    amp: bool = True
    seed: int = 0

    @classmethod
    def select(cls, options: Mapping[str, Any]) -> "RecipeOptions":
        """Take the options of a boost from a mapping that also holds others."""
        return cls(**{option.name: options[option.name] for option in fields(cls)})

    def make_recipe(self, *, eps: float, norm: str) -> Recipe:
        """The recipe within a model's own radius; the step size is ``2 eps`` at most.

        Raises:
            UsageError: a value is invalid.
        """
        if is_corruptions(norm):
            raise UsageError(
                "the model is listed for common corruptions, and has no norm to train in: add --norm and --eps"
            )
        values = asdict(self)
        size, rate = values.pop("step_size"), values.pop("lr")
        size = 2.5 * eps / self.steps if size is None else size
        recipe = Recipe(eps=eps, norm=norm, step_size=min(size, 2 * eps), max_lr=rate, **values)
        try:
            recipe.check()
        except InputError as error:
            raise UsageError(str(error)) from error
        return recipe


@dataclass(frozen=True, kw_only=True)
class EpochScore:
    """The validation scores of one epoch; number 0 is the unchanged model.

    ``loss`` is the mean training loss, NaN for number 0; accuracies are fractions of the validation images; ``gap`` is
    NaN if the model cannot be linearized.
    """

    number: int
    loss: float
    clean_accuracy: float
    pgd_accuracy: float
    gap: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class BoostOutcome:
    """The result of training: digests of parent, weights and training data, the best epoch, and versions.

    ``stopped``: why training ended before the last epoch; None if it did not.
    """

    parent: str
    parent_sha256: str
    weights_sha256: str
    data_sha256: str
    best_epoch: int
    stopped: str | None
    versions: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The audits before and after, on the same ``n`` images.

    ``only_before``, ``only_after``: images robust in only one of them; ``difference``: robust accuracy after minus
    before, with its 95 % interval; ``p_value`` of McNemar's exact test, two-sided.
    """

    before_audit_id: int
    after_audit_id: int
    n: int
    only_before: int
    only_after: int
    difference: float
    difference_low: float
    difference_high: float
    p_value: float

    @property
    def verdict(self) -> str:
        """A gain or a loss if McNemar's test is significant at 5 %."""
        if self.p_value >= 0.05 or self.difference == 0:
            return NO_GAIN
        return GAIN if self.difference > 0 else LOSS


@dataclass(frozen=True, kw_only=True)
class BoostTask:
    """The task of a child process, which writes the checkpoint ``number`` in the folder ``checkpoints``.

    ``training``: the location of the training images; None for the default of the data set. ``tests``: the location of
    the test images, which must not be among them. ``place``: the folder of the model's zoo, if it has one. ``owner``
    distinguishes this boost from a boost with the same number in another database that shares the folder.
    """

    recipe: Recipe
    number: int
    checkpoints: Path
    training: Path | None
    tests: Path | None
    place: Path | None
    device: str
    owner: str
