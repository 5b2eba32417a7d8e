"""When a connection counts as dead: a host that lost its link must notice, and the others must not wait for it.

Without this the kernel tries again for a quarter of an hour to send, and waits two hours before it asks a silent peer.
"""

import socket
from collections.abc import Mapping
from typing import Any

from sqlalchemy.engine import URL

DEAD_SECONDS = 20
"""After so long without an answer to what was sent, or to being asked, the other side is gone."""
IDLE_SECONDS, INTERVAL_SECONDS, COUNT = 10, 5, 2
"""After so long a silence the other side is asked, again after each interval, and so often."""


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
    }


def redis() -> dict[int, int]:
    """Socket options of a client of Redis, by their number; those that this system has."""
    wanted = {
        "TCP_KEEPIDLE": IDLE_SECONDS,
        "TCP_KEEPINTVL": INTERVAL_SECONDS,
        "TCP_KEEPCNT": COUNT,
        "TCP_USER_TIMEOUT": DEAD_SECONDS * 1000,
    }
    return {getattr(socket, name): value for name, value in wanted.items() if hasattr(socket, name)}
