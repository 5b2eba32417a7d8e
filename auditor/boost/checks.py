"""Checks before hours of training: the images and labels, the logits of a few held-out images, and their gradients."""

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor, nn

from auditor.attacks.classifier import logits_of
from auditor.attacks.gradient import frozen
from auditor.boost.regularizers import cluster_regularizer, model_gap
from auditor.boost.training import pixels_of, size_of
from auditor.clustering.matrices import checked_labels
from auditor.errors import InputError
from auditor.records.boosts import Recipe
from auditor.user_code.exceptions import raise_as_input_errors

PROBES = 8
"""Images on which a model's gradients are checked before training."""


def _type_names(pair: object) -> str:
    parts = pair if isinstance(pair, tuple | list) else [pair]
    return " and ".join(type(part).__name__ for part in parts[:3]) or "nothing"


def check_training(
    model: nn.Module,
    training: tuple[Tensor, Tensor],
    validation: tuple[Tensor, Tensor],
    recipe: Recipe,
    superclasses: Sequence[Hashable],
) -> None:
    """Raises InputError if the recipe, the images, the labels or the model cannot be used for training."""
    if not isinstance(recipe, Recipe):
        raise InputError(f"expected a Recipe, got {type(recipe).__name__}")
    recipe.check()
    checked_labels(superclasses)
    if next(model.parameters(), None) is None:
        raise InputError("expected a model with parameters to train, got one without")
    for name, pair in {"training": training, "validation": validation}.items():
        if not isinstance(pair, tuple | list) or [isinstance(part, Tensor) for part in pair] != [True, True]:
            raise InputError(f"expected {name} images and labels, two tensors, got {_type_names(pair)}")
        images, labels = pair
        if images.ndim != 4 or len(images) == 0 or labels.shape != images.shape[:1] or labels.dtype != torch.int64:
            raise InputError(
                f"expected {name} images (N, C, H, W) and N int64 labels, got {tuple(images.shape)} and "
                f"{tuple(labels.shape)} {labels.dtype}"
            )
        pixels = images.dtype == torch.uint8 or (
            images.is_floating_point() and bool(torch.isfinite(images).all()) and 0 <= images.min() <= images.max() <= 1
        )
        if not pixels:
            low, high = images.min().item(), images.max().item()
            raise InputError(f"expected {name} images in [0, 1] or uint8, got {images.dtype} from {low:g} to {high:g}")
        if labels.min() < 0 or labels.max() >= len(superclasses):
            raise InputError(
                f"expected {name} labels from 0 to {len(superclasses) - 1}, the classes of the hierarchy, "
                f"got {labels.min().item()} to {labels.max().item()}"
            )
    if recipe.eps <= 0:
        raise InputError(f"expected eps above 0 for the validation, got {recipe.eps:g}")
    device = next(model.parameters()).device
    probe = pixels_of(validation[0][:PROBES].to(device))
    with frozen(model), torch.no_grad(), raise_as_input_errors():
        logits = logits_of(model(probe), len(probe))
    if logits.shape[1] != len(superclasses):
        raise InputError(
            f"expected logits (N, {len(superclasses)}), one for each class of the data set, got {tuple(logits.shape)}"
        )
    _check_gradients(model, probe)
    if recipe.regularized != "none":  # check the superclasses before hours of training
        cluster_regularizer(logits, superclasses)
        if recipe.regularized == "linear":
            model_gap(model, size_of(probe), superclasses)


def _check_gradients(model: nn.Module, images: Tensor) -> None:
    """Refuse a network with steps, such as rounding or arg max, that stop the gradient: training would do nothing.

    Raises:
        InputError: no gradient reaches the parameters, or none reaches the images although the logits depend on them.
    """
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with frozen(model), raise_as_input_errors():
        for weight in weights:
            weight.requires_grad_()
        images = images.clone().requires_grad_()
        logits = model(images)
        value = (logits * torch.linspace(1, 2, logits.shape[1], device=logits.device)).sum()
        found = torch.autograd.grad(value, [images, *weights], allow_unused=True) if value.requires_grad else [None]
    at_images, *at_weights = (gradient is not None and bool(gradient.any()) for gradient in found)
    if not any(at_weights):
        raise InputError("no gradient of the logits reaches the model's parameters, so it cannot be trained")
    if not at_images and bool((logits != logits[:1]).any()):
        raise InputError(
            "the logits depend on the images, but have no gradient there, because of steps such as rounding, signs or "
            "arg max: adversarial training needs it"
        )
