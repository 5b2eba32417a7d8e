"""Transferred attacks: adversarials are made on another model, within the same budget, and tried on the audited one."""

from collections.abc import Mapping

import torch
from torch import Tensor

from auditor.attacks.classifier import Classifier
from auditor.attacks.gradient import LOSSES, pgd
from auditor.attacks.norms import Norm
from auditor.attacks.protocols import Attack
from auditor.errors import InputError

ATTACKS = {
    "pgd-20": {"loss": "ce", "steps": 20, "step_fraction": 0.25},
    "pgd-50": {"loss": "margin", "steps": 50, "step_fraction": 0.1},
}
"""All steps are taken, on samples that the other model misclassifies, too: adversarials far beyond its boundary
transfer more often."""


def transfer_attacks(models: Mapping[str, object]) -> tuple[Attack, ...]:
    """The attacks of a cascade that make adversarials on these models."""
    return tuple(
        Attack(f"{kind} from {name}", "transfer", {"model": name, **settings})
        for name in models
        for kind, settings in ATTACKS.items()
    )


def check_other_model(other: Classifier, name: str, images: Tensor, classes: int) -> None:
    """Choose the input dtype of a model that adversarials are made on.

    Raises:
        InputError: it does not take these images, has another number of classes, or no adversarials can be made on it,
            because its logits are not finite or pass no gradient.
    """
    try:
        logits = other.choose_dtype(images[:1])
        with torch.enable_grad():
            differentiable = other(images[:1].clone().requires_grad_()).requires_grad
    except InputError as error:
        raise InputError(f"transfer from {name}: {error}") from error
    if logits.shape[1] != classes:
        raise InputError(
            f"transfer from {name}: expected {classes} classes, as the audited model has, got {logits.shape[1]}"
        )
    if not torch.isfinite(logits).all():
        raise InputError(f"transfer from {name}: expected finite logits, the model gives NaN or infinite ones")
    if not differentiable:
        raise InputError(f"transfer from {name}: the model passes no gradient to its input, which its attacks need")


def craft_on(
    other: Classifier,
    attack: Attack,
    images: Tensor,
    labels: Tensor,
    numbers: Tensor,
    *,
    norm: Norm,
    eps: float,
    seed: int,
) -> Tensor:
    """Candidates ``(M, C, H, W)`` for the audited model, made on the other one from a random start by number."""
    settings = attack.parameters
    return pgd(
        other,
        images,
        LOSSES[settings["loss"]](labels),
        norm=norm,
        eps=eps,
        steps=settings["steps"],
        step_size=settings["step_fraction"] * eps,
        start=norm.random_start(numbers, images, eps, seed=seed, name=attack.name),
    )
