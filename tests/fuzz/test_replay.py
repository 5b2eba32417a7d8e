"""Every seed and every past finding keeps the contract, and the contract itself notices what breaks it."""

import contextlib
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from auditor.errors import AuditorError
from tests.fuzz.contract import BrokenPromiseError, Target, check, warm_up
from tests.fuzz.targets import TARGETS

FINDINGS = Path(__file__).parent / "findings"


def _past(target: Target) -> Iterator[tuple[str, bytes]]:
    for number, data in enumerate(target.seeds()):
        yield f"seed {number}", data
    for path in sorted((FINDINGS / target.name).glob("*.bin")):
        yield path.name, path.read_bytes()
    yield "nothing", b""


SLOW = ("hub-snapshot", "evidence", "web-address", "web-body")
"""They import transformers, or make a database first."""


@pytest.mark.parametrize(
    "target", [pytest.param(one, marks=[pytest.mark.long] * (name in SLOW), id=name) for name, one in TARGETS.items()]
)
def test_seeds_and_findings_keep_the_contract(target: Target, tmp_path: Path) -> None:
    with pytest.raises(AuditorError) if target.closed else contextlib.nullcontext():
        warm_up(target, tmp_path)
    for number, (name, data) in enumerate(_past(target)):
        (folder := tmp_path / str(number)).mkdir()
        assert check(target, data, folder) is None, name


def test_every_folder_of_findings_has_its_target() -> None:
    assert {path.name for path in FINDINGS.iterdir() if path.is_dir()} <= set(TARGETS)


def _run_program(data: bytes, folder: Path) -> None:  # noqa: ARG001
    subprocess.run(["true"], check=True)


def _write_outside(data: bytes, folder: Path) -> None:  # noqa: ARG001
    (folder.parent / "outside").write_text("a")


def _remove_outside(data: bytes, folder: Path) -> None:  # noqa: ARG001
    os.rmdir(folder.parent / "absent")  # noqa: PTH106


def _unpickle(data: bytes, folder: Path) -> None:  # noqa: ARG001
    import pickle

    pickle.loads(b"cos\ngetcwd\n.")


class _RawError(AuditorError):
    """An error that is shown as it is."""

    __str__ = Exception.__str__


def _print_escape(data: bytes, folder: Path) -> None:  # noqa: ARG001
    raise _RawError("a\x1b[2J")


def _print_much(data: bytes, folder: Path) -> None:  # noqa: ARG001
    raise _RawError("a" * 5000)


def _crash(data: bytes, folder: Path) -> None:  # noqa: ARG001
    raise KeyError("a")


def _break(data: bytes, folder: Path) -> None:  # noqa: ARG001
    raise BrokenPromiseError("a wrong value")


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        (_run_program, "subprocess.Popen"), (_write_outside, "for writing"), (_remove_outside, "os.rmdir"),
        (_unpickle, "pickle.find_class"), (_print_escape, r"U\+001B"), (_print_much, "5000 characters"),
        (_crash, "KeyError"), (_break, "a wrong value"),
    ],
)  # fmt: skip
def test_broken_promises_are_noticed(read: Callable[[bytes, Path], None], expected: str, tmp_path: Path) -> None:
    (folder := tmp_path / "own").mkdir()
    found = check(Target("a", read, list, ()), b"", folder)
    assert found is not None
    assert re.search(expected, found.what)
