"""A run's state on disk: replaced as a whole, never half written, used by a run of the same key only."""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from auditor.errors import EnvironmentUnusableError, first_line
from auditor.files import write_atomically
from auditor.records.boosts import Recipe

logger = logging.getLogger(__name__)


def run_key(recipe: Recipe, weights_sha256: str, data_sha256: str, versions: Mapping[str, str]) -> str:
    """SHA-256 over all that decides a run's weights: going on under another key would mix two runs."""
    parts = {
        "recipe": asdict(recipe),
        "weights": weights_sha256,
        "data": data_sha256,
        "threads": torch.get_num_threads(),
        "versions": dict(versions),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class SavedRun:
    """The file ``path`` with the state of the run of a ``key``; ``load`` and ``save`` are what ``fine_tune`` wants."""

    def __init__(self, path: Path, key: str) -> None:
        self.path, self.key = path, key

    def load(self) -> dict[str, Any] | None:
        """What was saved last; None where there is nothing, it is another run's, or it cannot be read."""
        if not self.path.exists():
            return None
        try:
            content = torch.load(self.path, map_location="cpu", weights_only=True)
            key, state = content["key"], content["state"]
        except Exception as error:  # a damaged file: what torch raises then is of many kinds
            logger.warning("%s is not used, it cannot be read: %s", self.path, first_line(error))
            return None
        if key != self.key:
            kept = self.path.with_name(f"{self.path.name}.{str(key)[:8]}")
            self.path.replace(kept)  # whoever goes on on the other machine may want it
            logger.warning("%s is another run's, of other threads or versions perhaps: kept as %s", self.path, kept)
            return None
        found: dict[str, Any] = state
        return found

    def save(self, state: dict[str, Any]) -> None:
        """Replace what was saved before, which stays whole until the new file is on the disk.

        Raises:
            EnvironmentUnusableError: it cannot be written; what was saved before is still there.
        """
        try:
            with write_atomically(self.path) as file:
                torch.save({"key": self.key, "state": state}, file)
        except (OSError, RuntimeError) as error:  # torch's writer has its own error for a full disk
            kept = ": the last good state is kept" if self.path.exists() else ""
            raise EnvironmentUnusableError(f"cannot save {self.path}: {first_line(error)}{kept}") from error

    def discard(self) -> None:
        """The run has ended, and its result is elsewhere."""
        self.path.unlink(missing_ok=True)
