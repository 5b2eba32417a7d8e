"""Runs Python files of users, which they have to trust: architectures of local zoos, and attacks. No torch."""

import contextlib
import hashlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from auditor.errors import AuditorError, first_line
from auditor.text.similar import did_you_mean

PREFIX = "auditor_local_"
"""Modules of imported files have names of their own, so that they replace no other module."""


def import_function(file: Path, name: str, error_type: type[AuditorError]) -> Callable[..., Any]:
    """Import a file and return its function; call it inside :func:`running`. **Runs the file's code.**

    Raises:
        error_type: the file has no such function.
    """
    module = _import_file(file)
    found = getattr(module, name, None)
    if not callable(found):
        own = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        hint = did_you_mean(name, own, f"expected one of: {', '.join(own) or 'none'}", 2)
        raise error_type(f"{file.name} has no function {name!r}; {hint}")
    function: Callable[..., Any] = found
    return function


@contextlib.contextmanager
def running(folder: Path, name: str, error_type: type[AuditorError]) -> Iterator[None]:
    """Run code of a folder inside: its modules can be imported, and its output goes to stderr.

    The folder's modules never replace modules of the standard library or of installed packages.

    Raises:
        error_type: the code raised an error; the message names its file and line, or else ``name``.
    """
    try:
        with _importable(folder), contextlib.redirect_stdout(sys.stderr):
            yield
    except (AuditorError, MemoryError):
        raise
    except (Exception, SystemExit) as error:  # the code may raise anything
        if type(error).__name__ == "OutOfMemoryError":  # torch's own: the caller halves its batch
            raise
        place = _location(error, folder) or name
        raise error_type(
            f"{place}: {type(error).__name__}: {first_line(error)}{_shadowed_module_hint(error, folder)}"
        ) from error


def _import_file(file: Path) -> ModuleType:
    """Import the file under a unique name; it stays in ``sys.modules``, where classes are looked up by name."""
    name = f"{PREFIX}{hashlib.sha256(str(file).encode()).hexdigest()[:16]}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file.name} is no Python file, whose name ends with .py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let the folder's modules import each other; afterwards they are removed, and no bytecode was written."""
    before, bytecode = set(sys.modules), sys.dont_write_bytecode
    sys.path.append(str(folder))
    sys.dont_write_bytecode = True
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.dont_write_bytecode = bytecode
        with contextlib.suppress(ValueError):
            del sys.path[len(sys.path) - 1 - sys.path[::-1].index(str(folder))]
        for name in set(sys.modules) - before:
            if not name.startswith(PREFIX) and _is_within(getattr(sys.modules[name], "__file__", None), folder):
                del sys.modules[name]


def _location(error: BaseException, folder: Path) -> str:
    """The place in the folder's files where an error was raised, ``file.py:12``; empty if it is elsewhere."""
    places = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError):
        places.append((str(error.filename), error.lineno))
    inside = [(file, line) for file, line in places if _is_within(file, folder)]
    return f"{os.path.relpath(os.path.realpath(inside[-1][0]), folder)}:{inside[-1][1]}" if inside else ""


def _shadowed_module_hint(error: BaseException, folder: Path) -> str:
    """Advice if an installed module hides a module of the folder that has the same name."""
    if not isinstance(error, (ImportError, AttributeError, TypeError)):
        return ""
    own = {one.name.removesuffix(".py") for one in folder.iterdir() if one.suffix == ".py" or any(one.glob("*.py"))}
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if not _is_within(frame.f_code.co_filename, folder):
            continue
        imported = {*frame.f_code.co_names, str(getattr(error, "name", None)).partition(".")[0]}
        for name in sorted(own & imported):
            module = sys.modules.get(name)
            if module is not None and not _is_within(getattr(module, "__file__", None), folder):
                kind = "the standard library" if name in sys.stdlib_module_names else "an installed package"
                return f"; `import {name}` imports that of {kind}: rename {name} in the folder"
    return ""


def _is_within(file: str | None, folder: Path) -> bool:
    return file is not None and Path(file).resolve().is_relative_to(folder.resolve())
