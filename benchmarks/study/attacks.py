"""Robust accuracy of a study model at half, once and twice its radius, each image attacked as rarely as can be.

Images that the model misclassifies are not attacked. An image that is broken within a smaller ball is broken within a
larger one, and one that withstands the strong attacks at eps withstands them at eps/2: neither is attacked again.
At eps all of ``SHORT`` runs; at the other radii CW-20 alone. ``standard`` runs auditor's protocol.
"""

from typing import Any

import torch
from torch import Tensor, nn

from auditor.attacks import PROTOCOLS, Protocol, evaluate_robustness
from auditor.attacks.protocols import Attack

_STANDARD = PROTOCOLS["standard"].attacks
CHEAP = Protocol("cheap", None, (_STANDARD[2],), "CW-20: PGD on the margin")
SHORT = Protocol(
    "short-t1-q100",
    None,
    (
        *_STANDARD[:3],
        Attack("apgd-t", "autoattack", {"iterations": 100, "restarts": 1, "targets": 1}),
        Attack("square", "autoattack", {"queries": 100, "restarts": 1}),
    ),
    "standard with fewer targets and queries, without apgd-ce and fab-t",
)
STRONG = {"short": SHORT, "standard": PROTOCOLS["standard"]}


def robust_accuracies(
    network: nn.Module, images: Tensor, labels: Tensor, *, norm: str, eps: float, protocol: str
) -> dict[str, Any]:
    """Clean accuracy, robust accuracy by multiple of eps, and what broke how many, as a part of a row."""
    with torch.no_grad():
        correct = network(images).argmax(1) == labels
    broken: dict[str, int] = {}
    flags: list[str] = []

    def surviving(chosen: Tensor, factor: float, attacks: Protocol) -> Tensor:
        """Which of the chosen images survive at ``factor`` times eps: all N, False where not chosen."""
        result = torch.zeros_like(chosen)
        if chosen.any():
            places = chosen.nonzero().flatten()
            found = evaluate_robustness(
                network, images[places], labels[places], norm=norm, eps=factor * eps, protocol=attacks,
                batch_size=500, indices=places.tolist(),
            )  # fmt: skip
            result[places] = found.survived
            for score in found.attacks:
                key = f"{factor:g} {score.attack}"
                broken[key] = broken.get(key, 0) + score.broken
            flags.extend(found.flags)
        return result

    half = surviving(correct, 0.5, CHEAP)
    once = surviving(half, 1.0, STRONG[protocol])
    twice = surviving(once, 2.0, CHEAP)
    return {
        "n": len(images),
        "clean": float(correct.double().mean()),
        "robust": {f"{factor:g}": float(left.double().mean()) for factor, left in ((0.5, half), (1, once), (2, twice))},
        "broken": broken,
        "flags": sorted(set(flags)),
        "protocol": STRONG[protocol].name,
    }
