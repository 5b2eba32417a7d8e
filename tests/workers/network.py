"""Hosts of a test: network namespaces of this machine, joined by a switch in the first. No other address is used."""

import contextlib
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from typing import Self

import pytest

SUBNET = "198.51.100.0/24"
"""Reserved for examples: it is nobody's, and leads nowhere else."""


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


class Host:
    """A namespace with one address; its link can be cut and mended."""

    def __init__(self, name: str, address: str) -> None:
        self.name, self.address = name, address
        _ip("netns", "add", name)
        self.ip("link", "set", "lo", "up")

    @property
    def within(self) -> list[str]:
        """What comes before a command that is to run there."""
        return ["ip", "netns", "exec", self.name]

    def ip(self, *words: str) -> None:
        _ip("-n", self.name, *words)

    def join(self, other: Self) -> None:
        """A cable to another host's switch."""
        port = f"to-{self.address.rpartition('.')[2]}"
        _ip("link", "add", "eth0", "netns", self.name, "type", "veth", "peer", "name", port, "netns", other.name)
        other.ip("link", "set", port, "master", "switch", "up")
        self.ip("addr", "add", f"{self.address}/24", "dev", "eth0")
        self.mend()

    def cut(self) -> None:
        self.ip("link", "set", "eth0", "down")

    def mend(self) -> None:
        self.ip("link", "set", "eth0", "up")


@contextlib.contextmanager
def hosts(number: int) -> Iterator[list[Host]]:
    """So many hosts; skips where this machine does not allow it."""
    if shutil.which("ip") is None:
        pytest.skip("needs ip, of Debian's package iproute2")
    if os.geteuid() != 0:
        pytest.skip("needs root, to make hosts of network namespaces")
    run = uuid.uuid4().hex[:6]
    made: list[Host] = []
    try:
        try:
            for one in range(number):
                made.append(Host(f"auditor-{run}-{one}", f"198.51.100.{one + 1}"))
            first = made[0]
            first.ip("link", "add", "switch", "type", "bridge")
            first.ip("addr", "add", f"{first.address}/24", "dev", "switch")
            first.ip("link", "set", "switch", "up")
            for other in made[1:]:
                other.join(first)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"needs the right to make network namespaces: {error.stderr.strip()}")
        yield made
    finally:
        for host in made:
            with contextlib.suppress(subprocess.CalledProcessError):
                _ip("netns", "del", host.name)
