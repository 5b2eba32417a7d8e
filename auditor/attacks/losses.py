"""What the search maximises, beside cross-entropy and the margin of :mod:`auditor.attacks.gradient`.

Each loss takes logits ``(N, K)`` and gives ``(N,)``. One loss stalls where another does not, so the search takes turns.
"""

from torch import Tensor
from torch.nn import functional as F

from auditor.attacks.gradient import Loss, margin


def probability_margin(labels: Tensor) -> Loss:
    """``max_{j != y} p_j - p_y`` with softmax probabilities p (PMA: Xie et al., 2024)."""
    loss = margin(labels)
    return lambda logits: loss(logits.softmax(1))


def towards(targets: Tensor, labels: Tensor) -> Loss:
    """``z_t - z_y``: the logit margin towards one target per sample; ``targets, labels (N,)``."""
    return lambda logits: _pick(logits, targets) - _pick(logits, labels)


def dlr_towards(targets: Tensor, labels: Tensor) -> Loss:
    """The margin towards a target over the spread of the top logits (targeted DLR: Croce and Hein, 2020).

    It does not change when the logits are scaled or shifted. Below 4 classes it is the margin alone.
    """
    margin_towards = towards(targets, labels)

    def loss(logits: Tensor) -> Tensor:
        if logits.shape[1] < 4:
            return margin_towards(logits)
        top = logits.topk(4, dim=1).values
        spread = top[:, 0] - (top[:, 2] + top[:, 3]) / 2
        return margin_towards(logits) / (spread + 1e-12)

    return loss


def in_direction(weights: Tensor) -> Loss:
    """``w · z``: one direction ``(N, K)`` of logits per sample, for diverse starts (ODI: Tashiro et al., 2020)."""
    return lambda logits: (logits * weights).sum(1)


def _pick(logits: Tensor, classes: Tensor) -> Tensor:
    return logits[F.one_hot(classes, logits.shape[1]).bool()]
