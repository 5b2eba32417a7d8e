"""Parses URLs of databases and brokers strictly; neither errors nor shown URLs have secrets."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import quote, unquote

from auditor.errors import UsageError
from auditor.text.redaction import redact_urls

DELIMITERS = "#/?[]@"
"""Characters that delimit the parts of a URL, and must be percent-encoded in a user name or password."""


@dataclass(frozen=True)
class Address:
    """The decoded parts of a URL; ``user``, ``password``, ``host`` and ``path`` may be empty."""

    scheme: str
    user: str
    password: str
    host: str
    port: int | None
    path: str
    query: Mapping[str, str]

    @property
    def is_local(self) -> bool:
        """Whether the server is on this machine, which is also the client's default without a host."""
        return is_local(self.host)


def read_address(setting: str, url: str, also: str = "") -> Address:
    """Parse a URL; ``also``: further characters that must be percent-encoded in a user name or password.

    Raises:
        UsageError: the URL is invalid; the error names the setting and the remedy, and shows no part of a password.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme):
        raise UsageError(f"{setting}: expected a URL such as redis://host:6379/0, got none")
    authority, tail = re.fullmatch(r"([^/?#]*)(.*)", rest, re.DOTALL).groups()  # type: ignore[union-attr]
    user, at, place = authority.rpartition("@")
    path, _, query = tail.partition("?")
    _check_characters(setting, url, authority, tail, also)
    found = re.fullmatch(r"(?:\[(?P<six>[0-9A-Fa-f:.%]+)\]|(?P<name>[^\[\]:\\^`{|}]*))(?::(?P<port>\d*))?", place)
    port = int(found["port"] or 0) if found and len(found["port"] or "") < 6 else 0
    if found is None or port > 65_535 or (found["port"] and not port):
        raise UsageError(f"{setting}: expected host:port after the @, got no number as the port; {_advice('/?#@')}")
    name, colon, password = user.partition(":")
    if at and not colon and not name:
        user = ""
    return Address(
        scheme.lower(),
        unquote(name),
        unquote(password),
        unquote(found["six"] or found["name"] or ""),
        port or None,
        unquote(path),
        read_parameters(setting, query),
    )


def shown(address: Address) -> str:
    """The URL without secrets. A user name without a password is hidden, because it may be a token."""
    user = f"{quote(address.user)}:***@" if address.password else "***@" if address.user else ""
    host = f"[{address.host}]" if ":" in address.host else address.host
    port = "" if address.port is None else f":{address.port}"
    query = "&".join(f"{name}={value}" for name, value in address.query.items())
    return redact_urls(f"{address.scheme}://{user}{host}{port}{address.path}{'?' + query if query else ''}")


def describe_non_url(text: str) -> str:
    """What a text is that does not begin as a URL, without any of it: it may be a password."""
    if text[:1] in ("'", '"'):
        return "quotes around it: remove them, because env files of Docker keep them"
    return "a space before it" if text[:1].isspace() else "no such URL"


def is_local(host: str) -> bool:
    """Whether a host, a list of them, or the folder of a socket is on this machine."""
    return all(_is_loopback(one) for one in host.split(","))


def _is_loopback(host: str) -> bool:
    if host in ("", "localhost") or host.startswith(("/", "@")):
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _check_characters(setting: str, url: str, authority: str, tail: str, also: str) -> None:
    """Raises UsageError for characters that must be percent-encoded; they would cut a password short."""
    user = authority.rpartition("@")[0]
    wrong = set(user) & set(DELIMITERS + also) | set(tail) & set("#@[]" + also)
    if "@" in tail and ":" in authority:  # the first of these characters has cut a password
        wrong = (wrong | {tail[0]}) - ({"@"} if url.count("@") == 1 else set())
    if re.search(r"%(?![0-9A-Fa-f]{2})", url):
        wrong |= {"%"}
    if any(letter.isspace() or not letter.isprintable() for letter in url):
        wrong |= {" "}
    if wrong:
        got = ", ".join(sorted(repr(letter) if letter != " " else "a space" for letter in wrong))
        raise UsageError(
            f"{setting}: this URL cannot be read because of {got} in it; {_advice(''.join(sorted(wrong)))}"
        )


def _advice(letters: str) -> str:
    codes = ", ".join(f"{letter if letter != ' ' else 'a space'} as {quote(letter, safe='')}" for letter in letters)
    return f"percent-encode user name and password: {codes}"


def read_parameters(setting: str, query: str) -> dict[str, str]:
    """The decoded parameters after the ``?`` of a URL.

    Raises:
        UsageError: they have another form than ``name=value&name=value``, or a name is given twice.
    """
    found: dict[str, str] = {}
    for part in filter(None, query.split("&")):
        name, equals, value = part.partition("=")
        if not equals or not re.fullmatch(r"\w+", name):
            raise UsageError(
                f"{setting}: expected name=value after the ?, separated by &; {_advice('?&')}, in values as well"
            )
        if name in found and name != "host":
            raise UsageError(f"{setting}: one of the parameters after the ? is given twice")
        found[name] = ",".join(filter(None, (found.get(name), unquote(value))))
    return found
