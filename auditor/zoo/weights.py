"""Weights from files: checked before they are parsed, and again before a model runs on them."""

import hashlib
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from auditor.errors import ModelLoadError


def read_safetensors(path: Path, sha256: str | None = None) -> dict[str, Tensor]:
    """The state dict in a safetensors file.

    Raises:
        ModelLoadError: the file is missing, has another digest than ``sha256``, or is damaged.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelLoadError(f"cannot read the weights {path}: {error.strerror}") from error
    found = hashlib.sha256(content).hexdigest()
    if sha256 is not None and found != sha256:
        raise ModelLoadError(f"{path.name}: expected SHA-256 {sha256[:12]}…, got {found[:12]}…: not the file meant")
    try:
        return load(content)
    except SafetensorError as error:
        raise ModelLoadError(f"{path.name} is not a whole safetensors file: {error}") from error


def fill(model: nn.Module, state: dict[str, Tensor], name: str) -> None:
    """Load ``state`` into ``model``: every key, every shape, every value finite.

    Raises:
        ModelLoadError: keys are missing or too many, a shape differs, or a tensor holds NaN or infinity.
    """
    expected = model.state_dict()
    odd = sorted(set(expected) ^ set(state))
    if odd:
        raise ModelLoadError(f"{name}: {len(odd)} keys missing or too many, the first is {odd[0]!r}")
    for key, tensor in state.items():
        if tensor.shape != expected[key].shape:
            raise ModelLoadError(
                f"{name}: expected {key} of shape {tuple(expected[key].shape)}, got {tuple(tensor.shape)}"
            )
        if not torch.isfinite(tensor).all():
            raise ModelLoadError(f"{name}: {key} holds values that are not finite")
    model.load_state_dict(state)
