"""Resolves host names within a time limit, and tells public addresses from private ones."""

import ipaddress
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import TypeVar

T = TypeVar("T")

GLOBAL_UNICAST = ip_network("2000::/3")
"""The IPv6 addresses that IANA allocates for the internet; others are private, site-local or multicast."""
NOT_PUBLIC = tuple(
    map(ip_network, ("192.0.0.0/24", "192.88.99.0/24", "240.0.0.0/4", "2001::/23", "2001:db8::/32", "3fff::/20"))
)
"""Special networks that some versions of :mod:`ipaddress` do not classify as private."""
NAT64 = ip_network("64:ff9b::/96")
SIX_TO_FOUR = ip_network("2002::/16")


def is_public(address: str) -> bool:
    """Whether an address is public. An IPv6 address that embeds an IPv4 address is public if that is public.

    IPv4-mapped, NAT64 and 6to4 addresses embed one. Teredo, IPv4-compatible and IPv4-translated addresses, and NAT64
    of a local network (64:ff9b:1::/48), are never public.
    """
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address) and (embedded := _embedded(found)) is not None:
        found = embedded
    if isinstance(found, IPv6Address) and found not in GLOBAL_UNICAST:
        return False
    special = any(found.version == network.version and found in network for network in NOT_PUBLIC)
    return found.is_global and not found.is_multicast and not special


def _embedded(address: IPv6Address) -> IPv4Address | None:
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    if address in SIX_TO_FOUR:
        return IPv4Address(int(address) >> 80 & 0xFFFF_FFFF)
    return address.ipv4_mapped


def resolve(host: str, port: int, seconds: float) -> list[str]:
    """The addresses of a host, in the system's order.

    Raises:
        OSError: the name is unknown or invalid, or there was no answer within ``seconds``.
    """
    try:
        found = call_within(seconds, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except (UnicodeError, ValueError, OverflowError) as error:
        raise OSError("invalid host name") from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def call_within(seconds: float, function: Callable[[], T]) -> T:
    """Call a function that has no time limit. If it is too slow, it continues in a thread, and its result is dropped.

    Raises:
        TimeoutError: the function did not return within ``seconds``.
    """
    result: Future[T] = Future()

    def run() -> None:
        try:
            value = function()
        except BaseException as error:
            result.set_exception(error)
        else:
            result.set_result(value)

    threading.Thread(target=run, daemon=True, name="call_within").start()
    done, _ = wait([result], seconds)
    if not done:
        raise TimeoutError(f"no answer within {seconds:.0f} seconds")
    return result.result()
