"""Keeps the working directory off the import path of Python interpreters, unless the user's PYTHONPATH names it.

Python puts the working directory first on ``sys.path`` for ``python -m`` and ``python -c``, and ``multiprocessing``
starts its servers with the latter. A file ``random.py`` in that directory would replace the standard library's.
"""

import contextlib
import os
import sys
from collections.abc import Iterator, MutableMapping
from pathlib import Path

SAFE = "PYTHONSAFEPATH"
"""The variable that does for every inheriting interpreter what ``python -P`` does for one."""


def leave_working_directory() -> None:
    """Remove the working directory from the path of this program, and of all interpreters that it starts."""
    with contextlib.suppress(OSError):  # the directory may have been deleted
        _remove_from_path(os.path.realpath(os.curdir))
    _make_safe(os.environ)


def _remove_from_path(place: str) -> None:
    if not sys.flags.safe_path and sys.path and os.path.realpath(sys.path[0]) == place:
        del sys.path[0]  # ``python -m`` put it there, or it is the folder of a script in the working directory
    entries = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    named = {os.path.realpath(entry) for entry in entries if entry} | {str(Path(__file__).resolve().parents[1])}
    if len(entries) > 1 and "" in entries and place not in named:
        with contextlib.suppress(ValueError):  # an empty entry means the working directory, mostly by mistake
            sys.path.remove(place)


@contextlib.contextmanager
def safe_children() -> Iterator[None]:
    """Interpreters that start in this context do not have the working directory on their path either."""
    before = {name: os.environ.get(name) for name in (SAFE, "PYTHONPATH")}
    path, sys.path = sys.path, [entry for entry in sys.path if entry]
    _make_safe(os.environ)
    try:
        yield
    finally:
        sys.path = path
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _make_safe(environment: MutableMapping[str, str]) -> None:
    environment[SAFE] = "1"
    if "PYTHONPATH" in environment:
        entries = [entry for entry in environment["PYTHONPATH"].split(os.pathsep) if entry]
        environment["PYTHONPATH"] = os.pathsep.join(entries)
        if not entries:
            del environment["PYTHONPATH"]
