"""Names of processes, and whether a process has ended."""

import os
import subprocess
import sys

import pytest

from auditor.jobs.process_names import host_name, is_gone, process_name


@pytest.mark.parametrize("slot", [0, 1, 12])
def test_a_process_that_lives_is_not_gone(slot: int) -> None:
    name = process_name(slot)
    assert name == f"{host_name()}:{os.getpid()}" + (f"/{slot}" if slot else "")
    assert not is_gone(name)


def test_a_process_is_gone_once_it_has_ended() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    names = [f"{host_name()}:{process.pid}{slot}" for slot in ("", "/3")]
    assert [is_gone(name) for name in names] == [False, False]
    process.communicate(b"\n")
    assert [is_gone(name) for name in names] == [True, True]
    assert not is_gone(f"another-host:{process.pid}")


@pytest.mark.parametrize("name", ["", ":", "a", "a:b", f"{host_name()}:", f"{host_name()}:x/1"])
def test_what_is_no_name_of_a_process_is_not_said_to_be_gone(name: str) -> None:
    assert not is_gone(name)
