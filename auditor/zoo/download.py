"""Downloads: into a temporary file, checked, then moved into place, so that nothing half or false is ever left."""

import contextlib
import glob
import logging
import re
import socket
import stat
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from auditor.errors import ModelLoadError, first_line, one_line

logger = logging.getLogger(__name__)

Checked = TypeVar("Checked")

TRIES = 3
PAUSE = 0.5
CONNECT = 1.5
READ = 30.0
PATIENCE = 1.0
"""Seconds: before a second try, twice that before a third; to connect; between two packets; and after how many of
them a host that cannot be reached is not tried again, so that a machine without internet knows within 5 seconds."""


TORCH = ("zip", "pickle")
INDEX = "index"
CHECKPOINTS = (*TORCH, "safetensors")
"""What :func:`what_is` says of files that can hold weights; an index names files that do."""

LEGACY_TORCH = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""Torch's magic number, pickled by itself."""

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
    """What a file is by its first bytes: ``zip``, ``pickle`` (of torch), ``safetensors``, ``index``, or in words.

    Raises:
        ModelLoadError: it cannot be read, or is no file: a folder, a pipe, a device.
    """
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            kind = "a folder: name the file in it" if stat.S_ISDIR(mode) else "a pipe, a socket or a device"
            raise ModelLoadError(f"cannot read the weights {path}: expected a file, got {kind}")
        with path.open("rb") as file:
            head = file.read(4096)
        size = path.stat().st_size
    except (OSError, ValueError) as error:
        raise ModelLoadError(
            f"cannot read the weights {path}: {getattr(error, 'strerror', None) or first_line(error)}"
        ) from error
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    if head.startswith(LEGACY_TORCH):
        return "pickle"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size - 8:
        return "safetensors"
    if path.name.endswith(".index.json") and head.lstrip().startswith(b"{"):
        return INDEX
    return _what_else(head)


def _what_else(head: bytes) -> str:
    """What a file is that holds no weights, and what to do about it."""
    if not head:
        return "an empty file: copy or download it again"
    if head.lstrip().startswith(b"<"):
        title = re.search(rb"<title[^>]*>\s*([^<]*?)\s*</title>", head, re.IGNORECASE)
        said = f" ({one_line(title[1].decode(errors='replace'))!r})" if title and title[1] else ""
        return f"an HTML page{said}, not a checkpoint: download it again"
    if head.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS, not the file itself: run `git lfs pull`"
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "a pickle that torch.save did not write: refused unread; save the state dict as safetensors"
    return f"no checkpoint by its first bytes: expected safetensors or what torch.save writes, got {head[:8]!r}"


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
