"""The digest of Python code in a folder, computed without running the code."""

import ast
import errno
import hashlib
from collections.abc import Iterator
from pathlib import Path

from auditor.files import read_limited


def code_digest(folder: Path, file: Path) -> str:
    """SHA-256 of a Python file or, if it imports other files of the folder, of the digests of all of them.

    Imports are found in the text of the code. Imports by computed names, installed packages, and data files are not
    covered.

    Raises:
        OSError: one of the files cannot be read, is larger than any code, or has become a pipe.
    """
    files = _with_imports(folder, file)
    digests = [hashlib.sha256(_read(path)).hexdigest() for path in files]
    return digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _with_imports(folder: Path, file: Path) -> list[Path]:
    """The file, then all files of the folder that it imports directly or indirectly, ordered by path."""
    found: set[Path] = set()
    pending = [file]
    while pending:
        path = pending.pop()
        if path not in found:
            found.add(path)
            pending += [module for place, name in _imported(folder, path) for module in _modules(place, name)]
    return [file, *sorted(found - {file})]


def _imported(folder: Path, file: Path) -> Iterator[tuple[Path, str]]:
    """The dotted names that a file imports, each with the folder that it is relative to.

    Empty for a file that is no valid Python; running it fails.
    """
    try:
        tree = ast.parse(_read(file))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((folder, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            place = file.parents[node.level - 1] if 0 < node.level <= len(file.parents) else folder
            names = (f"{node.module}.{alias.name}" if node.module else alias.name for alias in node.names)
            yield from ((place, name) for name in names)


def _read(file: Path) -> bytes:
    try:
        return read_limited(file)
    except ValueError as error:
        raise OSError(errno.EINVAL, str(error), str(file)) from error


def _modules(folder: Path, name: str) -> Iterator[Path]:
    """The files of a dotted name, packages on the way included."""
    path = folder
    for part in name.split("."):
        path = path / part
        yield from (file for file in (path / "__init__.py", path.with_name(f"{part}.py")) if file.is_file())
