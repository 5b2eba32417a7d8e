"""Files that are written as a whole or not at all."""

import contextlib
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def write_atomically(path: Path) -> Iterator[BinaryIO]:
    """A file to write ``path`` through: what was there stays whole until the new content is on the disk.

    Makes the folder. Nothing is left of a write that failed.

    Raises:
        OSError: it cannot be written.
    """
    scratch = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")  # pids are few in containers
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


def largest_file(paths: Iterable[Path]) -> int | None:
    """Bytes of the largest of these files; None where one is not there, or there is none."""
    try:
        return max((path.stat().st_size for path in paths), default=None)
    except (OSError, ValueError):  # the second for a name that is none
        return None
