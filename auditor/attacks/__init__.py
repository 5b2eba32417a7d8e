"""Adversarial accuracy: protocols, the cascade, and the flags that mark a result as untrustworthy.

Names that need torch or SciPy are imported on first use, so that looking up a protocol stays fast.
"""

import importlib
from typing import TYPE_CHECKING, Any

from auditor.attacks.adversarials import Adversarials, adversarials_file, keep_adversarials
from auditor.attacks.protocols import PROTOCOLS, Protocol, find_protocol

if TYPE_CHECKING:
    from auditor.attacks.evaluate import evaluate_robustness
    from auditor.attacks.result import RobustnessResult
    from auditor.statistics import mcnemar, wilson_interval

__all__ = [
    "PROTOCOLS",
    "Adversarials",
    "Protocol",
    "RobustnessResult",
    "adversarials_file",
    "evaluate_robustness",
    "find_protocol",
    "keep_adversarials",
    "mcnemar",
    "wilson_interval",
]
_LAZY = {
    "RobustnessResult": "auditor.attacks.result",
    "evaluate_robustness": "auditor.attacks.evaluate",
    "mcnemar": "auditor.statistics",
    "wilson_interval": "auditor.statistics",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)
