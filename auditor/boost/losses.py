"""The loss of a training step: standard, PGD-AT or TRADES, each with or without the regularizer."""

from collections.abc import Callable, Hashable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from auditor.attacks.gradient import cross_entropy, frozen, pgd
from auditor.attacks.norms import NORMS
from auditor.boost.regularizers import cluster_regularizer
from auditor.records.boosts import Recipe
from auditor.torch_state import set_eval

StepLoss = Callable[[], Tensor]
"""The loss at the current weights of the model; the adversarial images are fixed."""


def step_loss(model: nn.Module, x: Tensor, y: Tensor, recipe: Recipe, superclasses: Sequence[Hashable]) -> StepLoss:
    """Attack a batch, ``x (N, C, H, W)`` in [0, 1] and ``y (N,)``, and return the loss to minimise.

    The loss is ``L_adv(f(x_adv), y) + beta L_cluster`` (Bai et al., section 4), with the regularizer on
    the logits of the loss. Leaves the model in training mode. The regularizer ``linear`` is not included, because it
    needs no batch.
    """
    beta = recipe.beta if recipe.regularizer == "logits" else 0.0
    if recipe.method == "trades":
        return _trades(model, x, y, recipe, superclasses, beta)
    if recipe.method == "at":
        x = _attack(model, x, cross_entropy(y), recipe, _start(x, recipe))
    model.train()

    def loss() -> Tensor:
        logits = model(x)
        value = F.cross_entropy(logits / recipe.temperature, y, label_smoothing=recipe.label_smoothing)
        return value + beta * cluster_regularizer(logits, superclasses) if beta else value

    return loss


def _trades(
    model: nn.Module, x: Tensor, y: Tensor, recipe: Recipe, superclasses: Sequence[Hashable], beta: float
) -> StepLoss:
    """TRADES (Zhang et al., 2019): clean cross-entropy plus lambda times the KL divergence to the attacked point."""
    with torch.no_grad():
        target = set_eval(model)(x).softmax(1)
    start = 0.001 * torch.randn_like(x)
    attacked = _attack(model, x, lambda z: _divergence(z, target).sum(1), recipe, start)
    model.train()

    def loss() -> Tensor:
        clean, adversarial = model(x), model(attacked)
        value = F.cross_entropy(clean, y, label_smoothing=recipe.label_smoothing)
        value = value + recipe.trades_lambda * _divergence(adversarial, clean.softmax(1)).sum(1).mean()
        return value + beta * cluster_regularizer(adversarial, superclasses) if beta else value

    return loss


def _divergence(logits: Tensor, target: Tensor) -> Tensor:
    return F.kl_div(logits.log_softmax(1), target, reduction="none")


def _start(x: Tensor, recipe: Recipe) -> Tensor | None:
    return NORMS[recipe.norm].cube_start(x, recipe.eps) if recipe.random_start else None


def _attack(
    model: nn.Module, x: Tensor, loss: Callable[[Tensor], Tensor], recipe: Recipe, start: Tensor | None
) -> Tensor:
    with frozen(model):
        return pgd(
            model,
            x,
            loss,
            norm=NORMS[recipe.norm],
            eps=recipe.eps,
            steps=recipe.steps,
            step_size=recipe.step_size,
            start=start,
        )
