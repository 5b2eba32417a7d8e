"""The clustering regularizer of Bai et al. (NeurIPS 2021): sibling classes are pulled together."""

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from auditor.errors import InputError


def cluster_regularizer(logits: Tensor, superclasses: Sequence[Hashable]) -> Tensor:
    """Mean squared deviation of the logits from their superclass's mean, for every sample, whatever its label.

    ``(1/M) sum_m (1/|S_m|) sum_{k in S_m} mean_batch (z_k - mean_{j in S_m} z_j)^2`` over the M superclasses
    with at least two classes, which is the mean variance of the logits inside a superclass. A gradient stopped
    at the mean would change nothing: deviations from a mean sum to zero.

    Args:
        logits: ``(N, K)``, floating point.
        superclasses: K labels, one a class.

    Returns:
        A scalar, 0 or more, differentiable.

    Raises:
        InputError: there is not one label a class, or no superclass has two classes.
    """
    if logits.ndim != 2 or logits.shape[1] != len(superclasses):
        raise InputError(
            f"expected logits (N, K) and K superclass labels, got {tuple(logits.shape)} and {len(superclasses)}"
        )
    families = [[k for k, label in enumerate(superclasses) if label == name] for name in dict.fromkeys(superclasses)]
    spreads = [logits[:, members].var(dim=1, correction=0).mean() for members in families if len(members) > 1]
    if not spreads:
        raise InputError("expected a superclass with at least two classes, got none: nothing to pull together")
    return torch.stack(spreads).mean()
