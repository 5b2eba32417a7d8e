"""The digest of a folder's own Python, taken without running it."""

import ast
import hashlib
from collections.abc import Iterator
from pathlib import Path


def digest(folder: Path, file: Path) -> str:
    """SHA-256 of a Python file or, where it imports others of the folder, over the digests of them all.

    Imports are read off the text: what the code imports by computed names, installed packages, and files that it reads
    as data are not covered.
    """
    files = _with_imports(folder, file)
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    return digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _with_imports(folder: Path, file: Path) -> list[Path]:
    """The file, then the folder's own that it imports, and theirs, each once in order of their paths."""
    found: set[Path] = set()
    pending = [file]
    while pending:
        path = pending.pop()
        if path not in found:
            found.add(path)
            pending += [module for place, name in _imported(folder, path) for module in _modules(place, name)]
    return [file, *sorted(found - {file})]


def _imported(folder: Path, file: Path) -> Iterator[tuple[Path, str]]:
    """The dotted names that are imported, and the folder that each starts in: of a relative one its package.

    None of a file that is no Python, which fails when it is run.
    """
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((folder, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            place = file.parents[node.level - 1] if 0 < node.level <= len(file.parents) else folder
            names = (f"{node.module}.{alias.name}" if node.module else alias.name for alias in node.names)
            yield from ((place, name) for name in names)


def _modules(folder: Path, name: str) -> Iterator[Path]:
    """The files of a dotted name, packages on the way included."""
    path = folder
    for part in name.split("."):
        path = path / part
        yield from (file for file in (path / "__init__.py", path.with_name(f"{part}.py")) if file.is_file())
