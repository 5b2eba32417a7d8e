"""Downloads: into a temporary file, checked, then moved into place, so that nothing half or false is ever left."""

import contextlib
import glob
import logging
import re
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from auditor.errors import ModelLoadError, first_line

logger = logging.getLogger(__name__)

Checked = TypeVar("Checked")

TRIES = 3
PAUSE = 0.5
CONNECT = 1.5
READ = 30.0
PATIENCE = 1.0
"""Seconds: before a second try, twice that before a third; to connect; between two packets; and after how many of
them a host that cannot be reached is not tried again, so that a machine without internet knows within 5 seconds."""


CHECKPOINTS = ("zip", "pickle", "safetensors")
"""What :func:`what_is` says of files that can hold weights."""

STALE = 3600.0
"""Seconds without a byte, after which a temporary file was left behind by a process that was killed."""


_forbidden: ContextVar[bool] = ContextVar("forbidden", default=False)


@contextlib.contextmanager
def no_downloads() -> Iterator[None]:
    """Whatever would be downloaded inside fails instead."""
    token = _forbidden.set(True)
    try:
        yield
    finally:
        _forbidden.reset(token)


def download(url: str, path: Path, check: Callable[[Path], Checked], *, by_hand: str | None = None) -> Checked:
    """Fetch ``url`` into ``path``; what is there already is replaced only by what ``check`` accepts.

    Args:
        check: reads the file and returns what was in it, or raises ModelLoadError.
        by_hand: where a person would fetch the same file; ``url`` by default.

    Raises:
        ModelLoadError: "download failed: …" with the last try's cause, and what to do by hand.
    """
    if _forbidden.get():
        raise ModelLoadError(f"download failed: nothing is downloaded now, and {path} would have to be")
    started = time.monotonic()
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    try:
        for tries_left in reversed(range(TRIES)):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                _fetch(url, temporary)
                content = check(temporary)
                temporary.replace(path)
            except (OSError, ModelLoadError) as error:
                cause = _cause(error, url, temporary)
                logger.info("%s: %s; %d tries left", url, cause, tries_left)
                if not tries_left or _hopeless(error, time.monotonic() - started):
                    hint = f"fetch {by_hand or url} by hand and put it at {path}"
                    raise ModelLoadError(f"download failed: {cause}; {hint}") from error
                time.sleep(PAUSE * (TRIES - tries_left))
            else:
                return content
    finally:
        _tidy(path, temporary)
    raise AssertionError("the last try returns or raises")


def what_is(path: Path) -> str:
    """What a file is by its first bytes: ``zip``, ``pickle``, ``safetensors``, or in words what else.

    Raises:
        ModelLoadError: it cannot be read.
    """
    if path.exists() and not path.is_file():
        return "no regular file"
    try:
        with path.open("rb") as file:
            head = file.read(4096)
        size = path.stat().st_size
    except OSError as error:
        raise ModelLoadError(f"cannot read {path}: {error.strerror}") from error
    if not head:
        return "an empty file"
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "pickle"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size - 8:
        return "safetensors"
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<head", b"<?xml")):
        title = re.search(rb"<title[^>]*>\s*([^<]*?)\s*</title>", head, re.IGNORECASE)
        said = f" ({' '.join(title[1].decode(errors='replace').split())!r})" if title and title[1] else ""
        return f"an HTML page{said}"
    return "no checkpoint by its first bytes"


def _tidy(path: Path, temporary: Path) -> None:
    """Remove the temporary file, and those that killed processes left beside ``path``."""
    with contextlib.suppress(OSError):
        for left in path.parent.glob(f"{glob.escape(path.name)}.*.part"):
            if left == temporary or time.time() - left.stat().st_mtime > STALE:
                left.unlink()


def _fetch(url: str, path: Path) -> None:
    import requests

    _resolve(url)
    with requests.get(url, stream=True, timeout=(CONNECT, READ)) as answer, path.open("wb") as file:
        answer.raise_for_status()
        for chunk in answer.iter_content(1 << 20):
            file.write(chunk)


class _NoSuchHostError(OSError):
    """A host's name cannot be looked up: there is no internet, most likely."""


def _resolve(url: str) -> None:
    """Look a host's name up within a time: a dead name server would take tens of seconds to say nothing.

    Raises:
        _NoSuchHostError: nobody knows it, or nobody answers.
    """
    from requests.utils import get_environ_proxies

    host = urlsplit(url).hostname or ""
    if get_environ_proxies(url):  # then the proxy looks names up
        return
    said: list[str] = []

    def look_up() -> None:
        try:
            socket.getaddrinfo(host, None)
        except OSError as error:
            said.append(error.strerror or first_line(error))
        else:
            said.append("")

    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(CONNECT)
    if not said or said[0]:
        why = said[0] if said else f"no name server answered within {CONNECT:g} s"
        raise _NoSuchHostError(f"{host} cannot be found ({why}); is there internet?")


def _hopeless(error: Exception, elapsed: float) -> bool:
    """Whether another try is not worth it: nobody there, refused for good, or no place to write to."""
    from requests import ConnectionError as Unreachable
    from requests import HTTPError, RequestException, Timeout

    if isinstance(error, HTTPError) and error.response is not None:
        return error.response.status_code < 500 and error.response.status_code not in (408, 429)
    if isinstance(error, Unreachable | Timeout):
        return elapsed > PATIENCE
    return not isinstance(error, ModelLoadError | RequestException)


def _cause(error: Exception, url: str, temporary: Path) -> str:
    """One short line: requests wraps what happened into three layers of names and numbers."""
    from requests import HTTPError, RequestException, Timeout

    host = urlsplit(url).netloc
    if isinstance(error, HTTPError) and error.response is not None:
        return f"{host} answered {error.response.status_code} {error.response.reason}"
    if isinstance(error, Timeout):
        return f"{host} did not answer in time"
    if isinstance(error, RequestException):
        reason = getattr(error.args[0], "reason", error) if error.args else error
        return f"{host}: {first_line(reason).rpartition('): ')[2]}"
    return first_line(error).replace(str(temporary), "what came").replace(temporary.name, "what came")
