"""Targeted attacks: which samples can be broken into their own superclass, and which into others.

The cascade stops at the first wrong class that it finds. Here PGD on the margin of one target class after another shows
what else lies within the budget. The model itself decides: a sample counts if it predicts the target, inside the
budget.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from auditor.attacks.gradient import Loss, margin, pgd
from auditor.attacks.protocols import Attack

if TYPE_CHECKING:
    from auditor.attacks.attacker import Attacker

MOST_TARGETS = 9
"""So many wrong classes of a sample are targets, those with the highest logits; of 10 classes, all wrong ones."""
STEPS, STEP_FRACTION = 20, 0.25
PARAMETERS = {"loss": "target margin", "steps": STEPS, "step_fraction": STEP_FRACTION, "targets": MOST_TARGETS}
NAME = "targeted"


def target_margin(targets: Tensor) -> Loss:
    """``z_t - max_{j != t} z_j``: positive once the model predicts the target ``t``; ``targets (N,)``."""
    away = margin(targets)
    return lambda logits: -away(logits)


def choose_targets(logits: Tensor, labels: Tensor) -> Tensor:
    """``(N, T)`` the wrong classes with the highest of the logits ``(N, K)``, the highest first; T is at most 9.

    Example:
        >>> choose_targets(torch.tensor([[0.1, 3.0, 0.5]]), torch.tensor([1])).tolist()
        [[2, 0]]
    """
    wrong = logits.masked_fill(F.one_hot(labels, logits.shape[1]).bool(), -torch.inf)
    return wrong.topk(min(MOST_TARGETS, logits.shape[1] - 1)).indices


class TargetedAttack:
    """Attacks samples of one evaluation towards their targets, as an attacker aims.

    Args:
        attacker: of the evaluation, after its cascade.
        logits: ``(N, K)`` on the clean images.
        families: ``(K,)`` int64, the superclass of each class.
    """

    def __init__(self, attacker: "Attacker", logits: Tensor, families: Tensor) -> None:
        self.attacker, self.targets = attacker, choose_targets(logits, attacker.labels)
        self.inside = families[self.targets] == families[attacker.labels][:, None]

    def break_samples(self, samples: Tensor) -> Tensor:
        """``(M, 2)`` bool: whether each sample became a class of its own superclass, and one of another.

        A sample that became one is not attacked towards further targets of this kind.
        """
        broken = torch.zeros(len(samples), 2, dtype=torch.bool, device=samples.device)
        kinds = (~self.inside[samples]).long()  # 0 within the superclass, 1 across
        for number in range(self.targets.shape[1]):
            open_ones = ~broken.gather(1, kinds[:, number : number + 1])[:, 0]
            if open_ones.any():
                reached = self._reach(samples[open_ones], number)
                broken[open_ones.nonzero().flatten()[reached], kinds[open_ones, number][reached]] = True
        return broken

    def _reach(self, samples: Tensor, number: int) -> Tensor:
        """``(M,)`` bool: which samples the model assigns to their target of this number, inside the budget."""
        attacker, targets = self.attacker, self.targets[samples, number]
        images = attacker.images[samples]
        start = attacker.norm.random_start(
            attacker.numbers[samples.cpu()], images, attacker.eps, seed=attacker.seed, name=f"{NAME}-{number}"
        )
        found = pgd(
            attacker.choose_network(Attack(NAME, "gradient", PARAMETERS), len(samples)),
            images,
            target_margin(targets),
            norm=attacker.norm,
            eps=attacker.eps,
            steps=STEPS,
            step_size=STEP_FRACTION * attacker.eps,
            start=start,
            targets=targets,
            together=not attacker.copy.reproducible,
        )
        with torch.no_grad():
            predicted = attacker.model(found.clone()).argmax(1)
        within = attacker.norm.within_budget(found, images, attacker.eps)
        reached: Tensor = within & (predicted == targets)
        return reached
