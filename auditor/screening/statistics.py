"""From local maps to numbers: one dictionary of statistics, by which constants are fitted and scores predicted."""

import math
from collections.abc import Hashable, Sequence

import torch
from torch import Tensor, nn

from auditor.attacks.gradient import frozen
from auditor.clustering import clustering_scores
from auditor.compute.batches import map_batches
from auditor.errors import InputError
from auditor.screening.local import correlations
from auditor.screening.probes import Size, probe_images


def median(values: Tensor) -> float:
    """The median of what is finite; NaN where nothing is."""
    finite = values[torch.isfinite(values)].double()
    return float(finite.quantile(0.5)) if len(finite) else math.nan


def local_gap(gram: Tensor | None, superclasses: Sequence[Hashable]) -> float:
    """The gap of C averaged over images, from Gram matrices ``(N, K, K)``; images without a usable C are left out.

    NaN where no image has one, where the superclasses are not one a class, and where they give no gap.
    """
    if gram is None or gram.shape[1] != len(superclasses):
        return math.nan
    each = correlations(gram)
    usable = torch.isfinite(each).all(2).all(1)
    if not usable.any():
        return math.nan
    try:
        return clustering_scores(each[usable].mean(0).cpu().numpy(), superclasses, permutations=1).gap
    except InputError:
        return math.nan


def spread(logits: Tensor) -> tuple[Tensor, float]:
    """Logits without their mean over classes, and the root mean square of those."""
    centred = logits.double() - logits.double().mean(1, keepdim=True)
    return centred, max(float(centred.square().mean().sqrt()), 1e-30)


CONFIDENT_KINDS = ("smooth", "leaves", "shapes", "blobs")


def confident_images(model: nn.Module, input_size: Size, count: int, seed: int, pool: int = 8) -> tuple[Tensor, Tensor]:
    """Of ``pool`` times as many random images those with the largest margins of logits: ``(count, C, H, W)``.

    Only the order of the margins matters, not the scale of the logits. Also returns the model's answers to the whole
    pool.
    """
    each = -(-pool * count // len(CONFIDENT_KINDS))
    images = torch.cat([probe_images(kind, each, input_size, seed + 104_729) for kind in CONFIDENT_KINDS])
    images = images.to(next((p for p in model.parameters() if p.is_floating_point()), images))
    with frozen(model), torch.no_grad():
        found = map_batches(lambda some: model(some.clone()).topk(2, dim=1), images, 64)
    two = torch.cat([some.values for some in found])
    margins = (two[:, 0] - two[:, 1]).nan_to_num(-torch.inf)
    return images[margins.topk(count).indices], torch.cat([some.indices[:, 0] for some in found])
