"""Matrices, verdicts and templates as bytes and back: compressed, in one byte order on every machine."""

import math
import zlib
from typing import TYPE_CHECKING, Any

from auditor.records import Matrix

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


_COMPRESSED = 0x80


def pack_floats(values: "NDArray[np.floating]", kind: str = "<f4") -> bytes:
    """Numbers of any shape, which may be infinite, as zlib-compressed little-endian float32, or another kind."""
    import numpy as np

    return zlib.compress(np.ascontiguousarray(values, kind).tobytes())


def unpack_floats(packed: bytes, kind: str = "<f4") -> "NDArray[Any]":
    """The numbers ``(N,)``, float32 or of the kind that they were packed as."""
    import numpy as np

    return np.frombuffer(zlib.decompress(packed), kind).astype(kind[1:])


def pack_matrix(matrix: Matrix) -> bytes:
    """A square matrix as zlib-compressed little-endian float32."""
    return pack_floats(matrix)


def unpack_matrix(packed: bytes, size: int) -> Matrix:
    """The ``(size, size)`` matrix in float64, to float32 precision."""
    import numpy as np

    return unpack_floats(packed).reshape(size, size).astype(np.float64)


def pack_bits(bits: "NDArray[np.bool_]") -> bytes:
    import numpy as np

    return zlib.compress(np.packbits(bits).tobytes())


def unpack_bits(packed: bytes, n: int) -> "NDArray[np.bool_]":
    import numpy as np

    return np.unpackbits(np.frombuffer(zlib.decompress(packed), np.uint8), count=n).astype(np.bool_)


def pack_indices(indices: "NDArray[np.int64]") -> bytes:
    import numpy as np

    return zlib.compress(np.ascontiguousarray(indices, "<i8").tobytes())


def unpack_indices(packed: bytes) -> "NDArray[np.int64]":
    import numpy as np

    return np.frombuffer(zlib.decompress(packed), "<i8").astype(np.int64)


def pack_pictures(pictures: "NDArray[np.uint64]") -> bytes:
    import numpy as np

    return np.ascontiguousarray(pictures, "<u8").tobytes()  # digests do not compress


def unpack_pictures(packed: bytes) -> "NDArray[np.uint64]":
    import numpy as np

    return np.frombuffer(packed, "<u8").astype(np.uint64)


def pack_numbers(numbers: "NDArray[np.int64]") -> bytes:
    """Numbers of 0 or more in the fewest bytes each, little-endian, compressed if that is shorter.

    The first byte is the size of a number, with the highest bit set if the rest is compressed.
    """
    import numpy as np

    kind = np.min_scalar_type(int(numbers.max(initial=0))).newbyteorder("<")
    plain = numbers.astype(kind).tobytes()
    compressed = zlib.compress(plain, 9)
    if len(compressed) < len(plain):
        return bytes([kind.itemsize | _COMPRESSED]) + compressed
    return bytes([kind.itemsize]) + plain


def unpack_numbers(packed: bytes) -> "NDArray[np.int64]":
    import numpy as np

    head, rest = packed[0], packed[1:]
    content = zlib.decompress(rest) if head & _COMPRESSED else rest
    return np.frombuffer(content, f"<u{head & ~_COMPRESSED}").astype(np.int64)


def place_numbers(numbers: "NDArray[np.int64]", chosen: "NDArray[np.bool_]", packed: bytes) -> "NDArray[np.int64]":
    """``numbers`` ``(N,)`` with the unpacked ones at the places that are chosen."""
    placed = numbers.copy()
    placed[chosen] = unpack_numbers(packed)
    return placed


def pack_templates(values: "NDArray[np.float64]") -> tuple[bytes, bytes]:
    """Pictures ``(K, C, h, w)`` as scales and pixels: each picture in 255 steps from minus its largest value to it."""
    import numpy as np

    scales = np.abs(values).max(axis=(1, 2, 3), initial=0.0)
    steps = values / np.where(scales > 0, scales, 1.0)[:, None, None, None] * 127
    pixels = np.rint(steps).astype(np.int8)
    return np.ascontiguousarray(scales, "<f8").tobytes(), zlib.compress(pixels.tobytes())


def unpack_templates(scales: bytes, pixels: bytes, shape: "tuple[int, ...]") -> "NDArray[np.float64]":
    """The pictures, to a 254th of the largest value of each."""
    import numpy as np

    steps = np.frombuffer(zlib.decompress(pixels), np.int8).reshape(shape)
    sizes = np.frombuffer(scales, "<f8").reshape(-1, 1, 1, 1)
    return steps.astype(np.float64) * (sizes / 127)


def nan_to_null(value: float) -> float | None:
    """None for NaN and infinity, because databases disagree about them."""
    return value if math.isfinite(value) else None


def null_to_nan(value: float | None) -> float:
    return math.nan if value is None else value
