"""Python code in a local zoo's folder, which runs only if the user trusts it."""

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

from torch import nn

from auditor.errors import ModelLoadError, first_line
from auditor.zoo.local.datasets import suggest


def build_network(folder: Path, file: Path, function: str, kwargs: dict[str, Any]) -> nn.Module:
    """Call a function of the folder's Python code and return its network. **Runs the folder's code.**

    The folder's modules can be imported only during the call, and never replace modules of the standard library or of
    installed packages; the output of the code goes to stderr.

    Raises:
        ModelLoadError: the code raised an error (the message names file and line), or returned no module.
    """
    called = f"{file.name}:{function}"
    try:
        with _importable(folder), contextlib.redirect_stdout(sys.stderr):
            result = _find_function(_import_file(file), function)(**kwargs)
    except ModelLoadError:
        raise
    except (Exception, SystemExit) as error:  # the code may raise anything
        location = _location(error, folder) or called
        raise ModelLoadError(
            f"{location}: {type(error).__name__}: {first_line(error)}{_shadowed_module_hint(error, folder)}"
        ) from error
    if not isinstance(result, nn.Module):
        raise ModelLoadError(f"{called} returned {type(result).__name__}, expected a torch.nn.Module")
    return result


def _find_function(module: ModuleType, name: str) -> Callable[..., Any]:
    found = getattr(module, name, None)
    if not callable(found):
        names = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise ModelLoadError(f"{Path(str(module.__file__)).name} has no function {name!r}; {suggest(name, names)}")
    return found  # type: ignore[no-any-return]


def _import_file(file: Path) -> ModuleType:
    """Import the file under a unique name; it stays in ``sys.modules``, where classes are looked up by name."""
    name = f"auditor_local_{hashlib.sha256(str(file).encode()).hexdigest()[:16]}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
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
            if not name.startswith("auditor_local_") and _is_within(
                getattr(sys.modules[name], "__file__", None), folder
            ):
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
