"""Host names as addresses, within a time limit; and which addresses are public."""

import ipaddress
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import TypeVar

T = TypeVar("T")

GLOBAL_UNICAST = ip_network("2000::/3")
"""All of IPv6 that IANA has given out for the internet; private, site-local and multicast addresses lie outside."""
NOT_PUBLIC = tuple(
    map(ip_network, ("192.0.0.0/24", "192.88.99.0/24", "240.0.0.0/4", "2001::/23", "2001:db8::/32", "3fff::/20"))
)
"""Special networks that not all versions of :mod:`ipaddress` call private."""
NAT64 = ip_network("64:ff9b::/96")
SIX_TO_FOUR = ip_network("2002::/16")


def is_public(address: str) -> bool:
    """Whether an address is one of the internet; an IPv6 address that carries an IPv4 address is as public as that.

    Carriers are IPv4-mapped, NAT64 and 6to4 addresses. Teredo, IPv4-compatible and IPv4-translated addresses, and NAT64
    of a local network (64:ff9b:1::/48), are not public whatever they carry.
    """
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address) and (carried := _carried(found)) is not None:
        found = carried
    if isinstance(found, IPv6Address) and found not in GLOBAL_UNICAST:
        return False
    special = any(found.version == network.version and found in network for network in NOT_PUBLIC)
    return found.is_global and not found.is_multicast and not special


def _carried(address: IPv6Address) -> IPv4Address | None:
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    if address in SIX_TO_FOUR:
        return IPv4Address(int(address) >> 80 & 0xFFFF_FFFF)
    return address.ipv4_mapped


def resolve(host: str, port: int, seconds: float) -> list[str]:
    """The addresses of a host, in the system's order.

    Raises:
        OSError: it is not known, is no name at all, or nobody said within ``seconds``.
    """
    try:
        found = within(seconds, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except (UnicodeError, ValueError, OverflowError) as error:
        raise OSError("this is no host name") from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def within(seconds: float, function: Callable[[], T]) -> T:
    """What a function gives that has no time limit of its own; it goes on in a thread of its own where it is too slow.

    Raises:
        TimeoutError: it did not end within ``seconds``.
    """
    result: Future[T] = Future()

    def run() -> None:
        try:
            value = function()
        except BaseException as error:
            result.set_exception(error)
        else:
            result.set_result(value)

    threading.Thread(target=run, daemon=True, name="within").start()
    done, _ = wait([result], seconds)
    if not done:
        raise TimeoutError(f"no answer within {seconds:.0f} seconds")
    return result.result()
