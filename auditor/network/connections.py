"""When a connection counts as dead: a host that lost its link must notice, and the others must not wait for it.

Without this the kernel tries again for a quarter of an hour to send, and waits two hours before it asks a silent peer.
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
from auditor.network.addresses import is_local, read_address

DEAD_SECONDS = 20
"""After so long without an answer to what was sent, or to being asked, the other side is gone."""
IDLE_SECONDS, INTERVAL_SECONDS, COUNT = 10, 5, 2
"""After so long a silence the other side is asked, again after each interval, and so often."""


SETTING = "AUDITOR_DATABASE_URL"
POSTGRESQL = ("postgresql", "postgresql+psycopg", "postgresql+psycopg2")
BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
"""Where systems keep the authorities that they trust."""


def database_url(url: str) -> URL:
    """The address of a database as SQLAlchemy has it; ``postgres://`` is PostgreSQL, ``~`` the home folder.

    Raises:
        UsageError: it is of another kind, or cannot be read; no part of a password is shown.
    """
    scheme, separator, rest = url.partition("://")
    scheme = re.sub(r"^postgres(?=$|\+)", "postgresql", scheme.lower())
    if scheme in ("sqlite", "sqlite+pysqlite") and separator:
        return _sqlite_url(scheme, rest)
    if scheme not in POSTGRESQL or not separator:
        got = repr(scheme) if separator and re.fullmatch(r"[a-z0-9+.-]{1,30}", scheme) else "no such URL"
        raise UsageError(f"{SETTING}: not a database URL: expected sqlite:///FILE or postgresql://…, got {got}")
    url = f"{'postgresql+psycopg' if scheme == 'postgresql' else scheme}://{rest}"
    address = read_address(SETTING, url)
    if (known := _parameters()) and not set(address.query) <= known:
        raise UsageError(f"{SETTING}: a parameter after the ? is none of PostgreSQL's; {_ENCODE}")
    if address.host.startswith("/"):
        raise UsageError(
            f"{SETTING}: the folder of a socket is written ?host=/run/postgresql after the database's name"
        )
    return make_url(url)


_ENCODE = "percent-encode ? and & in a password: ? as %3F, & as %26"


def _sqlite_url(scheme: str, rest: str) -> URL:
    if rest and not rest.startswith("/"):
        raise UsageError(f"{SETTING}: expected sqlite:/// with three slashes and then the file, got two")
    url = make_url(f"{scheme}://{rest}")
    try:
        path = str(Path(url.database).expanduser()) if (url.database or "").startswith("~") else url.database  # type: ignore[arg-type]
    except RuntimeError as error:
        raise UsageError(f"{SETTING}: there is no such home folder as that after sqlite:///: write it out") from error
    return url.set(database=path)


def _parameters() -> frozenset[str]:
    """Those that PostgreSQL's client knows."""
    try:
        from psycopg.pq import Conninfo
    except ImportError:  # which says later what to install
        return frozenset()
    return frozenset(option.keyword.decode() for option in Conninfo.get_defaults())


def postgresql(url: URL) -> Mapping[str, Any]:
    """Of a client of PostgreSQL, for its own end and the server's: a lost client must not keep rows locked."""
    names = ("idle", "interval", "count")
    ours = dict(zip(names, (IDLE_SECONDS, INTERVAL_SECONDS, COUNT), strict=True))
    options = {f"tcp_keepalives_{name}": value for name, value in ours.items()}
    options["tcp_user_timeout"] = DEAD_SECONDS * 1000
    given = url.query.get("options", ())
    asked = [given] if isinstance(given, str) else list(given)
    return {
        **{f"keepalives_{name}": value for name, value in ours.items()},
        "tcp_user_timeout": DEAD_SECONDS * 1000,
        "options": " ".join([*(f"-c {name}={value}" for name, value in options.items()), *asked]),
        **_tls(url),
    }


def _tls(url: URL) -> Mapping[str, str]:
    """What the URL does not say itself: a server elsewhere shows a certificate, and that is checked with its name."""
    mode = sslmode(url)
    found = {} if _given(url, "sslmode", "PGSSLMODE") or mode is None else {"sslmode": mode}
    trusted = _given(url, "sslrootcert", "PGSSLROOTCERT")
    own = Path("~/.postgresql/root.crt").expanduser().is_file() and not os.environ.get("SSL_CERT_FILE")
    if mode in ("verify-ca", "verify-full") and not trusted and not own:
        found["sslrootcert"] = _authorities()
    return found


def sslmode(url: URL) -> str | None:
    """As PostgreSQL's client has it; None where it is left to the client: on this machine, or in a service's file."""
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
    """The file of authorities that this machine trusts, or what OpenSSL itself finds."""
    paths = [ssl.get_default_verify_paths().cafile, *BUNDLES]  # the first heeds SSL_CERT_FILE
    return next((path for path in paths if path and Path(path).is_file()), "system")


def safety(url: URL) -> str:
    """In words, whether the connection is encrypted and the server's certificate checked; empty on this machine."""
    if url.get_backend_name() != "postgresql" or (mode := sslmode(url)) is None:
        return ""
    return {
        "verify-full": "TLS, certificate and host name checked",
        "verify-ca": "TLS, certificate checked, host name NOT checked (sslmode=verify-ca)",
        "require": "TLS, but the certificate is NOT checked (sslmode=require)",
        "disable": "not encrypted (sslmode=disable)",
    }.get(mode, f"TLS only if the server has it, and the certificate is NOT checked (sslmode={mode})")


def advice(error: BaseException) -> str:
    """What to do where TLS is the reason."""
    text = str(error).lower()
    if "server does not support ssl" in text or ("no pg_hba.conf entry" in text and "no encryption" in text):
        return "; ?sslmode=disable in the URL does without TLS, in a network that is trusted"
    if "certificate" in text and ("verify failed" in text or "does not match" in text):
        return (
            "; to trust its authority, name its file in ?sslrootcert=FILE or SSL_CERT_FILE; "
            "?sslmode=require checks nothing"
        )
    return ""


def redis() -> dict[int, int]:
    """Socket options of a client of Redis, by their number; those that this system has."""
    wanted = {
        "TCP_KEEPIDLE": IDLE_SECONDS,
        "TCP_KEEPINTVL": INTERVAL_SECONDS,
        "TCP_KEEPCNT": COUNT,
        "TCP_USER_TIMEOUT": DEAD_SECONDS * 1000,
    }
    return {getattr(socket, name): value for name, value in wanted.items() if hasattr(socket, name)}
