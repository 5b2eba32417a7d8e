"""Atomic writes, digests and sizes of files."""

import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def write_atomically(path: Path) -> Iterator[BinaryIO]:
    """Write ``path`` through a temporary file; the old contents stay until the new ones are on the disk.

    Creates the folder. A failed write leaves no temporary file.

    Raises:
        OSError: the file cannot be written.
    """
    scratch = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")  # containers reuse few pids
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with scratch.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    finally:
        with contextlib.suppress(OSError):
            scratch.unlink()


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file in hexadecimal digits, read in pieces. Raises OSError if it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def largest_file(paths: Iterable[Path]) -> int | None:
    """Bytes of the largest of these files; None if one is missing, or there are none."""
    try:
        return max((path.stat().st_size for path in paths), default=None)
    except (OSError, ValueError):  # ValueError for an invalid name
        return None
