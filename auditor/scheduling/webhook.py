"""A webhook: Slack-compatible JSON, sent with retries, to public addresses only."""

import asyncio
import logging
from collections.abc import Callable
from html import escape

import httpx
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from auditor.errors import EnvironmentUnusableError, UsageError
from auditor.network.hosts import is_public, resolve
from auditor.results.diff import Diff
from auditor.text.printable import clean_line

logger = logging.getLogger(__name__)

TIMEOUT = 10.0
"""Seconds for resolving the host, and for each attempt: to connect, to send and to read the status."""
TRIES = 4
MOST_LINES = 30


class _TryAgainError(Exception):
    """The server did not accept the message, but may do so later."""


def post(url: str, text: str, *, allow_private: bool = False, wait: Callable[..., float] | None = None) -> None:
    """Post ``{"text": …}``, up to four times, within a minute in all; the body of the answer is not read.

    A webhook's URL is a secret: no error message shows it.

    Raises:
        UsageError: the URL is invalid, or leads into a private network, which is not allowed.
        EnvironmentUnusableError: the server did not accept the message.
    """
    text = escape(text, quote=False)  # the name or error of a model must not mention people in Slack or make links
    target = _parse(url)
    addresses = _resolve(target, allow_private)
    trying = Retrying(
        retry=retry_if_exception_type(_TryAgainError),
        stop=stop_after_attempt(TRIES),
        wait=wait or wait_exponential(multiplier=1, max=30),
        reraise=True,
    )
    try:
        for attempt in trying:
            with attempt:
                address = addresses[(attempt.retry_state.attempt_number - 1) % len(addresses)]
                _post_once(target, address, text)
    except _TryAgainError as error:
        raise EnvironmentUnusableError(f"the webhook at {_host(target)} did not accept the message: {error}") from None


def _parse(url: str) -> httpx.URL:
    try:
        target = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        target = httpx.URL("")
    port = 80 if target.port is None else target.port
    if target.scheme not in ("http", "https") or not target.raw_host or not 0 < port < 65_536:
        raise UsageError("AUDITOR_WEBHOOK_URL: expected https://…, got something else")
    return target


def _host(target: httpx.URL) -> str:
    """The host name in ASCII, as DNS and HTTP use it."""
    return target.raw_host.decode("ascii")


def _resolve(target: httpx.URL, allow_private: bool) -> list[str]:
    """The checked addresses of a host: a name must not lead into the network of this machine."""
    host, port = _host(target), target.port or (443 if target.scheme == "https" else 80)
    try:
        addresses = resolve(host, port, TIMEOUT)
    except OSError as error:
        raise EnvironmentUnusableError(f"the webhook's host {host} cannot be resolved: {error}") from error
    private = [address for address in addresses if not is_public(address)]
    if private and not allow_private:
        raise UsageError(
            f"the webhook's host {host} has the private address {private[0]}; AUDITOR_WEBHOOK_PRIVATE=true allows it"
        )
    return addresses


def _post_once(target: httpx.URL, address: str, text: str) -> None:
    """Post to the checked address, even if the name has another one by now; redirects are not followed."""
    try:
        status = asyncio.run(_exchange(target, address, text))
    except (httpx.TransportError, TimeoutError, OSError) as error:
        raise _TryAgainError(type(error).__name__) from None
    except Exception as error:  # errors of the libraries about a URL, a certificate or an answer
        raise EnvironmentUnusableError(
            f"cannot post to the webhook at {_host(target)}: {type(error).__name__}"
        ) from None
    if status == 429 or status >= 500:
        raise _TryAgainError(f"status {status}")
    if not 200 <= status < 300:
        raise EnvironmentUnusableError(f"the webhook at {_host(target)} refused the message: status {status}")


async def _exchange(target: httpx.URL, address: str, text: str) -> int:
    """The status of the response; unlike httpx's time limit, asyncio's covers all steps together."""
    pinned = target.copy_with(host=address)
    name = f"[{_host(target)}]" if ":" in _host(target) else _host(target)
    host = name if target.port is None else f"{name}:{target.port}"
    async with (
        asyncio.timeout(TIMEOUT),
        httpx.AsyncClient(timeout=TIMEOUT, follow_redirects=False, trust_env=False) as client,
        client.stream(
            "POST", pinned, json={"text": text}, headers={"Host": host}, extensions={"sni_hostname": _host(target)}
        ) as response,
    ):
        return response.status_code


def describe_diff(diff: Diff, title: str, *, complete: bool = False) -> str:
    """A scan's difference in words: numbers and alarming results; ``complete``: new and changed models, too."""
    numbers = {
        "regressions": len(diff.regressions),
        "not reproduced": len(diff.not_reproduced),
        "failed": len(diff.failed),
        "new": len(diff.new),
        "changed": len(diff.changed),
        "verified again": len(diff.reverified),
        "the same": len(diff.same),
    }
    counts = ", ".join(f"{number} {name}" for name, number in numbers.items() if number)
    lines = [f"{title}: {counts or 'nothing to compare'}"]
    lines += [f"regression: {model}: {'; '.join(worse)}" for model, worse in diff.regressions.items()]
    lines += [f"not reproduced: {model}: the same identity gave other verdicts" for model in diff.not_reproduced]
    lines += [f"failed: {model}: {reason}" for model, reason in diff.failed.items()]
    if complete:
        lines += [f"new: {model}" for model in diff.new]
        lines += [f"gone: {model}" for model in diff.gone]
        lines += [f"changed: {model}: {how}" for model, how in diff.changed.items()]
        lines += [f"not compared: {model}: {why}" for model, why in diff.not_compared.items()]
    elif len(lines) > MOST_LINES:
        lines = [*lines[:MOST_LINES], f"… and {len(lines) - MOST_LINES} more: `auditor scans diff` shows all"]
    return "\n".join(clean_line(line) for line in lines)
