"""Triage: which models of a scan are attacked, by their screening scores and a random tenth of the rest."""

import math
from dataclasses import replace

from auditor.records import AuditRequest
from auditor.records.screening import Screening
from auditor.records.triage import is_drawn


def screen_only(request: AuditRequest) -> AuditRequest:
    """The request of a model that a triage does not attack: an audit under ``screen``."""
    return replace(
        request,
        protocol="screen",
        targeted=None,
        stop_at=None,
        stop_on_regression=False,
        curve=False,
        extra_attacks=None,
        certify=None,
        sigma=None,
    )


def is_attacked(threshold: float, screening: Screening | None, identity: str) -> bool:
    """Whether a model is attacked; one without a score always is."""
    if screening is None or math.isnan(screening.score) or screening.score >= threshold:
        return True
    return is_drawn(identity)
