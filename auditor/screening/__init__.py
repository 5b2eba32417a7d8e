"""Screening: what a network's weights alone say about its robustness. No data, no labels, no attack on data.

``screen`` needs torch, and is imported on first use.
"""

from typing import TYPE_CHECKING, Any

from auditor.records.screening import Screening

if TYPE_CHECKING:
    from auditor.screening.score import screen

__all__ = ["Screening", "screen"]


def __getattr__(name: str) -> Any:
    if name != "screen":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from auditor.screening.score import screen

    return screen
