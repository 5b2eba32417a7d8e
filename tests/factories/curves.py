"""Curves with chosen sizes."""

from collections.abc import Sequence

import numpy as np

from auditor.records.curves import Curve


def curve_of(sizes: Sequence[float], *, largest: float = 0.4, norm: str = "Linf", search: str = "minimal-2") -> Curve:
    """A curve of samples with these sizes, all found by the search; those beyond ``largest`` were not found."""
    known = np.array(sizes, np.float32)
    known[known > np.float32(largest)] = np.inf
    found = np.where((known > 0) & np.isfinite(known), 1, -1).astype(np.int64)
    return Curve(norm=norm, largest=largest, sizes=known, found_by=found, attacks=("fgsm", search), seconds=1.5)
