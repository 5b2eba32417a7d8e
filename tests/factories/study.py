"""Rows of the study zoo whose answer is known."""

from typing import Any

import numpy as np

from auditor.screening.features import FEATURES, FEATURES_OF_MANY


def row(number: int, *, strength: float, **values: Any) -> dict[str, Any]:
    """A model whose lengths decide all: robust where margins are large and slopes small."""
    random = np.random.default_rng(number)
    measures = {name: float(random.normal()) for name in ("local_gap/confident", "local_gap/uniform", "margin/smooth")}
    for name in FEATURES | FEATURES_OF_MANY:
        length = 0.1 * 2 ** (strength + 0.3 * random.normal())
        if not name.startswith("local_gap/"):
            measures[name] = 1 / length if name.startswith("slope/") else length
    robust = {f"{factor:g}": 0.9 / (1 + factor * 2**-strength) for factor in (0.5, 1.0, 2.0)}
    usual = {
        "model": f"m{number}", "data": "ab"[number % 2], "family": "pqrs"[number % 4], "training": "xyz"[number % 3],
        "final": False, "norm": "Linf", "eps": 0.1, "clean": 0.9, "robust": robust, "flags": [], "measures": measures,
        "protocol": "short",
    }  # fmt: skip
    return usual | values
