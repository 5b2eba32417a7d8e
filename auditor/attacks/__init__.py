"""Adversarial accuracy: protocols, the cascade, and the flags that say when not to believe it.

What needs torch is imported when it is asked for: who only looks up a protocol should not wait for it.
"""

import importlib
from typing import TYPE_CHECKING, Any

from auditor.attacks.protocols import PROTOCOLS, Protocol, find_protocol

if TYPE_CHECKING:
    from auditor.attacks.cascade import RobustnessResult, evaluate_robustness
    from auditor.attacks.statistics import mcnemar, wilson_interval

__all__ = [
    "PROTOCOLS",
    "Protocol",
    "RobustnessResult",
    "evaluate_robustness",
    "find_protocol",
    "mcnemar",
    "wilson_interval",
]
_LATER = {
    "RobustnessResult": "cascade",
    "evaluate_robustness": "cascade",
    "mcnemar": "statistics",
    "wilson_interval": "statistics",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
