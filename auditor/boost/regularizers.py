"""The clustering regularizers: of the logits, by Bai et al. (NeurIPS 2021), and of the linearized network itself."""

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor, nn

from auditor.clustering.matrices import checked_labels
from auditor.errors import InputError
from auditor.linear import class_correlation, correlation_loss


def cluster_regularizer(logits: Tensor, superclasses: Sequence[Hashable]) -> Tensor:
    """Mean squared deviation of the logits from their superclass's mean, for every sample, whatever its label.

    ``(1/M) sum_m (1/|S_m|) sum_{k in S_m} mean_batch (z_k - mean_{j in S_m} z_j)^2`` over the M superclasses
    with at least two classes, which is the mean variance of the logits inside a superclass. A gradient stopped
    at the mean would change nothing: deviations from a mean sum to zero.

    Args:
        logits: ``(N, K)``, floating point.
        superclasses: K labels, one for each class.

    Returns:
        A scalar, 0 or more, differentiable.

    Raises:
        InputError: the number of labels is not K, or no superclass has two classes.
    """
    if not isinstance(logits, Tensor) or not logits.is_floating_point():
        got = logits.dtype if isinstance(logits, Tensor) else type(logits).__name__
        raise InputError(f"expected logits (N, K), a floating-point tensor, got {got}")
    count = checked_labels(superclasses)
    if logits.ndim != 2 or len(logits) == 0 or logits.shape[1] != count:
        raise InputError(f"expected logits (N, K) and K superclass labels, got {tuple(logits.shape)} and {count}")
    families = [[k for k, label in enumerate(superclasses) if label == name] for name in dict.fromkeys(superclasses)]
    spreads = [logits[:, members].var(dim=1, correction=0).mean() for members in families if len(members) > 1]
    if not spreads:
        raise InputError("expected a superclass with at least two classes, got none")
    return torch.stack(spreads).mean()


def linear_regularizer(model: nn.Module, input_size: tuple[int, int, int], superclasses: Sequence[Hashable]) -> Tensor:
    """``1 - gap`` of the model's linearized network, computed from C.

    No sample is needed; batch norm is removed, as in the gap that an audit reports.

    Args:
        model: a classifier, ``(N, C, H, W)`` to logits ``(N, K)``.
        input_size: ``(C, H, W)``.
        superclasses: K labels, one for each class.

    Returns:
        A scalar from -1 to 3, differentiable in the model's parameters.

    Raises:
        InputError: the number of labels is not K, or there are no siblings, or no strangers.
        LinearizationError: the model cannot be linearized.
    """
    return correlation_loss(model, input_size, lambda correlation: 1 - gap_of(correlation, superclasses))


def model_gap(model: nn.Module, input_size: tuple[int, int, int], superclasses: Sequence[Hashable]) -> float:
    """The gap of a model's linearized network; arguments and errors as :func:`linear_regularizer`."""
    return gap_of(class_correlation(model, input_size), superclasses).item()


def gap_of(correlation: Tensor, superclasses: Sequence[Hashable]) -> Tensor:
    """Mean of C, ``(K, K)``, over two classes of one superclass minus that over two of different ones; a scalar.

    Raises:
        InputError: the number of labels is not K, or there are no siblings, or no strangers.
    """
    checked_labels(superclasses)
    same = torch.tensor([[one == other for other in superclasses] for one in superclasses], device=correlation.device)
    siblings, strangers = same & ~torch.eye(len(same), dtype=torch.bool, device=same.device), ~same
    if correlation.shape != same.shape:
        raise InputError(f"expected {len(correlation)} superclasses, one for each class, got {len(same)}")
    if not siblings.any() or not strangers.any():
        raise InputError(
            "expected two superclasses, one of them with at least two classes: without them there is no gap"
        )
    return correlation[siblings].mean() - correlation[strangers].mean()
