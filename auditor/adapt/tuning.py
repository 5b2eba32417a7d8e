"""Fine-tuning on few images: cross-entropy plus the distance of the logits to their class's centre."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from auditor.adapt.heads import Adapted
from auditor.adapt.splits import Part
from auditor.boost.training import pixels_of
from auditor.errors import InputError
from auditor.records.adaptations import Tuning
from auditor.torch_state import set_eval

MOMENTUM = 0.9


def class_centres(logits: Tensor, labels: Tensor, classes: int) -> Tensor:
    """The mean logits of each class's images, ``(M, M)`` from ``(N, M)`` and ``(N,)``.

    Raises:
        InputError: a class has no image.
    """
    members = F.one_hot(labels, classes).to(logits)
    if not members.any(0).all():
        raise InputError(f"expected images of each of {classes} superclasses, for the class centres")
    return (members.T @ logits) / members.sum(0)[:, None]


def tuning_loss(logits: Tensor, labels: Tensor, centres: Tensor, beta: float) -> Tensor:
    """``CE(z, y) + beta * mean (z - centre_y)^2`` over a batch, ``(N, M)`` and ``(N,)`` to a scalar."""
    return F.cross_entropy(logits, labels) + beta * F.mse_loss(logits, centres[labels])


def tune(adapted: Adapted, part: Part, tuning: Tuning, seed: int) -> None:
    """Fine-tune an adapted model in place on target images with superclass labels.

    The centres are computed once, with the initial head (Bai et al., 2021). With a head from the sources' templates
    they are the source model's logits of the target images; with a fresh head they are close to each other and carry
    little information. Batch norm keeps the statistics of the source, because few images give poor ones. SGD has
    momentum and no weight decay.

    Raises:
        InputError: the settings are invalid, a superclass has no image, or the loss was not finite.
    """
    tuning.check()
    model, layer = set_eval(adapted.model), adapted.head
    device = next(model.parameters()).device
    x, y = pixels_of(part.images.to(device)), part.labels.to(device)
    with torch.no_grad():
        logits = torch.cat([model(batch) for batch in torch.split(x, 256)])
    centres = class_centres(logits, y, logits.shape[1])
    model.requires_grad_(False)
    trained = layer if tuning.layers == "head" else model
    trained.requires_grad_(True)
    try:
        _descend(model, list(trained.parameters()), x, y, centres, tuning, seed)
    finally:
        model.requires_grad_(True)


def _descend(
    model: nn.Module, weights: list[nn.Parameter], x: Tensor, y: Tensor, centres: Tensor, tuning: Tuning, seed: int
) -> None:
    optimizer = torch.optim.SGD(weights, lr=tuning.lr, momentum=MOMENTUM)
    generator = torch.Generator().manual_seed(seed)
    order = torch.empty(0, dtype=torch.int64)
    size = min(tuning.batch_size, len(x))
    for step in range(1, tuning.steps + 1):
        if len(order) < size:
            order = torch.randperm(len(x), generator=generator)
        chosen, order = order[:size], order[size:]
        loss = tuning_loss(model(x[chosen]), y[chosen], centres, tuning.beta)
        if not torch.isfinite(loss):
            raise InputError(f"the loss was not finite in step {step}: try a lower learning rate than {tuning.lr:g}")
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
