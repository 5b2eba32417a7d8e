"""Digests of data sets and of single pictures; by the latter two audits find the samples that they share."""

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray


def set_digest(pixels: NDArray[Any], *others: NDArray[Any]) -> str:
    """SHA-256 over a data set's pixels, their type and shape, and the arrays beside them."""
    digest = hashlib.sha256(f"{pixels.dtype} {pixels.shape}".encode())
    for array in (pixels, *others):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def picture_digests(pictures: Iterable[bytes], labels: NDArray[np.int64]) -> NDArray[np.uint64]:
    """64 bits ``(N,)`` of each picture before any transform and its label: equal if two data sets share a sample."""
    digests = (
        hashlib.blake2b(picture + int(label).to_bytes(8, "little"), digest_size=8).digest()
        for picture, label in zip(pictures, labels, strict=True)
    )
    return np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)
