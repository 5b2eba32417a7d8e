"""What makes a robust accuracy untrustworthy, measured: flags, whose rows are unranked, and notes, which rank."""

import torch
from torch import Tensor, nn

from auditor.attacks.squashing import Unsquashed, spread
from auditor.statistics import mcnemar

ZERO_GRADIENT_SHARE = NONFINITE_SHARE = SATURATED_SHARE = 0.05
CLEAR_POINTS, CLEAR_P = 0.05, 0.01
NEAR = 0.01


BATCH_SHIFT, ALONE = 1e-3, 8


def output_flags(model: nn.Module, images: Tensor, logits: Tensor) -> list[str]:
    """``softmax_output``, ``randomized`` and ``batch_dependent``, from more passes over a batch with these logits."""
    flags = []
    sums_to_one = (logits.sum(1) - 1).abs().max() < 1e-5
    if sums_to_one and logits.min() > -1e-5 and logits.max() < 1 + 1e-5:
        flags.append("softmax_output")
    if any(_differ(model, images, logits) for _ in range(4)):
        flags.append("randomized")
    elif depends_on_batch(model, images, logits):
        flags.append("batch_dependent")
    return flags


def squashing_finding(target: nn.Module, outputs: Tensor, *, hidden: bool) -> tuple[list[str], list[str]]:
    """``squashed_output``, and a note of what is attacked instead of the outputs.

    ``target`` is what :func:`auditor.attacks.squashing.choose_target` chose; ``hidden``: it could not look inside.
    """
    if hidden and saturates(outputs):
        return ["squashed_output"], ["the outputs are bounded, and the logits before them are hidden"]
    if not isinstance(target, Unsquashed):
        return [], []
    size = f"the outputs spread by {spread(outputs):.2g}"
    if target.logits is None:
        return [], [f"{size}: attacked times {target.factor:.2g}"]
    where = f"attacked are the logits before that, which {target.logits.operation} gives"
    if target.bends:
        return ["squashed_output"], [f"the outputs squash logits: {where}"]
    return [], [f"{size}: {where}"]


def saturates(outputs: Tensor) -> bool:
    """Whether all outputs ``(N, K)`` are from -1 to 1, or more than 5 % within 1 % of where their range ends."""
    low, high = float(outputs.min()), float(outputs.max())
    near = NEAR * (high - low)
    ends = (outputs <= low + near) | (outputs >= high - near)
    return (low >= -1 and high <= 1) or float(ends.float().mean()) > SATURATED_SHARE


def vanishing_finding(broken: int, n: int) -> tuple[list[str], list[str]]:
    """``vanishing_gradients``: PGD on logits of a usual size breaks clearly more than all attacks of the protocol."""
    said = [f"PGD-20 on rescaled logits breaks {broken} of {n} that stood"] if broken else []
    return (["vanishing_gradients"] if clearly_more(broken, 0, n) else []), said


def nonfinite_finding(broken: int, taken: int) -> tuple[list[str], list[str]]:
    """``nonfinite_gradients``: of so many gradients taken at images, more than 5 % held a NaN or an infinite value."""
    if not broken:
        return [], []
    said = f"{broken} of {taken} gradients held NaN or infinite values, taken as 0"
    return (["nonfinite_gradients"] if broken / taken > NONFINITE_SHARE else []), [said]


def depends_on_batch(model: nn.Module, images: Tensor, logits: Tensor) -> bool:
    """Whether images have other logits alone than in the batch: by 1e-3 of their spread, or enough to decide otherwise.

    Rounding differs with the batch, too: a decision between logits that are all but equal is none.
    """
    if len(images) == 1:
        return False
    with torch.no_grad():
        alone = torch.cat([model(images[i : i + 1].clone()) for i in range(min(ALONE, len(images)))])
    shift = logit_shift(alone, logits[: len(alone)])
    decided = alone.argmax(1) != logits[: len(alone)].argmax(1)
    return bool(((shift > BATCH_SHIFT) | (decided & (shift > BATCH_SHIFT / 10))).any())


def logit_shift(again: Tensor, logits: Tensor) -> Tensor:
    """How far logits ``(N, K)`` have moved beside their spread, ``(N,)``; an offset of all of them is none."""
    centred = logits - logits.mean(1, keepdim=True)
    moved = (again - again.mean(1, keepdim=True) - centred).norm(dim=1)
    rounding = 1e-6 * logits.abs().amax(1)  # what is left of a huge offset
    beside: Tensor = (moved - rounding - 1e-10).clamp_min(0) / centred.norm(dim=1).clamp_min(1e-30)
    return beside


def _differ(model: nn.Module, images: Tensor, logits: Tensor) -> bool:
    """Whether another pass decides otherwise, or gives other logits beside their spread (a shared offset is none)."""
    with torch.no_grad():
        again: Tensor = model(images.clone())
    if (again.argmax(1) != logits.argmax(1)).any():
        return True
    return bool((logit_shift(again, logits) > 1e-4).any())


def zero_gradient_finding(zeros: int, n: int) -> tuple[list[str], list[str]]:
    """Flags and notes of ``zeros`` samples without a gradient among ``n`` that are classified correctly."""
    if zeros / n > ZERO_GRADIENT_SHARE:
        return ["zero_gradients"], [f"{zeros} of {n} samples have a gradient of exactly 0"]
    return [], [f"{zeros} of {n} samples have a gradient of exactly 0"] if zeros else []


def clearly_more(only_first: int, only_second: int, n: int) -> bool:
    """Whether the first attack broke 5 points or more beyond the second, with a McNemar p below 0.01."""
    points = (only_first - only_second) / n if n else 0.0
    return points >= CLEAR_POINTS and mcnemar(only_first, only_second) < CLEAR_P


def steps_finding(only_fgsm: int, only_pgd: int, n: int) -> tuple[list[str], list[str]]:
    """``more_steps_weaker``: one large step breaks what twenty small ones do not."""
    if clearly_more(only_fgsm, only_pgd, n):
        return ["more_steps_weaker"], [f"FGSM alone breaks {only_fgsm} of {n}, PGD-20 alone {only_pgd}"]
    return [], []


def square_finding(only_square: int, n: int) -> tuple[list[str], list[str]]:
    """``square_beats_gradients``: the black-box attack breaks many that no gradient attack did.

    In a cascade Square runs on what the gradient attacks left standing, so the other discordant count is 0.
    """
    if clearly_more(only_square, 0, n):
        return ["square_beats_gradients"], [f"Square alone breaks {only_square} of {n}"]
    return [], [f"Square alone breaks {only_square} of {n}"] if only_square else []
