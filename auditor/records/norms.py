"""The names of norms: the one table that commands, requests, zoo files and pages choose from."""

from typing import Final, Literal, get_args

NormName = Literal["Linf", "L2", "L1"]
TrainingNormName = Literal["Linf", "L2"]
NORM_NAMES: Final[tuple[NormName, ...]] = get_args(NormName)
"""Those of attacks and bounds."""
TRAINING_NORM_NAMES: Final[tuple[TrainingNormName, ...]] = get_args(TrainingNormName)
"""Those that models are trained in."""
