"""Under which names a server is known: a name of somebody else's that leads here must not make its pages readable."""

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
    """A host in lower case, without brackets or a dot at its end; and a port where one was given."""

    host: str
    port: int | None


def read_authority(text: str) -> Authority | None:
    """What stands in ``Host``, or after ``//`` in ``Origin``; None where it is malformed."""
    found = _AUTHORITY.fullmatch(text)
    if found is None:
        return None
    six, name, port = found.groups()
    if six is not None:
        address = _address(six)
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
    """Names, ``*.example.com`` for all below one; and addresses.

    Args:
        names: in addition to ``localhost``.
        any_address: whether every IP address will do, or loopback addresses alone. A browser that is led here by a name
            of somebody else's sends that name, so an address is no risk.
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
    """For a server that listens at this address: on loopback its loopback names, else this machine's, too.

    Raises:
        UsageError: one of the names is none.
    """
    given = {check_name(name) for name in names}
    if ipaddress.ip_address(listening).is_loopback:
        return AllowedHosts({*given, listening})
    return AllowedHosts(given | machine_names(), any_address=True)


def machine_names() -> set[str]:
    """What this machine is called; the long name may be a question to a server of names, which is not waited for."""
    names = {socket.gethostname()}
    with contextlib.suppress(OSError):
        names.add(call_within(2, socket.getfqdn))
    short = {name.partition(".")[0] for name in names}
    return {name.lower().removesuffix(".") for name in (*names, *short, *(f"{name}.local" for name in short))}


def check_name(text: str) -> str:
    """A name as it is compared. Raises UsageError where it is none."""
    try:
        name = text.strip().encode("idna").decode("ascii") if not text.isascii() else text.strip()
    except UnicodeError:
        name = ""
    found = read_authority(f"[{name}]" if ":" in name and _address(name) else name.removeprefix("*."))
    if found is None or found.port is not None or (name.startswith("*.") and "." not in found.host):
        expected = "a host's name without scheme and port, such as audits.example.com or *.example.com"
        raise UsageError(f"--allowed-host: expected {expected}, got {text!r}")
    return f"*.{found.host}" if name.startswith("*.") else found.host


def check_proxies(texts: Iterable[str]) -> list[str]:
    """Addresses and networks, each IPv4 one also as a socket for both kinds shows it.

    Raises:
        UsageError: one of them is none.
    """
    found = []
    for text in texts:
        try:
            network = ipaddress.ip_network(text.strip(), strict=False)
        except ValueError as error:
            expected = "an address or a network such as 10.0.0.5 or 10.0.0.0/24"
            raise UsageError(f"--trusted-proxy: expected {expected}, got {text!r}") from error
        found.append(str(network))
        if network.version == 4:
            found.append(f"::ffff:{network.network_address}/{96 + network.prefixlen}")
    return found


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
