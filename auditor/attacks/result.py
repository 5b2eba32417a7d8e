"""The result of a cascade."""

from dataclasses import dataclass

from torch import Tensor

from auditor.attacks.adversarials import Adversarials
from auditor.attacks.selection import LeftOut
from auditor.records import AttackScore
from auditor.records.curves import Curve
from auditor.records.targeted import TargetedScore


@dataclass(frozen=True)
class RobustnessResult:
    """Scores and verdicts of a cascade on N samples.

    Attributes:
        clean_accuracy, robust_accuracy: fractions; the robust one is the per-sample worst case of all attacks run.
        low, high: 95 % Wilson interval of ``robust_accuracy``.
        attacks: in the order in which they ran.
        correct, survived: ``(N,)`` bool, on the CPU.
        predicted: ``(N,)`` int64, on the CPU: the class of the adversarial image that broke the sample; of the clean
            image if no attack did. So it is the label exactly where the sample survived.
        broken_at: ``(N,)`` int64, on the CPU: the position in ``attacks`` of the attack that broke the sample, or -1.
        logits: ``(N, K)`` on the clean images, on the CPU.
        flags: reasons not to rank the result.
        notes: other remarks for the reader.
        batch_size: the batch size at the end; it was halved each time memory ran out.
        positions: ``(N,)`` int64, on the CPU: the places of the N samples among those given; all, unless a threshold
            was decided early. Then ``low`` and ``high`` hold at any time, see :mod:`auditor.attacks.sequential`.
        adversarials: the images that broke samples, if ``keep`` was set.
        targeted: success rates of the targeted attack, if superclasses were given.
        curve: the smallest perturbations found, if a curve was measured.
        left_out: the samples that FAB and Square left out, and how many of these they would break at most.
        lack: ``(N,)`` float64, on the CPU: what each sample lacks to the boundary, as the search measured it; infinite
            if no search measured it. See :mod:`auditor.attacks.search`.
        earlier: seconds that earlier attempts spent on attacks that this attempt did not repeat.
    """

    clean_accuracy: float
    robust_accuracy: float
    low: float
    high: float
    attacks: list[AttackScore]
    correct: Tensor
    survived: Tensor
    predicted: Tensor
    broken_at: Tensor
    logits: Tensor
    flags: list[str]
    notes: list[str]
    batch_size: int
    positions: Tensor
    adversarials: Adversarials | None = None
    earlier: float = 0.0
    targeted: TargetedScore | None = None
    left_out: LeftOut | None = None
    curve: Curve | None = None
    lack: Tensor | None = None
