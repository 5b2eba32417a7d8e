"""The matrices of an audit: their kinds, their names, and the fields of a result row that hold their gaps."""

from typing import Literal

MatrixKind = Literal["weights", "centred", "deflated", "features"]

MATRIX_NAMES = {
    "weights": "C, linearized network",
    "centred": "C, centred",
    "deflated": "C without its leading direction",
    "features": "F, class means of the logits",
}
"""The headings of tables and figures, in their order."""

ERROR_NAMES = {
    "confusion": "Confusion after the attacks",
    "attack_success": "Attack success by class",
}
"""The same for matrices of errors by class, which are shares from 0 to 1, and not symmetric."""

GAP_FIELDS = {"weights": "gap", "centred": "gap_centred", "deflated": "gap_deflated", "features": "gap_features"}

DRAWN = ("weights", "deflated", "features")
"""The kinds that figures show."""
