"""Requests to a server's API: tokens, retries, and each error as the error type of its cause."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx
import msgspec
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from auditor.errors import AuditorError, ConflictError, EnvironmentUnusableError, NotFoundError, UsageError, one_line
from auditor.network.addresses import is_local

T = TypeVar("T")
TRIES = 4
LONGEST_WAIT = 60.0
_ERROR_TYPES: dict[int, type[AuditorError]] = {404: NotFoundError, 409: ConflictError}


class AccessDeniedError(UsageError):
    """The token is missing, invalid or expired, or does not have the scope that the request needs."""


class UnreadableAnswerError(EnvironmentUnusableError):
    """The server is of another version, or something between answers in its place."""


class _TryAgainError(Exception):
    """The server is busy, and may answer later; ``after`` is the number of seconds that it asks for."""

    def __init__(self, error: AuditorError, after: float | None = None) -> None:
        super().__init__(str(error))
        self.error, self.after = error, after


class _NotRunError(_TryAgainError):
    """The server has certainly not run the request. A 503 is no such answer: the database may fail after a commit."""


class Connection:
    """The API of one server.

    Args:
        url: the server's address, such as ``https://audits.example.com``.
        token: a token of ``auditor tokens add``.
        timeout: seconds to connect, and to wait for each part of a response.
        insecure: whether the token may be sent unencrypted to another machine.

    Raises:
        UsageError: the address is not of this form, or would carry the token unencrypted to another machine.
    """

    def __init__(self, url: str, token: str | None, timeout: float, insecure: bool) -> None:
        try:
            base = httpx.URL(url)
        except (httpx.InvalidURL, TypeError, ValueError):  # the last one for halves of pairs
            base = httpx.URL("")
        if base.scheme not in ("http", "https") or not base.host or base.userinfo:
            raise UsageError("url: expected an address such as https://audits.example.com, without user and password")
        if token is not None and base.scheme == "http" and not (insecure or is_local(base.host)):
            raise UsageError(
                f"url: expected https://, because http:// would send the token unencrypted to {base.host}; "
                "insecure=True allows that"
            )
        if token is not None and not (token.isascii() and token.isprintable() and token.strip() == token != ""):
            raise UsageError("token: expected what `auditor tokens add` has printed")
        self.host = base.host
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        address = f"{str(base).rstrip('/')}/api/v1"
        self.http = httpx.Client(base_url=address, headers=headers, timeout=timeout)

    def read(self, path: str, response_type: type[T], **query: Any) -> T:
        """Read a response as its type. Query parameters that are None are left out."""
        return self._decode(self.get(path, **query), response_type)

    def get(self, path: str, **query: Any) -> httpx.Response:
        """Send a GET request, and repeat it while the server or the network is unavailable."""
        given = {name: _as_text(value) for name, value in query.items() if value is not None}
        return self._try("GET", path, (httpx.TransportError, _TryAgainError), params=given)

    def send(self, method: str, path: str, response_type: type[T], body: Any = None) -> T:
        """Send a request that changes something. It is repeated only if the server has certainly not run it."""
        content = None if body is None else msgspec.json.encode(body)
        headers = {} if content is None else {"Content-Type": "application/json"}
        not_run = (httpx.ConnectError, httpx.ConnectTimeout, _NotRunError)
        response = self._try(method, path, not_run, content=content, headers=headers)
        return self._decode(response, response_type)

    @contextmanager
    def stream(self, path: str, **headers: str) -> Iterator[httpx.Response]:
        """Open a response that is read piece by piece. Transport errors while reading are httpx's own."""
        with self.http.stream("GET", path, headers=headers) as response:
            if not response.is_success:
                response.read()
            try:
                self._check(response)
            except _TryAgainError as error:
                raise error.error from None
            yield response

    def unreachable(self, error: Exception) -> EnvironmentUnusableError:
        """The error for a server that cannot be reached."""
        return EnvironmentUnusableError(
            f"cannot reach the auditor server at {self.host}: {one_line(str(error)) or type(error).__name__}"
        )

    def _try(self, method: str, path: str, again: Any, **request: Any) -> httpx.Response:
        def attempt() -> httpx.Response:
            response = self.http.request(method, path, **request)
            self._check(response)
            return response

        trying = Retrying(
            retry=retry_if_exception_type(again), stop=stop_after_attempt(TRIES), wait=_seconds_to_wait, reraise=True
        )
        try:
            return trying(attempt)
        except _TryAgainError as error:
            raise error.error from None
        except httpx.HTTPError as error:
            raise self.unreachable(error) from error

    def _check(self, response: httpx.Response) -> None:
        """Raises the error type of a response's status, with the server's own line."""
        if response.is_success:
            return
        status, detail = response.status_code, _detail(response)
        if status in (401, 403):
            raise AccessDeniedError(detail)
        if status in (429, 503):
            again = _NotRunError if status == 429 else _TryAgainError
            raise again(EnvironmentUnusableError(detail), _retry_after(response))
        if status >= 500 or response.is_redirect:
            raise EnvironmentUnusableError(detail)
        raise _ERROR_TYPES.get(status, UsageError)(detail)

    def _decode(self, response: httpx.Response, response_type: type[T]) -> T:
        if response.status_code == 204:
            return msgspec.convert(None, response_type)
        return self.decode(response.content, response_type)

    def decode(self, content: bytes | str, response_type: type[T]) -> T:
        """Read JSON of the server. Raises UnreadableAnswerError: it is not of this type."""
        try:
            return msgspec.json.decode(content, type=response_type)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise UnreadableAnswerError(
                f"the server at {self.host} answered what this version of auditor.client cannot read "
                f"({one_line(str(error))}); install the version of the server, which GET /api/v1/health says"
            ) from error


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _detail(response: httpx.Response) -> str:
    """The server's line; what is between may also answer, without one."""
    try:
        detail = response.json()["detail"]
    except (ValueError, KeyError, TypeError):
        detail = None
    text = detail if isinstance(detail, str) else response.reason_phrase
    return one_line(f"{text} (HTTP {response.status_code} from {response.url.host})")


def _retry_after(response: httpx.Response) -> float | None:
    try:
        return float(response.headers["Retry-After"])
    except (KeyError, ValueError):
        return None


def _seconds_to_wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    after = error.after if isinstance(error, _TryAgainError) else None
    return wait_exponential(multiplier=0.5, max=8)(state) if after is None else min(max(after, 0.0), LONGEST_WAIT)
