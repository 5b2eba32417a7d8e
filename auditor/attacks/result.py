"""What a cascade hands back."""

from dataclasses import dataclass

from torch import Tensor

from auditor.attacks.adversarials import Adversarials
from auditor.records import AttackScore


@dataclass(frozen=True)
class RobustnessResult:
    """What a cascade found on N samples.

    Attributes:
        clean_accuracy, robust_accuracy: fractions; the robust one is the per-sample worst case of all attacks run.
        low, high: 95 % Wilson interval of ``robust_accuracy``.
        attacks: in the order in which they ran.
        correct, survived: ``(N,)`` bool, on the CPU.
        logits: ``(N, K)`` on the clean images, on the CPU.
        flags: why the result should not be ranked; ``notes``: what a reader should know besides.
        batch_size: the one used in the end; halved when memory ran out.
        adversarials: what broke the samples, where it was asked for.
        earlier: seconds that earlier attempts spent on what this one did not do again.
    """

    clean_accuracy: float
    robust_accuracy: float
    low: float
    high: float
    attacks: list[AttackScore]
    correct: Tensor
    survived: Tensor
    logits: Tensor
    flags: list[str]
    notes: list[str]
    batch_size: int
    adversarials: Adversarials | None = None
    earlier: float = 0.0
