"""Screening: what a network's weights alone say about its robustness. No data, no labels, no attack on data."""

from auditor.screening.screen import Screening, screen

__all__ = ["Screening", "screen"]
