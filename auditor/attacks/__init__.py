"""Adversarial accuracy: protocols, the cascade, and the flags that say when not to believe it."""

from auditor.attacks.cascade import RobustnessResult, evaluate_robustness
from auditor.attacks.protocols import PROTOCOLS, Protocol, find_protocol
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
