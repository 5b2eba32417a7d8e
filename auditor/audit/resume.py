"""Earlier attempts at an audit: what they saved, under a key that says when going on from it is exact."""

import hashlib
import json
import logging
from collections.abc import Mapping

import torch

from auditor.records import AuditRequest, JobContext

logger = logging.getLogger(__name__)


def attempt_key(identity: str, request: AuditRequest, versions: Mapping[str, str]) -> str:
    """SHA-256 over the audit's identity and what else decides how its numbers are rounded and drawn."""
    parts = {
        "identity": identity,
        "device": _hardware(torch.device(request.device)),
        "threads": torch.get_num_threads(),
        "batch_size": request.batch_size,
        "versions": {name: versions[name] for name in ("auditor", "torch", "numpy", "pyautoattack")},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _hardware(device: torch.device) -> str:
    """A CPU, or a GPU by its name: another one rounds otherwise."""
    cuda = device.type == "cuda" and torch.cuda.is_available()
    return torch.cuda.get_device_name(device) if cuda else device.type


class SavedAttempt:
    """Where the attacks of one audit keep their progress. The key is in the bytes, too: a store may mix them up."""

    def __init__(self, context: JobContext, key: str) -> None:
        self.context, self.key = context, key

    def load(self) -> bytes | None:
        content = self.context.load(self.key)
        if not content:
            return None
        head = self.key.encode()
        if not content.startswith(head):
            logger.debug("progress saved under another key is not used")
            return None
        return content[len(head) :]

    def save(self, state: bytes) -> None:
        self.context.save(self.key, self.key.encode() + state if state else b"")
