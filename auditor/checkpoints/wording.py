"""Sentences on a recipe and its results, shared by lists, model cards and figures."""

from functools import partial
from typing import Any

from auditor.records.checkpoints import CheckpointRow
from auditor.text.eps import format_eps
from auditor.text.numbers import MINUS, counted, interval, p_equation, points

signed_points = partial(points, minus=MINUS)

_HEADLINES = {
    "significant gain": "Significant gain",
    "no significant gain": "No significant gain",
    "significant loss": "Significant loss",
    "not audited": "Not audited",
}


def recipe_words(recipe: dict[str, Any]) -> str:
    """The recipe in one line: ``at Linf 8/255, 10 steps, logits β 0.1, 5 epochs``."""
    parts = [str(recipe["method"])]
    if recipe["method"] != "standard":
        parts = [
            f"{recipe['method']} {recipe['norm']} {format_eps(recipe['eps'])}",
            counted(recipe["steps"], "step"),
        ]
    acts = recipe["regularizer"] != "none" and recipe["beta"]
    parts.append(f"{recipe['regularizer']} β {recipe['beta']:g}" if acts else "no regularizer")
    parts += [f"{name} {recipe[name]:g}" for name in ("ema", "awp", "noise", "label_smoothing") if recipe[name]]
    epochs = recipe["epochs"]
    return ", ".join([*parts, counted(epochs, "epoch")]).replace("label_smoothing", "label smoothing")


def threat(row: CheckpointRow) -> str:
    """The threat model of the two audits: ``Linf 8/255``."""
    return f"{row.norm} {format_eps(row.eps)}"


def is_gain(row: CheckpointRow) -> bool:
    """Whether the checkpoint is more robust than its parent beyond chance."""
    return row.verdict == "significant gain"


def verdict_words(row: CheckpointRow) -> str:
    """One or two sentences: whether fine-tuning helped, by how much, and with what certainty."""
    head = _HEADLINES[row.verdict]
    paired = row.comparison
    if row.verdict == "not audited" or paired is None:
        return f"{head}: it is not known whether this checkpoint is more robust than {row.model}."
    result = (
        f"{head}: against {row.model}, on the same {paired.n:,} images under {threat(row)}, robust accuracy "
        f"changed by {signed_points(paired.difference)} points (95 % interval "
        f"{interval(paired.low, paired.high, signed_points)}; "
        f"McNemar's exact test: {p_equation(paired.p_value)})."
    )
    return f"{result} {_ADVICE[row.verdict]}{_flag_words(row)}".rstrip()


_ADVICE = {
    "significant gain": "",
    "no significant gain": "Chance could explain this difference: there is no evidence that fine-tuning helped.",
    "significant loss": "Fine-tuning reduced the robustness: use the parent.",
}


def _flag_words(row: CheckpointRow) -> str:
    """A warning if one of the audits is flagged."""
    flagged = [
        f"{name} ({', '.join(audit.flags)})"
        for audit, name in ((row.before, row.model), (row.after, row.checkpoint))
        if audit and audit.flags
    ]
    return f" The audit of {' and of '.join(flagged)} is flagged: its numbers cannot be trusted." if flagged else ""
