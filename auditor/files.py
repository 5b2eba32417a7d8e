"""Atomic writes, digests and sizes of files, and limits for files of others."""

import contextlib
import errno
import hashlib
import os
import secrets
import stat
import zipfile
from collections.abc import Iterable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, Final

LARGEST_JSON: Final = 1 << 26
"""Bytes of the largest file of JSON that is read: it is made of far fewer."""
FLAGS: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
EXPANDED, RATIO = 1 << 28, 100
"""An archive that becomes larger than so many bytes may not be so many times larger than its file."""


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
        with scratch.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    finally:
        with contextlib.suppress(OSError):
            scratch.unlink()


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file in hexadecimal digits, read in pieces. Raises OSError if it cannot be read, or is none."""
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except ValueError as error:
        raise OSError(errno.EINVAL, str(error), str(path)) from error


def open_regular(path: Path, *, beneath: Path | None = None) -> BufferedReader:
    """Open a file to read it; a pipe or a device is refused without waiting for it.

    Args:
        beneath: a folder with its links resolved. Below it no link is followed, not even one that took the place of a
            file after its path was checked.

    Raises:
        OSError: the file cannot be opened.
        ValueError: it is a folder, a pipe or a device, or one of the names below ``beneath`` is a link.
    """
    descriptor = os.open(path, FLAGS) if beneath is None else _open_beneath(beneath, path)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return os.fdopen(descriptor, "rb")
    kind = "a folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "a pipe, a socket or a device"
    os.close(descriptor)
    raise ValueError(f"expected a file, got {kind}")


def _open_beneath(folder: Path, path: Path) -> int:
    """Open each folder on the way from the one before, so that none of them can be exchanged in between."""
    *folders, name = path.relative_to(folder).parts
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in folders:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=place)
            os.close(place)
            place = inner
        return os.open(name, FLAGS | os.O_NOFOLLOW, dir_fd=place)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise ValueError("it, or a folder on the way to it, has become a link: replace it by the file") from error
        raise
    finally:
        os.close(place)


def read_limited(path: Path, most: int = LARGEST_JSON) -> bytes:
    """Read a file that somebody else may have made to fill the memory, or to make a program wait.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is larger than ``most`` bytes, or a folder, a pipe or a device.
    """
    with open_regular(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"expected at most {most // 1_000_000} MB, got a larger file")
    return content


def check_expansion(file: BinaryIO) -> None:
    """Refuse a zip archive that is a decompression bomb; the position of ``file`` stays.

    Raises:
        ValueError: the archive is one.
        OSError, zipfile.BadZipFile: it cannot be read, or is no archive.
    """
    place = file.tell()
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
    size = file.seek(0, os.SEEK_END)
    file.seek(place)
    expanded = sum(member.file_size for member in members)
    if expanded > EXPANDED and expanded > RATIO * size:
        raise ValueError(f"a decompression bomb: {size:,} bytes would become {expanded:,}")


def largest_file(paths: Iterable[Path]) -> int | None:
    """Bytes of the largest of these files; None if one is missing, or there are none."""
    try:
        return max((path.stat().st_size for path in paths), default=None)
    except (OSError, ValueError):  # ValueError for an invalid name
        return None
