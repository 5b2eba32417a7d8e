"""The saved progress of earlier attempts at an audit, under a key that says when resuming from it is exact."""

import hashlib
import json
import logging
from collections.abc import Mapping

import torch

from auditor.records import AuditRequest, JobContext

logger = logging.getLogger(__name__)


def attempt_key(identity: str, request: AuditRequest, versions: Mapping[str, str]) -> str:
    """SHA-256 over the audit's identity and everything else that decides how its numbers are rounded and drawn."""
    parts = {
        "identity": identity,
        "device": _hardware(torch.device(request.device)),
        "threads": torch.get_num_threads(),
        "batch_size": request.batch_size,
        "versions": {name: versions[name] for name in ("auditor", "torch", "numpy", "pyautoattack")},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _hardware(device: torch.device) -> str:
    """The device type, or a GPU's name, because GPU models round differently."""
    cuda = device.type == "cuda" and torch.cuda.is_available()
    return torch.cuda.get_device_name(device) if cuda else device.type


class SavedAttempt:
    """Saves and loads the attack progress of one audit. The bytes start with the key, in case a store mixes keys up."""

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
