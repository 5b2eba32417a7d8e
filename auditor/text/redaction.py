"""Removes secrets from texts: passwords in URLs and their queries, and all secrets of the settings."""

import json
import re
from collections.abc import Iterator
from urllib.parse import parse_qsl, unquote_plus

MASK = "***"
SHORTEST_SECRET = 4
"""A shorter secret is hidden only in URLs, because masking it everywhere would garble unrelated text."""
HARMLESS = frozenset({
    "host", "hostaddr", "port", "dbname", "connect_timeout", "application_name", "client_encoding", "options",
    "target_session_attrs", "sslmode", "sslnegotiation", "sslrootcert", "sslcert", "sslkey", "sslcrl", "ssl_cert_reqs",
    "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname", "virtual_host", "mode", "uri", "cache",
    "timeout", "service",
})  # fmt: skip
"""Parameters of databases and brokers whose values may be shown; all others are hidden."""
SECRET_NAME = re.compile("pass|pwd|secret|token|key|sig|auth|cred|session|code", re.IGNORECASE)
"""Parameters of web addresses, and names in other text, whose values are hidden; all others may be shown."""
URL = re.compile(r"\b(?P<scheme>[a-z][a-z0-9+.-]{0,30})://(?P<rest>[^\s'\"<>]*)", re.IGNORECASE)
ASSIGNED = re.compile(
    r"\b(\w{0,30}(?:passw(?:or)?d|passphrase|secret|token)\w{0,30}\s?=\s?)(?!\*)('[^']*'|[^\s,;&)]+)", re.IGNORECASE
)

_secrets: set[str] = set()


def hide(secret: str) -> None:
    """Register a secret that :func:`redact` must mask from now on."""
    _secrets.update(one for one in _spellings(secret) if len(one) >= SHORTEST_SECRET)


def hide_secrets_of(url: str) -> None:
    """Hide the password of a URL, also of one that cannot be parsed, and the secrets in its query."""
    for secret in _secrets_of(url):
        hide(secret)


def forget() -> None:
    """Forget all registered secrets, for programs that change their settings, such as tests."""
    _secrets.clear()


def known_secrets() -> frozenset[str]:
    """All registered secrets, to pass on to a child process."""
    return frozenset(_secrets)


def redact(text: str) -> str:
    """Mask all secrets in a text."""
    text = redact_urls(text)
    for secret in sorted(_secrets, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return text


def redact_urls(text: str) -> str:
    """Mask passwords and query secrets in the URLs of a text."""
    return ASSIGNED.sub(rf"\1{MASK}", URL.sub(_shown, text))


def _shown(found: re.Match[str]) -> str:
    scheme, rest = found["scheme"], found["rest"].rstrip(":;,.)")
    punctuation = found["rest"][len(rest) :]
    of_the_web = scheme.lower() in ("http", "https")
    authority, tail = re.fullmatch(r"([^/?#]*)(.*)", rest, re.DOTALL).groups() if of_the_web else (rest, "")  # type: ignore[union-attr]
    user, at, host = authority.rpartition("@")  # a password may have any character, where nobody encoded it
    user = user if user.endswith(f":{MASK}") else MASK
    path, mark, query = (host + tail).partition("?")
    fragment_path, hash_mark, fragment = path.partition("#")
    if hash_mark and not mark:
        path, mark, query = fragment_path, hash_mark, fragment
    parts = (_parameter(part, of_the_web) for part in re.split("([&;#])", query))
    return f"{scheme}://{user + at if at else ''}{path}{mark}{''.join(parts)}{punctuation}"


def _parameter(part: str, of_the_web: bool) -> str:
    name, equals, value = part.partition("=")
    if part in ("", "&", ";", "#") or (value in ("", MASK) and equals):
        return part
    if of_the_web:
        return f"{name}={MASK}" if equals and SECRET_NAME.search(name) else part
    if name in HARMLESS:
        return part
    return f"{name}={MASK}" if equals and name.replace("_", "").isalnum() else MASK


def _secrets_of(url: str) -> Iterator[str]:
    for one in re.split(r";(?=[a-z][a-z+]*://)", url):
        scheme, _, rest = one.partition("://")
        user, at, _ = rest.rpartition("@")
        if at and scheme.lower().partition("+")[0] != "sqlite":
            name, colon, password = user.partition(":")
            yield password if colon else name
        for parameter, value in parse_qsl(rest.partition("?")[2]):
            if parameter not in (*HARMLESS, "user", "username"):
                yield value


def _spellings(secret: str) -> frozenset[str]:
    """The spellings of a secret: plain, URL-decoded and JSON-escaped."""
    found = {secret, unquote_plus(secret), unquote_plus(secret.replace("+", "%2B"))}
    return frozenset(found | {json.dumps(one)[1:-1] for one in found})
