"""A run's state on disk: replaced atomically, and used only by a run with the same key."""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from auditor.errors import EnvironmentUnusableError, first_line
from auditor.files import open_regular, write_atomically
from auditor.records.boosts import Recipe

logger = logging.getLogger(__name__)


def run_key(recipe: Recipe, weights_sha256: str, data_sha256: str, versions: Mapping[str, str]) -> str:
    """SHA-256 over everything that determines a run's weights; resuming under another key would mix two runs."""
    parts = {
        "recipe": asdict(recipe),
        "weights": weights_sha256,
        "data": data_sha256,
        "threads": torch.get_num_threads(),
        "versions": dict(versions),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class SavedRun:
    """The file ``path`` with the state of the run with this ``key``; has the ``load`` and ``save`` of ``fine_tune``."""

    def __init__(self, path: Path, key: str) -> None:
        self.path, self.key = path, key

    def load(self) -> dict[str, Any] | None:
        """The state that was saved last; None if there is none, it is another run's, or it cannot be read."""
        if not self.path.exists():
            return None
        try:
            with open_regular(self.path) as file:
                content = torch.load(file, map_location="cpu", weights_only=True)
            key, state = content["key"], content["state"]
        except Exception as error:  # torch raises many types of errors for a damaged file
            logger.warning("cannot read %s, starting from the first epoch: %s", self.path, first_line(error))
            return None
        if key != self.key:
            backup = self.path.with_name(f"{self.path.name}.{str(key)[:8]}")
            self.path.replace(backup)  # the other machine may resume it
            logger.warning(
                "%s belongs to another run, perhaps with other threads or versions: moved to %s", self.path, backup
            )
            return None
        found: dict[str, Any] = state
        return found

    def save(self, state: dict[str, Any]) -> None:
        """Replace the saved state; the old file stays until the new one is on the disk.

        Raises:
            EnvironmentUnusableError: the state cannot be written; the old one is still there.
        """
        try:
            with write_atomically(self.path) as file:
                torch.save({"key": self.key, "state": state}, file)
        except (OSError, RuntimeError) as error:  # torch raises RuntimeError for a full disk
            note = ": the last good state is kept" if self.path.exists() else ""
            raise EnvironmentUnusableError(f"cannot save {self.path}: {first_line(error)}{note}") from error

    def discard(self) -> None:
        """Remove the file after the run has ended."""
        self.path.unlink(missing_ok=True)
