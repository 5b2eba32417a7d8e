"""Parses the broker's URL: its kind, its TLS options, and the URL without secrets. No Celery."""

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from auditor.errors import UsageError
from auditor.network.addresses import Address, describe_non_url, read_address, shown

SETTING = "AUDITOR_BROKER_URL"
KINDS = dict.fromkeys(("redis", "rediss", "redis+socket"), "redis") | dict.fromkeys(("amqp", "amqps", "pyamqp"), "amqp")
"""The supported brokers by Celery's scheme. Others lose messages of jobs that take hours, or deliver them twice."""
WITH_TLS = ("rediss", "amqps")
CHECKS = {
    "required": ssl.CERT_REQUIRED, "CERT_REQUIRED": ssl.CERT_REQUIRED, "optional": ssl.CERT_OPTIONAL,
    "CERT_OPTIONAL": ssl.CERT_OPTIONAL, "none": ssl.CERT_NONE, "CERT_NONE": ssl.CERT_NONE,
}  # fmt: skip
FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
PARAMETERS = {
    "rediss": (*FILES, "ssl_cert_reqs", "ssl_check_hostname", "ssl_password"),
    "amqps": (*FILES, "ssl_cert_reqs", "ssl_check_hostname", "heartbeat", "login_method"),
    "amqp": ("heartbeat", "login_method"),
    "pyamqp": ("heartbeat", "login_method"),
    "redis+socket": ("virtual_host",),
}
"""The allowed query parameters; those of TLS have the names of Redis's client, for RabbitMQ, too."""


@dataclass(frozen=True)
class Broker:
    """How to reach a broker.

    Attributes:
        kind: redis or amqp.
        url: for Celery, without the TLS parameters.
        tls: the client's TLS options; None without TLS.
        shown: the URL without secrets.
        safety: a text: whether the connection is encrypted and the server's certificate checked.
    """

    kind: str
    url: str = field(repr=False)
    tls: dict[str, Any] | None = field(repr=False)
    shown: str
    safety: str


def read_broker(url: str) -> Broker:
    """Parse a broker's URL, or several URLs that are separated by ``;`` and tried in turn.

    Raises:
        UsageError: the kind is not supported, or the URL is invalid; the error shows no part of a password.
    """
    found = [_read_one(one) for one in re.split(r";(?=[A-Za-z][A-Za-z0-9+.-]*://)", url)]
    first = found[0]
    if any((one.kind, one.tls) != (first.kind, first.tls) for one in found):
        raise UsageError(f"{SETTING}: expected URLs of one kind with the same TLS parameters")
    urls, places = ";".join(one.url for one in found), "; ".join(one.shown for one in found)
    return Broker(first.kind, urls, first.tls, places, first.safety)


def _read_one(url: str) -> Broker:
    scheme, separator, _ = url.partition("://")
    scheme = scheme.lower()
    if scheme in ("sentinel", "redis+sentinel", "unix"):
        instead = "redis+socket:///run/redis.sock" if scheme == "unix" else "redis://… of the master or of a proxy"
        raise UsageError(f"{SETTING}: {scheme}:// is not supported (redis://… or amqp://… are); use {instead}")
    if not separator or scheme not in KINDS:
        got = repr(scheme) if separator and re.fullmatch(r"[a-z0-9+.-]{1,20}", scheme) else describe_non_url(url)
        raise UsageError(f"{SETTING}: expected redis://… or amqp://…, got {got}")
    address = read_address(SETTING, url, also=";")
    _check(address)
    kept = [f"{name}={value}" for name, value in address.query.items() if not name.startswith("ssl_")]
    rest = url.partition("://")[2].partition("?")[0] + ("?" + "&".join(kept) if kept else "")
    tls = _tls(address) if scheme in WITH_TLS else None
    return Broker(KINDS[scheme], f"{scheme}://{rest}", tls, shown(address), _safety(address, tls))


def _check(address: Address) -> None:
    allowed = PARAMETERS.get(address.scheme, ())
    if any(name.startswith("ssl_") for name in address.query) and address.scheme not in WITH_TLS:
        raise UsageError(f"{SETTING}: parameters ssl_… go with rediss:// or amqps://, got {address.scheme}://")
    if not set(address.query) <= set(allowed):
        known = f"it takes {', '.join(allowed)}" if allowed else "it takes none"
        raise UsageError(
            f"{SETTING}: a parameter after the ? is not known for {address.scheme}://; {known}; "
            "put user name and password before the host, as in user:password@host"
        )
    if address.scheme == "redis+socket" and (address.host or address.path in ("", "/")):
        raise UsageError(f"{SETTING}: expected redis+socket:///PATH of the socket, with three slashes")
    database = address.query.get("virtual_host", "") if address.scheme == "redis+socket" else address.path.strip("/")
    if KINDS[address.scheme] == "redis" and not re.fullmatch(r"\d{0,9}", database):
        raise UsageError(f"{SETTING}: expected the number of Redis's database as in redis://host:6379/0")


def _tls(address: Address) -> dict[str, Any]:
    """TLS options of the client: it checks certificate and host name unless the URL disables that."""
    given = address.query
    reqs = given.get("ssl_cert_reqs", "required")
    if reqs not in CHECKS:
        raise UsageError(f"{SETTING}: ssl_cert_reqs: expected required or none")
    if (names := given.get("ssl_check_hostname", "true").lower()) not in ("true", "false"):
        raise UsageError(f"{SETTING}: ssl_check_hostname: expected true or false")
    by_name = names == "true" and CHECKS[reqs] != ssl.CERT_NONE
    files = {name: str(_file(name, given)) for name in FILES if name in given}
    if address.scheme == "amqps":
        options: dict[str, Any] = {name.removeprefix("ssl_"): path for name, path in files.items()}
        return (
            options
            | {"cert_reqs": CHECKS[reqs]}
            | ({"server_hostname": address.host or "localhost"} if by_name else {})
        )
    secret = {"ssl_password": given["ssl_password"]} if "ssl_password" in given else {}
    return files | secret | {"ssl_cert_reqs": CHECKS[reqs], "ssl_check_hostname": by_name}


def _file(name: str, given: Mapping[str, str]) -> Path:
    path = Path(given[name]).expanduser()
    if not path.is_file():
        raise UsageError(f"{SETTING}: {name}: no such file: {path}")
    return path


def _safety(address: Address, tls: Mapping[str, Any] | None) -> str:
    if tls is None:
        return "" if address.is_local else "not encrypted"
    if CHECKS[address.query.get("ssl_cert_reqs", "required")] == ssl.CERT_NONE:
        return "TLS, but the certificate is NOT checked (ssl_cert_reqs)"
    if address.query.get("ssl_check_hostname", "true").lower() == "false":
        return "TLS, certificate checked, host name NOT checked (ssl_check_hostname)"
    return "TLS, certificate and host name checked"


def advice(error: BaseException) -> str:
    """A remedy to append if the error is about the server's certificate, else nothing."""
    if "certificate verify failed" in str(error).lower().replace("_", " "):
        return (
            "; to trust its authority, name the authority's file in ?ssl_ca_certs=FILE or SSL_CERT_FILE; "
            "?ssl_cert_reqs=none disables the check"
        )
    return ""
