"""Which addresses are public, however they are written; and look-ups that nobody answers."""

import socket
import threading
from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.network.hosts import is_public, resolve

PRIVATE_V4 = (
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.127.255.254", "127.0.0.1", "127.8.9.1", "169.254.169.254",
    "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.170", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1",
    "198.19.255.255", "198.51.100.7", "203.0.113.9", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
)  # fmt: skip
PUBLIC_V4 = (
    "8.8.8.8",
    "1.1.1.1",
    "100.63.0.1",
    "100.128.0.1",
    "172.32.0.1",
    "192.167.1.1",
    "198.20.0.1",
    "223.255.255.1",
)
PRIVATE_V6 = (
    "::", "::1", "fe80::1", "fe80::1%eth0", "febf::1", "fec0::1", "feff:ffff::1", "fc00::1", "fd12:3456::1", "ff02::1",
    "ff0e::1", "100::1", "2001:db8::1", "2001:2::1", "2001:10::1", "3fff::1", "4000::1", "5f00::1",
    "64:ff9b:1::8.8.8.8", "64:ff9b:1:ffff::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "::8.8.8.8", "::ffff:0:8.8.8.8", "::ffff:0:10.0.0.1",
)  # fmt: skip
PUBLIC_V6 = ("2001:4860:4860::8888", "2606:4700::1111", "2a00::1", "2003::1")

CARRIERS = {
    "mapped": lambda v4: IPv6Address(0xFFFF << 32 | int(v4)),
    "NAT64": lambda v4: IPv6Address(int(IPv6Address("64:ff9b::")) | int(v4)),
    "6to4": lambda v4: IPv6Address(0x2002 << 112 | int(v4) << 80 | 1),
}
NEVER = {
    "compatible": lambda v4: IPv6Address(int(v4)),
    "translated": lambda v4: IPv6Address(0xFFFF << 48 | int(v4)),
    "local NAT64": lambda v4: IPv6Address(int(IPv6Address("64:ff9b:1::")) | int(v4)),
    "Teredo client": lambda v4: IPv6Address(int(IPv6Address("2001:0:808:808::")) | int(v4) ^ 0xFFFF_FFFF),
    "Teredo server": lambda v4: IPv6Address(int(IPv6Address("2001::")) | int(v4) << 64),
}


@pytest.mark.parametrize("address", PRIVATE_V4 + PRIVATE_V6)
def test_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC_V4 + PUBLIC_V6)
def test_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("form", CARRIERS)
def test_a_carrier_is_as_public_as_what_it_carries(form: str) -> None:
    for v4 in PRIVATE_V4:
        assert not is_public(str(CARRIERS[form](IPv4Address(v4)))), v4
    for v4 in PUBLIC_V4:
        assert is_public(str(CARRIERS[form](IPv4Address(v4)))), v4


@given(v4=st.ip_addresses(v=4), form=st.sampled_from(sorted(CARRIERS)))
def test_any_carrier(v4: IPv4Address, form: str) -> None:
    assert is_public(str(CARRIERS[form](v4))) == is_public(str(v4))


@given(v4=st.ip_addresses(v=4), form=st.sampled_from(sorted(NEVER)))
def test_obsolete_and_local_forms_are_never_public(v4: IPv4Address, form: str) -> None:
    assert not is_public(str(NEVER[form](v4)))


@given(address=st.ip_addresses(v=6))
def test_only_global_unicast_is_public(address: IPv6Address) -> None:
    if is_public(str(address)):
        assert any(address in ip_network(block) for block in ("2000::/3", "64:ff9b::/96", "::ffff:0:0/96"))


@pytest.mark.parametrize(
    "host",
    ["a..b", ".example.com", "x" * 64, "x" * 64 + ".example.com", "a." * 200, "é" * 70, "\ud800.example", "a\0b"],
)
def test_what_is_no_host_name_is_not_known(host: str) -> None:
    with pytest.raises(OSError, match=r"invalid host name|not known|No address"):
        resolve(host, 443, 5)


def test_a_look_up_that_nobody_answers_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answer.wait(300))
    with pytest.raises(OSError, match="no answer within"):
        resolve("example.com", 443, 0.2)
    assert not answer.is_set()
    answer.set()
