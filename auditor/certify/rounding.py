"""Rounding: how far a network's own arithmetic may be from exact numbers, by which certificates widen their bounds."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from auditor.certify.operations import Affine

if TYPE_CHECKING:
    from auditor.certify.program import Step

UNITS = {torch.float32: 2.0**-22, torch.float64: 2.0**-51}
"""Four times the unit roundoff of a number format. The factor covers blocked sums, fused products and the rounding of
the bounds themselves, which are computed in float64."""
TF32_UNIT = 2.0**-9
"""The same for convolutions and matrix products on a GPU that may round their factors to TF32."""
TINY = 1e-30
"""An absolute error for every rounded number, because small results may be flushed to 0."""


def unit_of(dtype: torch.dtype, name: str, *, is_cuda: bool) -> float:
    """The relative error of one rounded number of this operation."""
    backends: Any = torch.backends
    fast = "tf32" in (backends.cudnn.conv.fp32_precision, backends.cuda.matmul.fp32_precision)
    products = name.startswith("conv") or name in ("linear", "addmm", "mm", "matmul")
    if is_cuda and dtype == torch.float32 and fast and products:
        return TF32_UNIT
    return UNITS[dtype]


def size_error(step: "Step", ulps: float, size: Tensor) -> Tensor:
    """The rounding error of an elementwise function, which is exact to so many units of its size."""
    return ulps * step.unit * size + TINY


def affine_error(step: "Step", row: Affine, sizes: dict[int, Tensor]) -> Tensor:
    """The rounding error of a sum of products in any order: the number of terms times the magnitudes (Higham, 2002)."""
    total = step.run(row.magnitude, sizes)
    terms = step.run(row.terms, sizes)  # type: ignore[arg-type]
    return torch.zeros_like(total) if terms == 0 else (int(terms) + 2) * step.unit * total + TINY
