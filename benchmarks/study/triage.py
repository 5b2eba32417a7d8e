"""What triage saves and misses on the study zoo: each model's score is that of a fit without its family."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.study.evaluate import counted, held_out_odds
from benchmarks.study.fitting import event

Row = dict[str, Any]
DRAWS = 500
SHARE = 0.1
THRESHOLDS = (0.05, 0.1, 0.2, 0.3, 0.5)
SCREENING = 32 * 8 + 32 * 11 + 32 * 2
"""Passes of one screening of ten classes."""


@dataclass(frozen=True)
class Saving:
    """Means over draws of zoos with one robust model in ten.

    Attributes:
        threshold: the score from which models are attacked.
        attacked: the share of models that are attacked.
        time: screening and attacks over attacking all, in passes.
        missed: how many of the ten most robust models of a draw are not attacked.
        lossless: the share of draws in which none of the ten is missed.
    """

    threshold: float
    attacked: float
    time: float
    missed: float
    lossless: float


def simulate(rows: Sequence[Row], norm: str, protocol: str, thresholds: Sequence[float] = THRESHOLDS) -> list[Saving]:
    """Draw zoos of 100 models, ten of them robust, with replacement, and attack them by triage."""
    kept, _ = counted(rows, norm, final=False)
    scores = 1 / (1 + np.exp(-held_out_odds(kept, "family").clip(-500, 500)))
    events = np.array([event(row) for row in kept])
    passes = np.array([_passes(row, protocol) for row in kept])
    robust = np.array([row["robust"]["1"] for row in kept])
    random = np.random.default_rng(0)
    found = []
    for threshold in thresholds:
        shares, times, missed = [], [], []
        for _ in range(DRAWS):
            zoo = np.concatenate([
                random.choice(np.flatnonzero(events), 10), random.choice(np.flatnonzero(~events), 90)
            ])  # fmt: skip
            attacked = (scores[zoo] >= threshold) | (random.random(len(zoo)) < SHARE)
            best = np.argsort(-robust[zoo], kind="stable")[:10]
            shares.append(attacked.mean())
            times.append((SCREENING * len(zoo) + passes[zoo][attacked].sum()) / passes[zoo].sum())
            missed.append(int((~attacked[best]).sum()))
        mean_missed = float(np.mean(missed))
        lossless = float(np.mean(np.array(missed) == 0))
        found.append(Saving(threshold, float(np.mean(shares)), float(np.mean(times)), mean_missed, lossless))
    return found


def _passes(row: Row, protocol: str) -> float:
    """Passes of one image that attacking a model takes, forward or backward, from how many images survive.

    ``quick``: FGSM and PGD-20. ``standard``: these and CW-20 on what is classified correctly, and AutoAttack's four on
    what survives them.
    """
    correct, surviving = row["clean"] * row["n"], row["robust"]["1"] * row["n"]
    if protocol == "quick":
        return float(correct * 42)
    return float(correct * 82 + surviving * (200 + 9 * 200 + 9 * 200 + 5000))


def triage_table(rows: Sequence[Row]) -> str:
    """All thresholds under both protocols."""
    lines = [
        "| norm | protocol | P | attacked | passes, of attacking all | of the ten most robust missed "
        "| draws without a miss |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for norm in ("Linf", "L2"):
        if len(counted(rows, norm, final=False)[0]) < 20:
            continue
        for protocol in ("quick", "standard"):
            lines += [
                f"| {norm} | {protocol} | {one.threshold:g} | {one.attacked:.2f} | {one.time:.2f} | {one.missed:.2f} "
                f"| {one.lossless:.2f} |"
                for one in simulate(rows, norm, protocol)
            ]
    return "\n".join(lines)
