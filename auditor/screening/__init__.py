"""Screening: what a network's weights alone say about its robustness. No data, no labels, no attack on data."""

from auditor.records.screening import Screening
from auditor.screening.screen import screen

__all__ = ["Screening", "screen"]
