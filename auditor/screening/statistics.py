"""From local maps to numbers: one dictionary of statistics, by which constants are fitted and scores predicted."""

import math
from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from auditor.clustering import clustering_scores
from auditor.errors import InputError
from auditor.screening.local import correlations


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
