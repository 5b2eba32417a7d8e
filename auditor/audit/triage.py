"""Triage: which models of a scan are attacked, by their screening scores and a random tenth of the rest."""

import math

from auditor.records.screening import Screening
from auditor.records.triage import is_drawn


def is_attacked(threshold: float, screening: Screening | None, identity: str) -> bool:
    """Whether a model is attacked; one without a score always is."""
    if screening is None or math.isnan(screening.score) or screening.score >= threshold:
        return True
    return is_drawn(identity)
