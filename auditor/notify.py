"""A webhook for who should know: Slack-compatible JSON, sent with patience, to public addresses only."""

import ipaddress
import logging
import socket
from collections.abc import Callable
from html import escape

import httpx
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from auditor.db.diff import Diff
from auditor.errors import EnvironmentUnusableError, UsageError
from auditor.printable import clean_line

logger = logging.getLogger(__name__)

TIMEOUT = 10.0
TRIES = 4
MOST_LINES = 30


class _TryAgainError(Exception):
    """The other side did not take it, and may do so later."""


def post(url: str, text: str, *, allow_private: bool = False, wait: Callable[..., float] | None = None) -> None:
    """Post ``{"text": …}``, up to four times; a webhook's address is a secret, and in no message of ours.

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
        trying(_post_once, target, addresses, text)
    except _TryAgainError as error:
        raise EnvironmentUnusableError(f"the webhook at {target.host} did not take the message: {error}") from None


def _parse(url: str) -> httpx.URL:
    try:
        target = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        target = httpx.URL("")
    if target.scheme not in ("http", "https") or not target.host:
        raise UsageError("AUDITOR_WEBHOOK_URL: expected https://…, got something else")
    return target


def _resolve(target: httpx.URL, allow_private: bool) -> list[str]:
    """The addresses of a host, each checked: a name must not lead into the network that auditor runs in."""
    port = target.port or (443 if target.scheme == "https" else 80)
    try:
        found = socket.getaddrinfo(target.host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise EnvironmentUnusableError(f"the webhook's host {target.host} is not known: {error}") from error
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    private = [address for address in addresses if not ipaddress.ip_address(address).is_global]
    if private and not allow_private:
        raise UsageError(
            f"the webhook's host {target.host} has the private address {private[0]}; AUDITOR_WEBHOOK_PRIVATE=true "
            "allows that"
        )
    return addresses


def _post_once(target: httpx.URL, addresses: list[str], text: str) -> None:
    """To the very address that was checked, whatever its name says now; redirects are not followed."""
    pinned = target.copy_with(host=addresses[0])
    host = target.host if target.port is None else f"{target.host}:{target.port}"
    try:
        with httpx.Client(timeout=TIMEOUT, follow_redirects=False, trust_env=False) as client:
            request = client.build_request(
                "POST", pinned, json={"text": text}, headers={"Host": host}, extensions={"sni_hostname": target.host}
            )
            answer = client.send(request)
    except httpx.TransportError as error:
        raise _TryAgainError(type(error).__name__) from None
    if answer.status_code == 429 or answer.status_code >= 500:
        raise _TryAgainError(f"status {answer.status_code}")
    if not answer.is_success:
        raise EnvironmentUnusableError(f"the webhook at {target.host} refused the message: status {answer.status_code}")


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
