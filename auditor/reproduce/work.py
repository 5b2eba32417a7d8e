"""The work folder: trainings saved after each epoch, and parts of experiments, each under a key of what decides it."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from auditor.boost.saved_run import SavedRun
from auditor.errors import EnvironmentUnusableError, UsageError, file_reason
from auditor.files import write_atomically

VERSION = 1
"""Part of every key; increased whenever the same inputs could give other numbers."""

Report = Callable[[str], None]
"""Called with one line of progress."""


def key_of(inputs: Mapping[str, Any]) -> str:
    """SHA-256 over JSON values."""
    return hashlib.sha256(json.dumps({**inputs, "version": VERSION}, sort_keys=True).encode()).hexdigest()


class Work:
    """The folder ``folder`` with finished trainings in ``trainings/`` and measurements in ``parts/``.

    Raises:
        UsageError: the path is a file.
        EnvironmentUnusableError: the folder cannot be written.
    """

    def __init__(self, folder: Path, report: Report = lambda _: None) -> None:
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"expected a folder for --work, got the file {folder}")
        try:
            for name in ("trainings", "parts"):
                (folder / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EnvironmentUnusableError(f"cannot make the work folder {folder}: {error.strerror}") from error
        self.folder, self.report = folder, report

    def saved_run(self, key: str) -> SavedRun:
        """The file of the training with this key."""
        return SavedRun(self.folder / "trainings" / f"{key[:24]}.pt", key)

    def part(self, name: str, inputs: Mapping[str, Any], measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The stored result of this part for these inputs, or that of ``measure``, which is then stored.

        ``inputs`` and results are JSON values; NaN is allowed in results.
        """
        key = key_of({"part": name, **inputs})
        path = self.folder / "parts" / f"{name}-{key[:24]}.json"
        stored = _read(path, key)
        if stored is not None:
            return stored
        result = measure()
        try:
            with write_atomically(path) as file:
                file.write(json.dumps({"key": key, "inputs": dict(inputs), "result": result}).encode())
        except OSError as error:
            raise EnvironmentUnusableError(f"cannot save {path}: {file_reason(error)}") from error
        return result


def _read(path: Path, key: str) -> dict[str, Any] | None:
    """The result in a part's file; None if there is none, it is damaged, or it belongs to another key."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        result: dict[str, Any] = content["result"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return result if content.get("key") == key and isinstance(result, dict) else None
