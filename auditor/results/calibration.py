"""What a screen result is worth: the lines beside every one."""

from auditor.data.calibration import Calibration, load_calibration
from auditor.text.numbers import estimate, number, percent


def calibration_lines(linearization: str) -> list[str]:
    """How well the gap told robust models from others, and which gap means nothing; for ``remove`` or ``fold``."""
    return format_calibration(load_calibration(linearization), ", batch norm folded" if linearization == "fold" else "")


def format_calibration(found: Calibration, variant: str = "") -> list[str]:
    auc = f"AUC {estimate(found.auc, found.low, found.high)}"
    robust = f"{found.robust} with a robust accuracy of {percent(found.threshold, 0)} or more"
    told = f"On the demo zoo{variant} (n = {found.n}, {robust}) the gap told robust from not with {auc}"
    if found.low <= 0.5:
        told += ": it may be no better than chance"
    return [
        f"{told}.",
        f"5 % of {found.networks} randomly initialised networks of ten classes{variant and f'{variant},'} had a gap "
        f"above {number(found.gap_95)}.",
    ]
