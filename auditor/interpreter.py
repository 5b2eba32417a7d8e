"""What new Python interpreters may import: never from the working directory, unless the user's PYTHONPATH names it.

Python puts the working directory first on ``sys.path`` for ``python -m`` and ``python -c``, and ``multiprocessing``
starts its servers with the latter: a file ``random.py`` would be run there in place of the standard library's.
"""

import contextlib
import os
import sys
from collections.abc import Iterator, MutableMapping
from pathlib import Path

SAFE = "PYTHONSAFEPATH"
"""As ``python -P``, for every interpreter that inherits it."""


def leave_working_directory() -> None:
    """Take the working directory off the path of this program, and of all that it will start."""
    with contextlib.suppress(OSError):  # it may have been removed
        _leave(os.path.realpath(os.curdir))
    _make_safe(os.environ)


def _leave(place: str) -> None:
    if not sys.flags.safe_path and sys.path and os.path.realpath(sys.path[0]) == place:
        del sys.path[0]  # put there by ``python -m``, or a script's own folder, which is where the user stands
    entries = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    named = {os.path.realpath(one) for one in entries if one} | {str(Path(__file__).resolve().parents[1])}
    if len(entries) > 1 and "" in entries and place not in named:
        with contextlib.suppress(ValueError):  # an empty entry stands for the working directory, mostly by mistake
            sys.path.remove(place)


@contextlib.contextmanager
def safe_children() -> Iterator[None]:
    """Interpreters that are started meanwhile, and what they are told to import from, leave it out, too."""
    before = {name: os.environ.get(name) for name in (SAFE, "PYTHONPATH")}
    path, sys.path = sys.path, [one for one in sys.path if one]
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
        entries = [one for one in environment["PYTHONPATH"].split(os.pathsep) if one]
        environment["PYTHONPATH"] = os.pathsep.join(entries)
        if not entries:
            del environment["PYTHONPATH"]
