"""The screening score: statistics of a network's local linear maps at probe images, in one call."""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from auditor.attacks.gradient import frozen
from auditor.clustering import clustering_scores, correlation
from auditor.errors import InputError, LinearizationError, first_line
from auditor.linear import template_gram
from auditor.records.screening import Screening
from auditor.screening.constants import load_constants
from auditor.screening.features import Statistics
from auditor.screening.local import EXACT_CLASSES, local_maps
from auditor.screening.probes import Size, confident_images, probe_images
from auditor.screening.statistics import local_gap, median, spread
from auditor.torch_state import default_modes

PROBES, LEAST_PROBES = 32, 8
PASSES = PROBES * 11
"""Backward passes through the Jacobian's rows that 32 probes of ten classes take: more classes get fewer probes."""
POOL, POOL_OF_MANY = 8, 4
"""Random images of which one is chosen; fewer for many classes, whose models are larger."""
FEW_CLASSES = "there is no class hierarchy, or no gap can be told from it"


@default_modes()
def screen(
    model: nn.Module,
    input_size: Size,
    superclasses: Sequence[Hashable] | None,
    *,
    norm: str,
    eps: float,
    probes: int | None = None,
    seed: int = 0,
    gap: float | None = None,
    collect: Callable[[Tensor, int], None] | None = None,
) -> Screening:
    """Screen a model without data, labels or attacks on data.

    Args:
        model: ``(N, C, H, W)`` in [0, 1] to logits ``(N, K)``; run in eval mode, and left as it was.
        input_size: ``(C, H, W)``.
        superclasses: K labels, one a class; None where there is no hierarchy.
        norm: ``Linf`` or ``L2``.
        eps: the radius of the threat model, in units of the [0, 1] pixels.
        probes: random images of each kind; by default 32 up to ten classes, and fewer, down to 8, for more classes.
        seed: of the probes.
        gap: the gap of the linearized network where it is known; None computes it.
        collect: called for each kind of probes with the mean of the local maps, ``(K, C, H, W)``, and their number;
            not for models of more than 100 classes.

    Raises:
        InputError: an argument is not as described, or the model's output is not ``(N, K)`` with K of 2 or more.

    Example:
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(16, 4))
        >>> 0 <= screen(network, (1, 4, 4), ["a", "a", "b", "b"], norm="Linf", eps=0.1).score <= 1
        True
    """
    _check(input_size, norm, eps, probes)
    like = next((t for t in (*model.parameters(), *model.buffers()) if t.is_floating_point()), torch.zeros(()))
    with frozen(model), torch.no_grad():
        first = model(probe_images("uniform", 1, input_size, seed).to(like))
    if not isinstance(first, Tensor) or first.ndim != 2 or first.shape[1] < 2:
        raise InputError(f"expected logits (N, K) of two or more classes, got {getattr(first, 'shape', type(first))}")
    classes = first.shape[1]
    if superclasses is not None and len(superclasses) != classes:
        raise InputError(f"expected one superclass a class, got {len(superclasses)} for {classes}")
    many = classes > EXACT_CLASSES
    probes = probes or max(LEAST_PROBES, min(PROBES, PASSES // (classes + 1)))
    found = _Found(model, input_size, classes, superclasses, norm, probes, seed, like, collect)
    found.look()
    statistics, reasons = found.statistics, found.reasons
    if gap is None:
        gap, why = _gap(model, input_size, superclasses)
        if why:
            reasons["gap"] = why
    statistics["gap"] = gap
    score, why = load_constants(norm, many=many).score(Statistics(statistics, eps))
    if why:
        reasons["score"] = why
    return Screening(
        score=score,
        margin=statistics["margin_two/confident" if many else "margin/confident"],
        local_gap=statistics["local_gap/confident"],
        gap=gap,
        statistics=statistics,
        findings=tuple(dict.fromkeys(found.findings)),
        reasons=reasons,
    )


@dataclass
class _Found:
    """Statistics of one model, kind by kind."""

    model: nn.Module
    input_size: Size
    classes: int
    superclasses: Sequence[Hashable] | None
    norm: str
    probes: int
    seed: int
    like: Tensor
    collect: Callable[[Tensor, int], None] | None = None
    statistics: dict[str, float] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)

    def look(self) -> None:
        images, answers = confident_images(
            self.model, self.input_size, self.probes, self.seed, POOL if self.classes <= EXACT_CLASSES else POOL_OF_MANY
        )
        if bool((answers == answers[0]).all()):
            self.findings.append("constant_answer")
        self._look("confident", images, EXACT_CLASSES)
        if self.classes <= EXACT_CLASSES:
            uniform = probe_images("uniform", self.probes, self.input_size, self.seed).to(self.like)
            self._look("uniform", uniform, most_classes=0)
        if math.isnan(self.statistics["margin_two/confident"]):
            self.reasons["margin"] = "no gradient at any probe is finite and other than zero"
        if math.isnan(self.statistics["local_gap/confident"]):
            self.reasons["local_gap"] = (
                f"more than {EXACT_CLASSES} classes" if self.classes > EXACT_CLASSES
                else FEW_CLASSES if self.superclasses is None or len(set(self.superclasses)) in (1, self.classes)
                else "no local map has finite rows other than zero"
            )  # fmt: skip

    def _look(self, kind: str, images: Tensor, most_classes: int) -> None:
        """All statistics of the local maps; up to ``most_classes`` classes those that need every row of them, too."""
        maps = local_maps(self.model, images, self.norm, most_classes=most_classes)
        if self.collect is not None and maps.mean_map is not None:
            self.collect(maps.mean_map, len(images))
        _, scale = spread(maps.logits)
        self.statistics[f"margin_two/{kind}"] = median(maps.two_class)
        self.statistics[f"slope/{kind}"] = median(maps.slopes / scale)
        if most_classes:
            self.statistics[f"margin/{kind}"] = median(maps.all_class)
            self.statistics[f"local_gap/{kind}"] = local_gap(maps.gram, self.superclasses or ())
        self._judge(maps.logits, maps.slopes)

    def _judge(self, logits: Tensor, slopes: Tensor) -> None:
        if not torch.isfinite(logits).all():
            self.findings.append("nonfinite_logits")
        if not torch.isfinite(slopes).all():
            self.findings.append("nonfinite_gradients")
        if (slopes == 0).any():
            self.findings.append("zero_gradients")


def _gap(model: nn.Module, input_size: Size, superclasses: Sequence[Hashable] | None) -> tuple[float, str]:
    """The gap of the linearized network, and why it is NaN."""
    if superclasses is None:
        return math.nan, FEW_CLASSES
    try:
        gram = template_gram(model, input_size).gram.numpy()
    except LinearizationError as error:
        return math.nan, first_line(error)
    scores = clustering_scores(correlation(gram), superclasses, permutations=1)
    return scores.gap, scores.reasons.get("gap", "")


def _check(input_size: Size, norm: str, eps: float, probes: int | None) -> None:
    if len(input_size) != 3 or any(not isinstance(side, int) or side < 1 for side in input_size):
        raise InputError(f"expected the input size (C, H, W), got {input_size!r}")
    if norm not in ("Linf", "L2"):
        raise InputError(f"expected the norm Linf or L2, got {norm!r}")
    if not 0 < eps < math.inf:
        raise InputError(f"expected eps above 0, got {eps!r}")
    if probes is not None and probes < 1:
        raise InputError(f"expected at least 1 probe, got {probes!r}")
