"""Accuracy on held-out images, clean and attacked."""

from torch import nn

from auditor.adapt.splits import Part
from auditor.attacks import PROTOCOLS, Protocol, evaluate_robustness
from auditor.boost.training import pixels_of
from auditor.errors import UsageError
from auditor.records.adaptations import Accuracy

ADAPT = Protocol(
    "adapt",
    1000,
    tuple(attack for attack in PROTOCOLS["standard"].attacks if attack.name in ("pgd-20", "apgd-ce")),
    "PGD-20, then APGD-CE with 100 iterations on the samples that are still robust",
)


def find_protocol(name: str) -> Protocol:
    """``adapt``, or a protocol of audits with attacks; raises UsageError if the name is unknown."""
    known = {ADAPT.name: ADAPT, **{key: found for key, found in PROTOCOLS.items() if found.attacks}}
    if name not in known:
        raise UsageError(f"no protocol named {name!r}; expected one of: {', '.join(known)}")
    return known[name]


def measure(model: nn.Module, part: Part, *, norm: str, eps: float, protocol: str, seed: int = 0) -> Accuracy:
    """Clean and robust accuracy of a model in eval mode, ``(N, C, H, W)`` in [0, 1] to logits, on labelled images.

    Errors as ``evaluate_robustness``.
    """
    device = next(model.parameters()).device
    found = evaluate_robustness(
        model,
        pixels_of(part.images.to(device)),
        part.labels.to(device),
        norm=norm,
        eps=eps,
        protocol=find_protocol(protocol),
        seed=seed,
        indices=part.numbers.tolist(),
    )
    return Accuracy(
        clean=found.clean_accuracy,
        robust=found.robust_accuracy,
        low=found.low,
        high=found.high,
        n=len(part.labels),
        flags=tuple(found.flags),
    )
