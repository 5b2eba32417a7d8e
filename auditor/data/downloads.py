"""The data folder, and downloads of data sets into it."""

import contextlib
import socket
from collections.abc import Callable, Iterator
from http.client import HTTPException
from pathlib import Path

from auditor.config import settings
from auditor.errors import DataError, first_line

SECONDS = 10.0
"""How long to wait for a silent server; torchvision itself would wait forever."""


def data_folder() -> Path:
    """The folder in torchvision's layout where data sets are looked for, and to which they are downloaded."""
    return settings().data.expanduser()


def download(fetch: Callable[[], object], name: str, instead: str) -> None:
    """Run torchvision's download, which checks the files.

    Raises:
        DataError: the download failed; ``instead`` says which files to put where.
    """
    try:
        with _socket_timeout():
            fetch()
    except (OSError, RuntimeError, EOFError, HTTPException) as error:
        raise DataError(
            f"{name} is not on this machine and cannot be downloaded: put {instead}, or pass --data PATH "
            f"({first_line(error)})"
        ) from error


@contextlib.contextmanager
def _socket_timeout() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
