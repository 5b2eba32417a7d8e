"""A folder's own Python: found and hashed by anyone, run only where its user trusts it."""

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
from auditor.zoo.local.datasets import near


def run(folder: Path, file: Path, function: str, kwargs: dict[str, Any]) -> nn.Module:
    """What a function of the folder's Python returns. **Runs the folder's code.**

    The folder's modules can be imported meanwhile and no longer, and never in place of the standard library's or of
    installed packages; what the code prints goes to stderr.

    Raises:
        ModelLoadError: the code raised, with its file and line, or returned no module.
    """
    called = f"{file.name}:{function}"
    try:
        with _importable(folder), contextlib.redirect_stdout(sys.stderr):
            result = _function(_module(file), function)(**kwargs)
    except ModelLoadError:
        raise
    except (Exception, SystemExit) as error:  # other people's code
        where = _place(error, folder) or called
        raise ModelLoadError(f"{where}: {type(error).__name__}: {first_line(error)}{_hidden(error, folder)}") from error
    if not isinstance(result, nn.Module):
        raise ModelLoadError(f"{called} returned {type(result).__name__}, expected a torch.nn.Module")
    return result


def _function(module: ModuleType, name: str) -> Callable[..., Any]:
    found = getattr(module, name, None)
    if not callable(found):
        names = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise ModelLoadError(f"{Path(str(module.__file__)).name} has no function {name!r}; {near(name, names)}")
    return found  # type: ignore[no-any-return]


def _module(file: Path) -> ModuleType:
    """The file as a module of a name that no other has; it stays in ``sys.modules``, for what looks classes up."""
    name = f"auditor_local_{hashlib.sha256(str(file).encode()).hexdigest()[:16]}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """The folder's modules can import each other inside, and nothing of them is found or written afterwards."""
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


def _place(error: BaseException, folder: Path) -> str:
    """Where in the folder's own files an error came from, ``file.py:12``; empty where it came from elsewhere."""
    places = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError):
        places.append((str(error.filename), error.lineno))
    inside = [(file, line) for file, line in places if _is_within(file, folder)]
    return f"{os.path.relpath(os.path.realpath(inside[-1][0]), folder)}:{inside[-1][1]}" if inside else ""


def _hidden(error: BaseException, folder: Path) -> str:
    """What to do where the folder has a module that an installed one of the same name hides from its own code."""
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
                return f"; `import {name}` gives that of {kind}: rename the folder's own {name}"
    return ""


def _is_within(file: str | None, folder: Path) -> bool:
    return file is not None and Path(file).resolve().is_relative_to(folder.resolve())
