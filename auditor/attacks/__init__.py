"""Adversarial accuracy: protocols, the cascade, and the flags that say when not to believe it."""

from auditor.attacks.adversarials import Adversarials, adversarials_file, keep_adversarials
from auditor.attacks.cascade import RobustnessResult
from auditor.attacks.evaluate import evaluate_robustness
from auditor.attacks.protocols import PROTOCOLS, Protocol, find_protocol
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
