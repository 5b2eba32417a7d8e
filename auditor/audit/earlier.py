"""The verdicts of a model's last result, sample by sample, beside which an audit looks for a regression."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from auditor.data import ImageSet
from auditor.records import JobContext


@dataclass(frozen=True)
class Earlier:
    """The ID of the result, and which of the images survived then, ``(N,)``."""

    audit_id: int
    survived: NDArray[np.bool_]

    @property
    def digest(self) -> str:
        """SHA-256 of the verdicts, a part of the identity: they decide when the attacks stop."""
        return hashlib.sha256(np.packbits(self.survived).tobytes()).hexdigest()


def pair_earlier(context: JobContext, images: ImageSet | None) -> Earlier | None:
    """The last complete result of the model on exactly these images; None without one."""
    found = context.earlier()
    if found is None or images is None or images.pictures is None:
        return None
    audit_id, verdicts = found
    pictures = verdicts.pictures
    same = pictures is not None and np.array_equal(pictures, images.pictures)
    same = same and np.array_equal(verdicts.indices, images.indices)
    return Earlier(audit_id, verdicts.survived) if same else None
