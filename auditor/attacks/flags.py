"""Measured signs that a robust accuracy is untrustworthy. Flagged results are not ranked; notes do not prevent it."""

import torch
from torch import Tensor, nn

from auditor.attacks.squashing import EXACT, NEAR, Logits, Unsquashed, gathers_low, spread
from auditor.compute.batches import in_batches
from auditor.statistics import mcnemar

ZERO_GRADIENT_SHARE = NONFINITE_SHARE = SATURATED_SHARE = 0.05
CLEAR_POINTS, CLEAR_P = 0.05, 0.01
MIN_SATURATED, MIN_BOUNDED = 5, 40
"""So many outputs at the ends of their range, or from -1 to 1, are no chance."""
BATCH_SHIFT, ALONE = 1e-3, 8

Finding = tuple[list[str], list[str]]
"""Flags and notes."""


def output_flags(model: nn.Module, images: Tensor, logits: Tensor, beside: Tensor | None = None) -> list[str]:
    """``softmax_output``, ``randomized`` and ``batch_dependent``, from more passes over a batch.

    Args:
        images, logits: ``(N, C, H, W)`` and what the model gave for them, ``(N, K)``.
        beside: other images ``(M, C, H, W)``, for a batch of one: its image first, then its neighbours.
    """
    flags = []
    sums_to_one = (logits.sum(1) - 1).abs().max() < 1e-5
    if sums_to_one and logits.min() > -1e-5 and logits.max() < 1 + 1e-5:
        flags.append("softmax_output")
    if any(_differ(model, images, logits) for _ in range(4)):
        flags.append("randomized")
    else:
        if len(images) == 1 and beside is not None:
            images, logits = _pass_together(model, beside)
        if depends_on_batch(model, images, logits):
            flags.append("batch_dependent")
    return flags


def _pass_together(model: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """As many of the first images as fit into memory, by halving, and their logits in one batch."""
    with torch.no_grad():
        count, logits = next(in_batches(lambda part: model(images[part].clone()), len(images), len(images)))
    return images[:count], logits


def squashing_finding(target: nn.Module, outputs: Tensor, before: Logits | None) -> Finding:
    """``squashed_output``, and a note that says what is attacked instead of the outputs.

    Args:
        target: what :func:`auditor.attacks.squashing.choose_target` chose.
        outputs: ``(N, K)`` on clean images.
        before: the logits that were found before the outputs, if any.
    """
    bounded = before is None and saturates(outputs)
    hidden = bounded or ((before is None or before.nonlinearity <= EXACT) and gathers_low(outputs))
    notes = [_describe_target(target, outputs)] if isinstance(target, Unsquashed) else []
    if hidden:
        return ["squashed_output"], [*notes, "the outputs are bounded, and the logits before them are hidden"]
    squashed = isinstance(target, Unsquashed) and target.is_nonlinear and before is not None and not before.squashed
    return (["squashed_output"] if squashed else []), notes


def _describe_target(target: Unsquashed, outputs: Tensor) -> str:
    size = f"the outputs spread by {spread(outputs):.2g}"
    if target.logits is None:
        return f"{size}: the attacks run on the outputs times {target.factor:.2g}"
    operation = target.logits.operation
    if target.is_nonlinear and target.logits.squashed:
        return f"the outputs are a function of probabilities: the attacks run on these, the result of {operation}, too"
    if target.is_nonlinear:
        size = "the outputs squash logits"
    return f"{size}: the attacks run on the logits before that, the result of {operation}"


def saturates(outputs: Tensor) -> bool:
    """Whether all outputs ``(N, K)`` are from -1 to 1, or over 5 % of them within 1 % of an end of their range.

    The two that are its ends do not count. Classes whose output is one constant say nothing about saturation, and
    neither do fewer than 40 outputs, or up to 5 at the ends.
    """
    low, high = float(outputs.min()), float(outputs.max())
    near, varying = NEAR * (high - low), outputs[:, outputs.amax(0) > outputs.amin(0)]
    ends = (varying <= low + near) | (varying >= high - near)
    bounded = low >= -1 and high <= 1 and outputs.numel() >= MIN_BOUNDED
    return bounded or int(ends.sum()) - 2 > max(MIN_SATURATED, SATURATED_SHARE * ends.numel())


def vanishing_finding(broken: int, n: int) -> Finding:
    """``vanishing_gradients``: PGD on rescaled logits breaks clearly more than all attacks of the protocol."""
    notes = [f"PGD-20 on rescaled logits breaks {broken} more of {n}"] if broken else []
    return (["vanishing_gradients"] if clearly_more(broken, 0, n) else []), notes


def nonfinite_finding(broken: int, taken: int) -> Finding:
    """``nonfinite_gradients``: more than 5 % of the ``taken`` gradients at images had NaN or infinite values."""
    if not broken:
        return [], []
    note = f"{broken} of {taken} gradients held NaN or infinite values, taken as 0"
    return (["nonfinite_gradients"] if broken / taken > NONFINITE_SHARE else []), [note]


def depends_on_batch(model: nn.Module, images: Tensor, logits: Tensor) -> bool:
    """Whether images have other logits alone than in the batch: by 1e-3 of their spread, or with another decision.

    Rounding depends on the batch, too, so another decision between nearly equal logits does not count.
    """
    if len(images) == 1:
        return False
    with torch.no_grad():
        alone = torch.cat([model(images[i : i + 1].clone()) for i in range(min(ALONE, len(images)))])
    shift = logit_shift(alone, logits[: len(alone)])
    decided = alone.argmax(1) != logits[: len(alone)].argmax(1)
    return bool(((shift > BATCH_SHIFT) | (decided & (shift > BATCH_SHIFT / 10))).any())


def logit_shift(again: Tensor, logits: Tensor) -> Tensor:
    """How far logits ``(N, K)`` have moved, relative to their spread, ``(N,)``; a common offset does not count."""
    centred = logits - logits.mean(1, keepdim=True)
    moved = (again - again.mean(1, keepdim=True) - centred).norm(dim=1)
    rounding = 1e-6 * logits.abs().amax(1)  # rounding of a huge common offset
    relative: Tensor = (moved - rounding - 1e-10).clamp_min(0) / centred.norm(dim=1).clamp_min(1e-30)
    return relative


def _differ(model: nn.Module, images: Tensor, logits: Tensor) -> bool:
    """Whether another pass gives other decisions, or other logits (a common offset does not count)."""
    with torch.no_grad():
        again: Tensor = model(images.clone())
    if (again.argmax(1) != logits.argmax(1)).any():
        return True
    return bool((logit_shift(again, logits) > 1e-4).any())


def zero_gradient_finding(zeros: int, n: int) -> Finding:
    """``zero_gradients``: over 5 % of the ``n`` correctly classified samples have a gradient of exactly 0."""
    if zeros / n > ZERO_GRADIENT_SHARE:
        return ["zero_gradients"], [f"{zeros} of {n} samples have a gradient of exactly 0"]
    return [], [f"{zeros} of {n} samples have a gradient of exactly 0"] if zeros else []


def clearly_more(only_first: int, only_second: int, n: int) -> bool:
    """Whether the first attack broke 5 points or more beyond the second, with a McNemar p below 0.01."""
    points = (only_first - only_second) / n if n else 0.0
    return points >= CLEAR_POINTS and mcnemar(only_first, only_second) < CLEAR_P


def steps_finding(only_fgsm: int, only_pgd: int, n: int) -> Finding:
    """``more_steps_weaker``: one large step breaks what twenty small ones do not."""
    if clearly_more(only_fgsm, only_pgd, n):
        return ["more_steps_weaker"], [f"FGSM alone breaks {only_fgsm} of {n}, PGD-20 alone {only_pgd}"]
    return [], []


def square_finding(only_square: int, n: int) -> Finding:
    """``square_beats_gradients``: the black-box attack breaks many that no gradient attack did.

    In a cascade Square runs only on survivors of the gradient attacks, so the other discordant count is 0.
    """
    if clearly_more(only_square, 0, n):
        return ["square_beats_gradients"], [f"Square alone breaks {only_square} of {n}"]
    return [], [f"Square alone breaks {only_square} of {n}"] if only_square else []
