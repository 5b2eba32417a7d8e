"""The host names that a server answers to, so that DNS rebinding cannot make its pages readable to other sites."""

import contextlib
import ipaddress
import re
import socket
from collections.abc import Iterable
from typing import NamedTuple

from auditor.errors import UsageError
from auditor.network.hosts import call_within

_AUTHORITY = re.compile(r"(?:\[([0-9a-f:.]{2,45})\]|([a-z0-9_.-]{1,254}))(?::([0-9]{0,5}))?", re.ASCII | re.IGNORECASE)
_NAME = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")


class Authority(NamedTuple):
    """A host in lower case without brackets and final dot, and its port if there is one."""

    host: str
    port: int | None


def read_authority(text: str) -> Authority | None:
    """Parse the header ``Host``, or what follows ``//`` in ``Origin``; None if it is malformed."""
    match = _AUTHORITY.fullmatch(text)
    if match is None:
        return None
    ipv6, name, port = match.groups()
    if ipv6 is not None:
        address = _address(ipv6)
        if address is None:
            return None
        host = str(address)
    else:
        host = name.lower().removesuffix(".")
        if len(host) > 253 or not _NAME.fullmatch(host):
            return None
    number = int(port) if port else None
    return None if number is not None and number > 65_535 else Authority(host, number)


class AllowedHosts:
    """A set of host names and addresses; ``*.example.com`` contains all names below example.com.

    Args:
        names: names in addition to ``localhost``.
        any_address: whether every IP address is allowed, or loopback addresses alone. DNS rebinding needs a name, so
            addresses are safe.
    """

    def __init__(self, names: Iterable[str] = (), *, any_address: bool = False) -> None:
        self.names, self.any_address = {"localhost", *names}, any_address

    def __contains__(self, host: str) -> bool:
        if host in self.names or any(host.endswith(name[1:]) for name in self.names if name.startswith("*.")):
            return True
        address = _address(host)
        if address is None:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return self.any_address or (mapped or address).is_loopback


def allowed_hosts(listening: str, names: Iterable[str]) -> AllowedHosts:
    """Return the hosts of a server that listens at this address; beyond loopback, add this machine's names.

    Raises:
        UsageError: one of the names is malformed.
    """
    added = {check_name(name) for name in names}
    if ipaddress.ip_address(listening).is_loopback:
        return AllowedHosts({*added, listening})
    return AllowedHosts(added | machine_names(), any_address=True)


def machine_names() -> set[str]:
    """Return the names of this machine; the full name may need DNS, which has two seconds to respond."""
    names = {socket.gethostname()}
    with contextlib.suppress(OSError):
        names.add(call_within(2, socket.getfqdn))
    short = {name.partition(".")[0] for name in names}
    return {name.lower().removesuffix(".") for name in (*names, *short, *(f"{name}.local" for name in short))}


def check_name(text: str) -> str:
    """Normalize a host name. Raises UsageError if it is malformed."""
    try:
        name = text.strip().encode("idna").decode("ascii") if not text.isascii() else text.strip()
    except UnicodeError:
        name = ""
    authority = read_authority(f"[{name}]" if ":" in name and _address(name) else name.removeprefix("*."))
    if authority is None or authority.port is not None or (name.startswith("*.") and "." not in authority.host):
        expected = "a host name without scheme and port, such as audits.example.com or *.example.com"
        raise UsageError(f"--allowed-host: expected {expected}, got {text!r}")
    return f"*.{authority.host}" if name.startswith("*.") else authority.host


def check_proxies(texts: Iterable[str]) -> list[str]:
    """Normalize addresses and networks; IPv4 ones are added in the IPv4-mapped form of dual-stack sockets, too.

    Raises:
        UsageError: one of them is malformed.
    """
    networks = []
    for text in texts:
        try:
            network = ipaddress.ip_network(text.strip(), strict=False)
        except ValueError as error:
            expected = "an address or a network such as 10.0.0.5 or 10.0.0.0/24"
            raise UsageError(f"--trusted-proxy: expected {expected}, got {text!r}") from error
        networks.append(str(network))
        if network.version == 4:
            networks.append(f"::ffff:{network.network_address}/{96 + network.prefixlen}")
    return networks


def check_origins(texts: Iterable[str]) -> list[str]:
    """Normalize the origins of other sites. Raises UsageError if one is malformed."""
    origins = []
    for text in texts:
        scheme, _, rest = text.strip().removesuffix("/").partition("://")
        authority = read_authority(rest)
        if scheme not in ("http", "https") or authority is None:
            raise UsageError(f"--allowed-origin: expected an origin such as https://plots.example.com, got {text!r}")
        host = f"[{authority.host}]" if ":" in authority.host else authority.host
        origins.append(f"{scheme}://{host}" + (f":{authority.port}" if authority.port is not None else ""))
    return origins


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
