"""Triage: which models of a scan are attacked, by their screening scores and a random tenth of the rest."""

import math

from auditor.records.screening import Screening

SHARE = 0.1
"""The share of models below the threshold that are attacked, to tell how many robust ones it misses."""


def is_attacked(threshold: float, screening: Screening | None, identity: str) -> bool:
    """Whether a model is attacked; one without a score always is."""
    if screening is None or math.isnan(screening.score) or screening.score >= threshold:
        return True
    return is_drawn(identity)


def is_drawn(identity: str) -> bool:
    """Whether the draw chooses a model below the threshold.

    It depends on the audit's identity alone: every process and every repetition draws the same models.
    """
    return int(identity[:12], 16) / 16**12 < SHARE
