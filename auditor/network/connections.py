"""Database URLs and connection options: TLS, and time-outs that detect lost peers.

Without these time-outs the kernel retries for a quarter of an hour, and waits two hours before it probes a silent peer.
"""

import os
import re
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy.engine import URL, make_url

from auditor.errors import UsageError
from auditor.network.addresses import describe_non_url, is_local, read_address, read_parameters

DEAD_SECONDS = 20
"""A connection is dead after this many seconds without an acknowledgement of data or of a probe."""
IDLE_SECONDS, INTERVAL_SECONDS, COUNT = 10, 5, 2
"""Seconds of silence before the first probe, seconds between probes, and their number."""


SETTING = "AUDITOR_DATABASE_URL"
POSTGRESQL = ("postgresql", "postgresql+psycopg", "postgresql+psycopg2")
BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
"""The files in which systems keep the trusted authorities."""


def database_url(url: str) -> URL:
    """Parse a database URL for SQLAlchemy; ``postgres://`` means PostgreSQL, and ``~`` the home folder.

    Raises:
        UsageError: the kind is not supported, or the URL is invalid; the error shows no part of a password.
    """
    scheme, separator, rest = url.partition("://")
    scheme = re.sub(r"^postgres(?=$|\+)", "postgresql", scheme.lower())
    if scheme in ("sqlite", "sqlite+pysqlite") and separator:
        return _sqlite_url(scheme, rest)
    if scheme not in POSTGRESQL or not separator:
        got = repr(scheme) if separator and re.fullmatch(r"[a-z0-9+.-]{1,30}", scheme) else describe_non_url(url)
        raise UsageError(f"{SETTING}: not a database URL: expected sqlite:///FILE or postgresql://…, got {got}")
    url = f"{'postgresql+psycopg' if scheme == 'postgresql' else scheme}://{rest}"
    if "," in rest.partition("/")[0].rpartition("@")[2].partition(":")[2]:
        raise UsageError(f"{SETTING}: write several hosts as ?host=a:5432&host=b:5432 after the database's name")
    address = read_address(SETTING, url)
    if (known := _parameters()) and not set(address.query) <= known:
        raise UsageError(f"{SETTING}: PostgreSQL does not know a parameter after the ?; {_ENCODE}")
    if address.host.startswith("/"):
        raise UsageError(f"{SETTING}: write the folder of a socket as ?host=/run/postgresql after the database's name")
    return make_url(url)


_ENCODE = "percent-encode ? and & in a password: ? as %3F, & as %26"


SQLITE = ("timeout", "uri", "isolation_level", "detect_types", "check_same_thread", "cached_statements")
"""The parameters of SQLite's driver; with ``uri=true`` SQLite itself has others, such as ``mode``."""


def _sqlite_url(scheme: str, rest: str) -> URL:
    if rest and not rest.startswith("/"):
        raise UsageError(f"{SETTING}: expected sqlite:/// with three slashes and then the file, got two")
    file, _, query = rest.partition("?")
    if file == "/":
        raise UsageError(f"{SETTING}: expected a file after sqlite:///, got none: is a variable empty?")
    if file.startswith("/$"):
        raise UsageError(f"{SETTING}: a variable after sqlite:/// was not replaced: write the full path")
    given = read_parameters(SETTING, query)
    unknown = [name for name in given if name not in SQLITE]
    if unknown and given.get("uri", "").lower() != "true":
        raise UsageError(
            f"{SETTING}: SQLite does not know {unknown[0]} after the ?; it takes {', '.join(SQLITE)}; write ? in a "
            "file's name as %3F, and SQLite's own parameters as file:NAME?mode=ro&uri=true"
        )
    url = make_url(f"{scheme}://{rest}")
    try:
        path = str(Path(url.database).expanduser()) if (url.database or "").startswith("~") else url.database  # type: ignore[arg-type]
    except RuntimeError as error:
        raise UsageError(f"{SETTING}: the home folder after sqlite:/// does not exist: write its full path") from error
    return url.set(database=path)


def _parameters() -> frozenset[str]:
    """The parameters that PostgreSQL's client knows; empty if the client is not installed."""
    try:
        from psycopg.pq import Conninfo
    except ImportError:  # connecting raises an error that says what to install
        return frozenset()
    return frozenset(option.keyword.decode() for option in Conninfo.get_defaults())


def postgresql(url: URL) -> Mapping[str, Any]:
    """Options of a PostgreSQL client, for both sides: a lost client must not keep rows locked."""
    names = ("idle", "interval", "count")
    ours = dict(zip(names, (IDLE_SECONDS, INTERVAL_SECONDS, COUNT), strict=True))
    options = {f"tcp_keepalives_{name}": value for name, value in ours.items()}
    options["tcp_user_timeout"] = DEAD_SECONDS * 1000
    given = url.query.get("options", ())
    requested = [given] if isinstance(given, str) else list(given)
    return {
        **{f"keepalives_{name}": value for name, value in ours.items()},
        "tcp_user_timeout": DEAD_SECONDS * 1000,
        "options": " ".join([*(f"-c {name}={value}" for name, value in options.items()), *requested]),
        **_tls(url),
    }


def _tls(url: URL) -> Mapping[str, str]:
    """TLS options that the URL leaves open: certificate and host name of a remote server are checked."""
    mode = sslmode(url)
    found = {} if _given(url, "sslmode", "PGSSLMODE") or mode is None else {"sslmode": mode}
    trusted = _given(url, "sslrootcert", "PGSSLROOTCERT")
    own = Path("~/.postgresql/root.crt").expanduser().is_file() and not os.environ.get("SSL_CERT_FILE")
    if mode in ("verify-ca", "verify-full") and not trusted and not own:
        found["sslrootcert"] = _authorities()
    return found


def sslmode(url: URL) -> str | None:
    """The ``sslmode``; None if the client decides: the server is on this machine, or a service file configures it."""
    given = _given(url, "sslmode", "PGSSLMODE")
    if given or _given(url, "service", "PGSERVICE"):
        return given
    hosts = [_text(url.query.get(name)) for name in ("hostaddr", "host")]
    host = next(filter(None, (*hosts, url.host)), "") or os.environ.get("PGHOSTADDR") or os.environ.get("PGHOST", "")
    places = [re.sub(r"(?<=[^:]):\d+$", "", one) for one in host.split(",")]
    return None if all(is_local(one) for one in places) else "verify-full"


def _given(url: URL, name: str, variable: str) -> str | None:
    return _text(url.query.get(name)) or os.environ.get(variable) or None


def _text(value: str | tuple[str, ...] | None) -> str:
    return value or "" if isinstance(value, str) or value is None else ",".join(value)


def _authorities() -> str:
    """The file of the authorities that this machine trusts; ``system`` leaves the choice to OpenSSL."""
    paths = [ssl.get_default_verify_paths().cafile, *BUNDLES]  # the first path follows SSL_CERT_FILE
    return next((path for path in paths if path and Path(path).is_file()), "system")


def safety(url: URL) -> str:
    """A text: whether the connection is encrypted and the certificate checked; empty on this machine."""
    if url.get_backend_name() != "postgresql" or (mode := sslmode(url)) is None:
        return ""
    return {
        "verify-full": "TLS, certificate and host name checked",
        "verify-ca": "TLS, certificate checked, host name NOT checked (sslmode=verify-ca)",
        "require": "TLS, but the certificate is NOT checked (sslmode=require)",
        "disable": "not encrypted (sslmode=disable)",
    }.get(mode, f"TLS only if the server has it, and the certificate is NOT checked (sslmode={mode})")


def advice(error: BaseException) -> str:
    """A remedy to append if the error is about TLS, else nothing."""
    text = str(error).lower()
    if "server does not support ssl" in text or ("no pg_hba.conf entry" in text and "no encryption" in text):
        return "; in a trusted network, ?sslmode=disable in the URL disables TLS"
    if "certificate" in text and ("verify failed" in text or "does not match" in text):
        return (
            "; to trust its authority, name the authority's file in ?sslrootcert=FILE or SSL_CERT_FILE; "
            "?sslmode=require disables the check"
        )
    return ""


def redis() -> dict[int, int]:
    """Socket options of a Redis client by number, as far as this system has them."""
    options = {
        "TCP_KEEPIDLE": IDLE_SECONDS,
        "TCP_KEEPINTVL": INTERVAL_SECONDS,
        "TCP_KEEPCNT": COUNT,
        "TCP_USER_TIMEOUT": DEAD_SECONDS * 1000,
    }
    return {getattr(socket, name): value for name, value in options.items() if hasattr(socket, name)}
