"""A webhook for who should know: Slack-compatible JSON, sent with patience, to public addresses only."""

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
"""Seconds in all for finding the host's addresses, and for each try: to connect, to send and to read the status."""
TRIES = 4
MOST_LINES = 30


class _TryAgainError(Exception):
    """The other side did not take it, and may do so later."""


def post(url: str, text: str, *, allow_private: bool = False, wait: Callable[..., float] | None = None) -> None:
    """Post ``{"text": …}``, up to four times, within a minute in all; the body of the answer is not read.

    A webhook's address is a secret, and in no message of ours.

    Raises:
        UsageError: the address is none, or is one of a private network, and that is not allowed.
        EnvironmentUnusableError: nobody takes it.
    """
    text = escape(text, quote=False)  # a model's name or error calls nobody in Slack and makes no link
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
        raise EnvironmentUnusableError(f"the webhook at {_host(target)} did not take the message: {error}") from None


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
    """As it is looked up and sent: in ASCII."""
    return target.raw_host.decode("ascii")


def _resolve(target: httpx.URL, allow_private: bool) -> list[str]:
    """The addresses of a host, each checked: a name must not lead into the network that auditor runs in."""
    host, port = _host(target), target.port or (443 if target.scheme == "https" else 80)
    try:
        addresses = resolve(host, port, TIMEOUT)
    except OSError as error:
        raise EnvironmentUnusableError(f"the webhook's host {host} is not known: {error}") from error
    private = [address for address in addresses if not is_public(address)]
    if private and not allow_private:
        raise UsageError(
            f"the webhook's host {host} has the private address {private[0]}; AUDITOR_WEBHOOK_PRIVATE=true allows that"
        )
    return addresses


def _post_once(target: httpx.URL, address: str, text: str) -> None:
    """To the very address that was checked, whatever its name says now; redirects are not followed."""
    try:
        status = asyncio.run(_exchange(target, address, text))
    except (httpx.TransportError, TimeoutError, OSError) as error:
        raise _TryAgainError(type(error).__name__) from None
    except Exception as error:  # whatever else a URL, a certificate or an answer makes of the libraries
        raise EnvironmentUnusableError(
            f"the webhook at {_host(target)} cannot be told: {type(error).__name__}"
        ) from None
    if status == 429 or status >= 500:
        raise _TryAgainError(f"status {status}")
    if not 200 <= status < 300:
        raise EnvironmentUnusableError(f"the webhook at {_host(target)} refused the message: status {status}")


async def _exchange(target: httpx.URL, address: str, text: str) -> int:
    """The status of the answer; asyncio's time limit, unlike httpx's, is of all steps together."""
    pinned = target.copy_with(host=address)
    name = f"[{_host(target)}]" if ":" in _host(target) else _host(target)
    host = name if target.port is None else f"{name}:{target.port}"
    async with (
        asyncio.timeout(TIMEOUT),
        httpx.AsyncClient(timeout=TIMEOUT, follow_redirects=False, trust_env=False) as client,
        client.stream(
            "POST", pinned, json={"text": text}, headers={"Host": host}, extensions={"sni_hostname": _host(target)}
        ) as answer,
    ):
        return answer.status_code


def in_words(diff: Diff, title: str, *, all_of_it: bool = False) -> str:
    """A scan's end for people: numbers, then what is alarming; ``all_of_it``: what is new and changed, too."""
    numbers = {
        "regressions": len(diff.regressions),
        "not reproduced": len(diff.not_reproduced),
        "failed": len(diff.failed),
        "new": len(diff.new),
        "changed": len(diff.changed),
        "verified again": len(diff.reverified),
        "the same": len(diff.same),
    }
    counted = ", ".join(f"{number} {name}" for name, number in numbers.items() if number)
    lines = [f"{title}: {counted or 'nothing to compare'}"]
    lines += [f"regression: {model}: {'; '.join(worse)}" for model, worse in diff.regressions.items()]
    lines += [f"not reproduced: {model}: the same identity gave other verdicts" for model in diff.not_reproduced]
    lines += [f"failed: {model}: {reason}" for model, reason in diff.failed.items()]
    if all_of_it:
        lines += [f"new: {model}" for model in diff.new]
        lines += [f"gone: {model}" for model in diff.gone]
        lines += [f"changed: {model}: {how}" for model, how in diff.changed.items()]
        lines += [f"not compared: {model}: {why}" for model, why in diff.not_compared.items()]
    elif len(lines) > MOST_LINES:
        lines = [*lines[:MOST_LINES], f"… and {len(lines) - MOST_LINES} more: `auditor scans diff` shows all"]
    return "\n".join(clean_line(line) for line in lines)
