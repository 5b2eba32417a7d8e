"""Logistic regression with non-negative weights, its penalty chosen by leaving out families; see docs/screening.md."""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from auditor.screening.features import FEATURES, FEATURES_OF_MANY, Statistics

Floats = NDArray[np.float64]
Row = dict[str, Any]
PENALTIES = (0.003, 0.01, 0.03, 0.1, 0.3)
FACTORS = (0.5, 1.0, 2.0)


@dataclass(frozen=True)
class HeldOut:
    """How well models are predicted whose families the fit has not seen; each with a 95 % interval."""

    rho: tuple[float, float, float]
    auc: tuple[float, float, float]
    brier: float
    models: int
    events: int
    families: int


@dataclass(frozen=True)
class Fit:
    """Standardized features by name, their weights, and the penalty that was chosen."""

    names: tuple[str, ...]
    means: Floats
    deviations: Floats
    weights: Floats
    intercept: float
    penalty: float

    def log_odds(self, features: Floats) -> Floats:
        standard = np.nan_to_num((features - self.means) / self.deviations)
        result: Floats = standard @ self.weights + self.intercept
        return result


def features_of(rows: Sequence[Row], names: Sequence[str], factor: float = 1.0) -> Floats:
    """``(rows, features)`` at ``factor`` times each row's eps."""
    return np.array([[feature(row, name, factor) for name in names] for row in rows], np.float64)


def feature(row: Row, name: str, factor: float) -> float:
    """One feature as ``auditor.screening`` computes it, from a row's measures."""
    known = FEATURES | FEATURES_OF_MANY
    if name in known:
        return known[name](Statistics(row["measures"], factor * row["eps"]))
    value = float(row["measures"].get(name, math.nan))
    return value - math.log2(factor) if name.startswith("radius/") else value


def event(row: Row, factor: float = 1.0) -> bool:
    """Whether at least half of what is classified correctly survives at ``factor`` times eps."""
    return bool(row["robust"][f"{factor:g}"] >= 0.5 * row["clean"])


def fit(rows: Sequence[Row], names: Sequence[str] = tuple(FEATURES)) -> Fit:
    """The regression on rows at half, once and twice eps, its penalty chosen by leaving out their families in turn."""
    families = sorted({row["family"] for row in rows})
    penalty = PENALTIES[1]
    if len(families) > 1:
        losses = [sum(_held_out_loss(rows, names, family, candidate) for family in families) for candidate in PENALTIES]
        penalty = PENALTIES[int(np.argmin(losses))]
    return _fit(rows, names, penalty)


def _held_out_loss(rows: Sequence[Row], names: Sequence[str], family: str, penalty: float) -> float:
    rest, held = [r for r in rows if r["family"] != family], [r for r in rows if r["family"] == family]
    found = _fit(rest, names, penalty)
    total = 0.0
    for factor in FACTORS:
        odds = found.log_odds(features_of(held, names, factor))
        total += float(_log_loss(odds, np.array([event(row, factor) for row in held])).sum())
    return total


def _log_loss(odds: Floats, events: NDArray[np.bool_]) -> Floats:
    result: Floats = np.logaddexp(0, np.where(events, -odds, odds))
    return result


def _fit(rows: Sequence[Row], names: Sequence[str], penalty: float) -> Fit:
    x = np.concatenate([features_of(rows, names, factor) for factor in FACTORS])
    y = np.concatenate([[event(row, factor) for row in rows] for factor in FACTORS])
    known = np.isfinite(x)
    counts = known.sum(0).clip(1)
    means = np.where(known, x, 0).sum(0) / counts
    deviations = np.sqrt((np.where(known, x - means, 0) ** 2).sum(0) / counts)
    deviations = np.where(deviations > 1e-9, deviations, 1.0)
    standard = np.where(known, (x - means) / deviations, 0)

    def loss(parameters: Floats) -> tuple[float, Floats]:
        weights, intercept = parameters[:-1], parameters[-1]
        odds = standard @ weights + intercept
        slope = (1 / (1 + np.exp(-odds.clip(-500, 500))) - y) / len(y)
        gradient = np.append(standard.T @ slope + 2 * penalty * weights, slope.sum())
        return float(_log_loss(odds, y).mean() + penalty * (weights**2).sum()), gradient

    start = np.zeros(len(names) + 1)
    bounds = [(0.0, None)] * len(names) + [(-20.0, 20.0)]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds)
    return Fit(tuple(names), means, deviations, found.x[:-1], float(found.x[-1]), penalty)


def digest_of(rows: Sequence[Row]) -> str:
    """SHA-256 of the rows that were fitted, in the order of their models' names."""
    ordered = sorted(rows, key=lambda row: str(row["model"]))
    return hashlib.sha256(json.dumps(ordered, sort_keys=True).encode()).hexdigest()


def constants_toml(fits: dict[str, tuple[Fit, Sequence[Row]]], held_out: dict[str, HeldOut] | None = None) -> str:
    """The data file of ``auditor.screening.constants``, with where it comes from and how well it predicts."""
    lines = ["# Made by `python -m benchmarks.study fit`: do not edit. What it means: docs/screening.md."]
    for norm, (found, rows) in fits.items():
        held = sorted({row["model"] for row in rows})
        lines += [
            "",
            f"[{norm}]",
            f"intercept = {found.intercept:.6g}",
            f"penalty = {found.penalty:g}",
            f"models = {len(held)}",
            f'rows_sha256 = "{digest_of(rows)}"',
            f"events = {sum(event(row, factor) for row in rows for factor in FACTORS)}",
            f"families = {sorted({row['family'] for row in rows})}".replace("'", '"'),
            f"data = {sorted({row['data'] for row in rows})}".replace("'", '"'),
            f"robust_protocols = {sorted({row['protocol'] for row in rows})}".replace("'", '"'),
        ]
        if held_out is not None:
            seen = held_out[norm]
            lines += [
                "",
                f"[{norm}.families_held_out]",
                f"models = {seen.models}",
                f"events = {seen.events}",
                f"families = {seen.families}",
                f"rho = {[round(value, 3) for value in seen.rho]}",
                f"auc = {[round(value, 3) for value in seen.auc]}",
                f"brier = {seen.brier:.3g}",
            ]
        for name, mean, deviation, weight in zip(
            found.names, found.means, found.deviations, found.weights, strict=True
        ):
            lines += [
                "",
                f"[[{norm}.features]]",
                f'name = "{name}"',
                f"mean = {mean:.6g}",
                f"deviation = {deviation:.6g}",
                f"weight = {weight:.6g}",
            ]
    return "\n".join(lines) + "\n"
