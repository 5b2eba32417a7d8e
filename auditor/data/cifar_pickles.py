"""The pickles of CIFAR-10 and CIFAR-100, read without running anything that they name.

The bytes whose MD5 was compared are the bytes that are unpickled. MD5 is a weak digest, so what passes it is not
trusted either. A pickle gets none of the functions that it names: stand-ins here build the arrays of bytes, and any
other name is an error.
"""

import pickle
import pickletools
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auditor.data.published_files import read_checked


def read_published(path: Path, md5: str) -> dict[str, Any]:
    """The values of a batch, or of a file with the names of the classes, by their keys; arrays are uint8.

    Raises:
        OSError: the file is missing, or cannot be read.
        ValueError: it is not the published file, or holds other than plain values and arrays of bytes.
    """
    content = read_checked(path, md5)
    try:
        _check_places(content)
        found = _Reader(BytesIO(content), encoding="latin1").load()
        return {key: value.array() if isinstance(value, _Array) else value for key, value in found.items()}
    except Exception as error:  # damaged pickles raise many types of errors
        raise ValueError(f"{path.name} holds more than pictures, labels and names: {error}") from error


def _check_places(content: bytes) -> None:
    """Refuse a value that is to be kept at a place of a large number: Python makes room for all places before it.

    Raises:
        ValueError: there is one, or this is no pickle.
    """
    for code, place, _ in pickletools.genops(content):
        if code.name in ("PUT", "BINPUT", "LONG_BINPUT") and not 0 <= (place or 0) <= len(content):
            raise ValueError(f"place {place} for a value is beyond the size of the file")


class _Reader(pickle.Unpickler):
    """Knows the names that arrays are pickled with; each use of one is a new function, which nobody else calls."""

    def find_class(self, module: str, name: str) -> Callable[..., Any] | None:
        match module, name:
            case ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct"):
                return lambda *_: _Array()
            case "numpy", "ndarray":
                return None  # an argument of the above
            case "numpy", "dtype":
                return lambda code, *_: _Dtype(code)
            case "_codecs", "encode":  # how Python 3 writes bytes for Python 2
                return lambda text, _: text.encode("latin1")
        raise ValueError(f"{module}.{name} is refused")


class _Dtype:
    def __init__(self, code: Any) -> None:
        self.code = code

    def __setstate__(self, state: Any) -> None:
        """Byte order and alignment, which bytes do not have."""


class _Array:
    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def array(self) -> NDArray[np.uint8]:
        *_, shape, dtype, by_columns, content = self.state  # the first is a version, which old files lack
        if not isinstance(dtype, _Dtype) or dtype.code != "u1":
            raise ValueError("expected arrays of bytes")
        raw = content.encode("latin1") if isinstance(content, str) else content
        return np.frombuffer(raw, np.uint8).reshape(shape, order="F" if by_columns else "C")
