"""From the measurements to the calibration of `screen`: which models are robust, and which gaps are chance."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auditor.statistics import Auc, auc

THRESHOLD = 0.4
Found = dict[str, Any]
HEAD = "# Made by `python -m benchmarks.findings none --calibrate`: do not edit. What it means: docs/findings.md.\n"


def counted(found: Found, variant: str, regularized: bool = True) -> dict[str, dict[str, Any]]:
    """Rows of the demo zoo under `screen`, with the robust accuracy of README's strong attacks.

    Models that an attack has flagged are left out, and those trained with the regularizer on request.
    """
    flagged = {model for model, row in found["demo/quick/remove"].items() if row["flags"]}
    return {
        model: row | {"robust": found["demo/standard"][model]}
        for model, row in found[f"demo/screen/{variant}"].items()
        if model not in flagged and not row["flags"] and (regularized or not row["regularized"])
    }


def demo_auc(
    found: Found, variant: str, threshold: float = THRESHOLD, regularized: bool = True, score: str = "gap"
) -> Auc:
    rows = counted(found, variant, regularized).values()
    return auc([row[score] for row in rows], [row["robust"] >= threshold for row in rows])


def bootstrap(found: Found, variant: str, regularized: bool = True, draws: int = 10_000) -> tuple[float, float]:
    """The 2.5 and 97.5 percentiles of the AUC over models drawn anew, robust and other ones each for themselves."""
    rows = counted(found, variant, regularized).values()
    gaps = np.array([row["gap"] for row in rows])
    robust = np.array([row["robust"] >= THRESHOLD for row in rows])
    generator = np.random.default_rng(0)
    yes, no = (generator.choice(gaps[part], (draws, int(part.sum()))) for part in (robust, ~robust))
    differences = yes[:, :, None] - no[:, None]
    values = ((differences > 0) + (differences == 0) / 2).mean((1, 2))
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def random_networks(found: Found, data: str, variant: str = "remove") -> dict[str, list[dict[str, Any]]]:
    """Measured random networks by architecture."""
    networks: dict[str, list[dict[str, Any]]] = {}
    for name, row in found.items():
        if name.startswith(f"null/{data}/{variant}/") and "gap" in row:
            networks.setdefault(name.split("/")[3], []).append(row)
    return networks


def column(networks: dict[str, list[dict[str, Any]]], name: str) -> NDArray[np.float64]:
    return np.array([row[name] for rows in networks.values() for row in rows])


def write(found: Found, file: Path) -> None:
    text = HEAD
    for variant in ("remove", "fold"):
        area = demo_auc(found, variant)
        networks = random_networks(found, "cifar10", variant)
        gaps = column(networks, "gap")
        values = {
            "threshold": THRESHOLD, "n": area.n, "robust": area.positives,
            "auc": round(area.value, 4), "low": round(area.low, 4), "high": round(area.high, 4),
            "networks": len(gaps), "architectures": len(networks), "gap_95": round(float(np.percentile(gaps, 95)), 4),
        }  # fmt: skip
        text += f"\n[{variant}]\n" + "".join(f"{name} = {value}\n" for name, value in values.items())
    file.write_text(text, encoding="utf-8")
