"""The lines under a screen result that say how far to trust it."""

from auditor.data.gap_calibration import Calibration, load_calibration
from auditor.data.screening_quality import load_prediction
from auditor.text.numbers import estimate, number, percent


def calibration_lines(linearization: str) -> list[str]:
    """How well the gap separates robust models from others, and which gap chance gives; ``remove`` or ``fold``."""
    return format_calibration(load_calibration(linearization), ", batch norm folded" if linearization == "fold" else "")


def score_lines(norm: str) -> list[str]:
    """What the screening score of a norm is, and how well it predicts networks of other families."""
    found = load_prediction(norm)
    if found is None:
        return []
    return [
        "screen is the estimated probability that at least half of what a model classifies correctly survives attacks. "
        f"On {found.models} networks of a study zoo, {found.events} of which do, each scored without those of its "
        f"family, it separated the two kinds with AUC {estimate(*found.auc)} ({norm})."
    ]


def format_calibration(found: Calibration, variant: str = "") -> list[str]:
    auc = f"AUC {estimate(found.auc, found.low, found.high)}"
    robust = f"{found.robust} with a robust accuracy of {percent(found.threshold, 0)} or more"
    line = (
        f"On the demo zoo{variant} (n = {found.n}, {robust}) the gap separated robust models from the others with {auc}"
    )
    if found.low <= 0.5:
        line += ": it may be no better than chance"
    return [
        f"{line}.",
        f"5 % of {found.networks} randomly initialised networks of ten classes{variant and f'{variant},'} had a gap "
        f"above {number(found.gap_95)}.",
    ]
