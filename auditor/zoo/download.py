"""Downloads: into a temporary file, checked, then moved into place, so that no partial or wrong file is ever left."""

import contextlib
import glob
import logging
import math
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from tenacity import RetryCallState, Retrying, before_sleep_log, stop_after_attempt, wait_incrementing

from auditor.errors import ModelLoadError, file_reason, first_line

logger = logging.getLogger(__name__)

Content = TypeVar("Content")

TRIES = 3
PAUSE = 0.5
CONNECT = 1.5
READ = 30.0
PATIENCE = 1.0
"""Seconds: before a second try, twice that before a third; to connect; between two packets; and after how many of
them a host that cannot be reached is not tried again, so that a machine without internet knows within 5 seconds."""

STALE = 3600.0
"""Seconds without a byte, after which a temporary file was left behind by a process that was killed."""

_forbidden: ContextVar[bool] = ContextVar("forbidden", default=False)


class _FetchError(Exception):
    """One try failed; another one is worth it within ``retry_within`` seconds after the first one began."""

    def __init__(self, cause: str, retry_within: float = math.inf) -> None:
        super().__init__(cause)
        self.retry_within = retry_within


@contextlib.contextmanager
def no_downloads() -> Iterator[None]:
    """Every download inside fails instead."""
    token = _forbidden.set(True)
    try:
        yield
    finally:
        _forbidden.reset(token)


def download(url: str, path: Path, check: Callable[[Path], Content], *, by_hand: str | None = None) -> Content:
    """Fetch ``url`` into ``path``; an existing file is replaced only by a file that ``check`` accepts.

    Args:
        check: reads the file and returns its content, or raises ModelLoadError.
        by_hand: the address at which a person gets the same file; ``url`` by default.

    Raises:
        ModelLoadError: "download failed: …" with the last try's cause, and what to do by hand.
    """
    if _forbidden.get():
        raise ModelLoadError(f"download failed: nothing is downloaded now, and {path} would have to be")
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    retrying = Retrying(
        retry=_is_worth_retrying,
        stop=stop_after_attempt(TRIES),
        wait=wait_incrementing(PAUSE, PAUSE),
        before_sleep=before_sleep_log(logger, logging.INFO),
        reraise=True,
    )
    try:
        content: Content = retrying(_download_once, url, path, temporary, check)
        return content
    except (OSError, _FetchError, ModelLoadError) as error:
        cause = first_line(error)
        for name in (str(temporary), temporary.name):
            cause = cause.replace(name, "the downloaded file")
        hint = f"fetch {by_hand or url} by hand and put it at {path}"
        raise ModelLoadError(f"download failed: {cause}; {hint}") from error
    finally:
        _remove_temporary_files(path, temporary)


def _download_once(url: str, path: Path, temporary: Path, check: Callable[[Path], Content]) -> Content:
    path.parent.mkdir(parents=True, exist_ok=True)
    _fetch(url, temporary)
    content = check(temporary)
    temporary.replace(path)
    return content


def _is_worth_retrying(state: RetryCallState) -> bool:
    """A bad file may be a temporary answer of the host; an OSError means that the file cannot be written."""
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, _FetchError):
        return (state.seconds_since_start or 0.0) <= error.retry_within
    return isinstance(error, ModelLoadError)


def _remove_temporary_files(path: Path, temporary: Path) -> None:
    """Remove the temporary file, and those that killed processes left beside ``path``."""
    with contextlib.suppress(OSError):
        for left in path.parent.glob(f"{glob.escape(path.name)}.*.part"):
            if left == temporary or time.time() - left.stat().st_mtime > STALE:
                left.unlink()


def _fetch(url: str, path: Path) -> None:
    """Write what ``url`` answers to ``path``.

    Raises:
        _FetchError: the host cannot be reached, refuses, or breaks the connection.
        OSError: the file cannot be written.
    """
    import httpx

    _resolve(url)
    host, timeout = urlsplit(url).netloc, httpx.Timeout(READ, connect=CONNECT)
    try:
        with httpx.stream("GET", url, timeout=timeout, follow_redirects=True) as answer, path.open("wb") as file:
            answer.raise_for_status()
            try:
                for chunk in answer.iter_bytes(1 << 20):
                    file.write(chunk)
            except (httpx.RemoteProtocolError, httpx.ReadError) as error:
                raise _FetchError(f"{host}: Connection broken: IncompleteRead: {first_line(error)}") from error
    except httpx.HTTPStatusError as error:
        status = error.response.status_code
        is_temporary = status >= 500 or status in (408, 429)
        cause = f"{host} answered {status} {error.response.reason_phrase}"
        raise _FetchError(cause, math.inf if is_temporary else 0.0) from error
    except httpx.TimeoutException as error:
        raise _FetchError(f"{host} did not answer in time", PATIENCE) from error
    except httpx.TransportError as error:
        is_connection = isinstance(error, httpx.ConnectError) and "SSL" not in str(error)
        prefix = "Failed to establish a new connection: " if is_connection else ""
        raise _FetchError(f"{host}: {prefix}{first_line(error)}", PATIENCE) from error
    except httpx.RequestError as error:  # too many redirects, an encoding that cannot be decoded
        raise _FetchError(f"{host}: {first_line(error)}") from error
    except (httpx.InvalidURL, ImportError, ValueError) as error:  # the address, or a proxy that httpx cannot use
        raise _FetchError(f"{host}: {first_line(error)}", 0.0) from error


def check_host(url: str) -> None:
    """Raises ModelLoadError, within CONNECT seconds, if the name of this address's host cannot be looked up."""
    try:
        _resolve(url)
    except _FetchError as error:
        raise ModelLoadError(first_line(error)) from error


def _resolve(url: str) -> None:
    """Look up the host's name within CONNECT seconds, because a dead name server answers only after tens of seconds.

    Raises:
        _FetchError: the name is unknown, or no name server answers.
    """
    address, proxies = urlsplit(url), getproxies()
    host = address.hostname or ""
    if (address.scheme in proxies or "all" in proxies) and not proxy_bypass(host):  # the proxy looks names up
        return
    reasons: list[str] = []

    def look_up() -> None:
        try:
            socket.getaddrinfo(host, None)
        except OSError as error:
            reasons.append(file_reason(error))
        else:
            reasons.append("")

    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(CONNECT)
    reason = reasons[0] if reasons else f"no name server answered within {CONNECT:g} s"
    if reason:
        raise _FetchError(f"{host} cannot be found ({reason}); is there internet?", 0.0)
