"""What every reader promises about any bytes: a value or one of auditor's errors, in bounded time and memory.

An audit hook watches what a reader does meanwhile: it starts no program, opens no connection, unpickles nothing, and
writes nothing outside of its folder.
"""

import contextlib
import os
import resource
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from auditor.errors import AuditorError
from auditor.text.printable import find_unprintable

MOST_SECONDS = 5.0
"""Of the processor, for one input of some kilobytes."""
MOST_MEMORY = 512 << 20
"""Bytes by which one input may raise the peak of this process."""
LONGEST_LINE, MOST_LINES = 2001, 101
"""Of an error; a zoo.toml has one line for each mistake."""
PROGRAMS = ("os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system", "subprocess.Popen")
FORBIDDEN = (*PROGRAMS, "pickle.find_class", "socket.connect", "socket.getaddrinfo", "webbrowser.open")
CHANGES = ("os.chmod", "os.chown", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink",
           "os.truncate", "shutil.rmtree")  # fmt: skip
"""Audit events whose arguments are paths that are changed."""

_watched: list["_Watch"] = []
_installed: list[bool] = []


@dataclass(frozen=True)
class Target:
    """One reader under fuzzing.

    Attributes:
        name: the folder of its corpus and findings.
        read: calls the reader with the bytes; the folder is empty, and may be written to.
        seeds: makes real inputs; ``read`` accepts the first.
        libraries: modules whose branches guide the search, beside auditor's own.
        closed: whether only published files are read, so that no input is accepted.
        length: bytes of the longest input that is tried.
        allowed: audit events that the reader may cause, because it is what the call is for.
    """

    name: str
    read: Callable[[bytes, Path], object]
    seeds: Callable[[], Sequence[bytes]]
    libraries: tuple[str, ...] = ()
    length: int = 4096
    closed: bool = False
    allowed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """A broken promise; ``place`` is the same for inputs that break it in the same way."""

    what: str
    place: str

    def __str__(self) -> str:
        return f"{self.what} (at {self.place})"


class BrokenPromiseError(AssertionError):
    """Raised by a target that got a value which no reader may return."""


@dataclass
class _Watch:
    """The folder that may be written to, and what was done that must not be."""

    folder: Path
    allowed: tuple[str, ...]
    seen: list[str] = field(default_factory=list)

    def event(self, name: str, arguments: tuple[Any, ...]) -> None:
        if name in self.allowed:
            return
        if name in FORBIDDEN:
            self.seen.append(f"{name} {arguments!r:.200}")
        elif name == "open":
            path, mode, flags = arguments
            writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC) if isinstance(flags, int) else 0
            if (writes or (isinstance(mode, str) and set(mode) & set("wax+"))) and self._outside(path):
                self.seen.append(f"opened {path!r:.200} for writing")
        elif name in CHANGES and any(self._outside(path) for path in arguments):
            self.seen.append(f"{name} {arguments!r:.200}")

    def _outside(self, path: Any) -> bool:
        if not isinstance(path, str | bytes | os.PathLike):
            return False
        name = os.path.abspath(os.fsdecode(path))  # noqa: PTH100
        return name != os.devnull and not Path(name).is_relative_to(self.folder)


def check(target: Target, data: bytes, folder: Path) -> Finding | None:
    """Read the bytes, and return the promise that was broken, if any."""
    began, peak = time.process_time(), _peak()
    found: Finding | None = None
    with _watch(folder, target.allowed) as watch:
        try:
            target.read(data, folder)
        except AuditorError as error:
            found = _unclear(str(error), error)
        except BrokenPromiseError as error:
            found = Finding(str(error), place_of(error))
        except Exception as error:
            found = Finding(f"{type(error).__name__}: {str(error)[:200]!r}", place_of(error))
    if watch.seen:
        return Finding(f"it did what no reader does: {watch.seen[0]}", watch.seen[0].partition(" ")[0])
    if found is None and (seconds := time.process_time() - began) > MOST_SECONDS:
        return Finding(f"it took {seconds:.1f} s", "time")
    if found is None and (grown := _peak() - peak) > MOST_MEMORY:
        return Finding(f"it took {grown >> 20} MiB", "memory")
    return found


def warm_up(target: Target, folder: Path) -> None:
    """Read the seeds once unwatched, so that all is imported that they need. Raises what the first one raises."""
    for number, data in enumerate(target.seeds()):
        (place := folder / f"seed-{number}").mkdir()
        with warnings.catch_warnings(action="ignore"), contextlib.suppress(*([Exception] if number else [])):
            target.read(data, place)


def _unclear(message: str, error: Exception) -> Finding | None:
    """Why an error is none that can be shown: it is empty, too long, or has control characters."""
    lines = message.split("\n")
    if not message.strip():
        return Finding("an error without a message", place_of(error))
    if len(lines) > MOST_LINES or any(len(line) > LONGEST_LINE for line in lines):
        return Finding(f"an error of {len(message)} characters", place_of(error))
    odd = next((odd for line in lines if (odd := find_unprintable(line))), None)
    return None if odd is None else Finding(f"an error with U+{ord(odd):04X}: {message[:200]!r}", place_of(error))


def place_of(error: BaseException) -> str:
    """The innermost function of auditor or of its workers in the traceback, and the type of the error."""
    found, trace = "", error.__traceback__
    while trace is not None:
        module = str(trace.tb_frame.f_globals.get("__name__"))
        if module.startswith(("auditor.", "workers.")) or not found:
            found = f"{module}.{trace.tb_frame.f_code.co_name}"
        trace = trace.tb_next
    return f"{found}, {type(error).__name__}"


@contextmanager
def _watch(folder: Path, allowed: tuple[str, ...]) -> Iterator[_Watch]:
    if not _installed:  # a hook stays until the process ends
        sys.addaudithook(lambda name, arguments: _watched[-1].event(name, arguments) if _watched else None)
        _installed.append(True)
    _watched.append(watch := _Watch(folder, allowed))
    try:
        yield watch
    finally:
        _watched.pop()


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
