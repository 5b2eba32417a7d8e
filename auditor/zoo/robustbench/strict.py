"""Strict loading: RobustBench ignores missing keys of many models, so that random weights would be audited."""

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from auditor.errors import ModelLoadError, first_line

ALLOWED_MISSING = ({"mu", "sigma"}, {"mean", "std"}, {"normalize.mean", "normalize.std"})
"""Normalization that the constructor sets and that a checkpoint may lack: all keys of one set, or none."""

ALLOWED_EXTRA = re.compile(r"model_preact_hl1\..*|(.*\.)?scores")
"""A second name of the first layers in some checkpoints, and scores that pruning chose its weights by."""

Loader = Callable[[nn.Module, str, dict[str, Tensor], Any], nn.Module]


def strictly(lenient: Loader) -> Loader:
    """Wrap RobustBench's ``_safe_load_state_dict`` so that it gets only checkpoints without missing weights.

    It still decides which models may lack normalization keys.
    """

    def load(model: nn.Module, name: str, state: dict[str, Tensor], dataset: Any) -> nn.Module:
        if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
            raise ModelLoadError(f"{name}: expected a state dict of tensors, got {_kind(state)}")
        quantized = [key for key, value in model.state_dict().items() if _is_coarser(state.get(key), value)]
        if quantized:
            raise ModelLoadError(f"{name}: the checkpoint holds integers where the model does not: {_some(quantized)}")
        try:
            found = model.load_state_dict(state, strict=False)
        except RuntimeError as error:
            raise ModelLoadError(
                f"{name}: the checkpoint does not fit: {_shapes(model, state) or first_line(error)}"
            ) from error
        missing = list(found.missing_keys)
        extra = [key for key in found.unexpected_keys if not _is_prefixed_normalization(key, state, model, missing)]
        if not missing and not found.unexpected_keys:
            return model
        mismatch = ModelLoadError(f"{name}: the checkpoint does not fit: {_describe_keys(missing, extra)}")
        if (missing and set(missing) not in ALLOWED_MISSING) or not all(ALLOWED_EXTRA.fullmatch(key) for key in extra):
            raise mismatch
        try:
            return lenient(model, name, state, dataset)
        except RuntimeError as error:
            raise mismatch from error

    return load


def _is_coarser(given: Tensor | None, expected: Tensor) -> bool:
    return given is not None and expected.is_floating_point() and not given.is_floating_point()


def _is_prefixed_normalization(key: str, state: dict[str, Tensor], model: nn.Module, missing: list[str]) -> bool:
    """Whether the key is a missing normalization with the same values under the prefix that RobustBench adds."""
    bare = key.removeprefix("model.")
    if bare == key or bare not in missing:
        return False
    expected = model.state_dict()[bare]
    return expected.numel() == state[key].numel() and torch.allclose(
        expected.view(-1), state[key].view(-1).to(expected)
    )


def check_finite(model: nn.Module, name: str) -> None:
    """Refuse weights that are not finite.

    Raises:
        ModelLoadError: a parameter holds NaN or infinity, or a buffer NaN.
    """
    for key, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            raise ModelLoadError(f"{name}: {key} holds values that are not finite")
    for key, buffer in model.named_buffers():
        if torch.isnan(buffer).any():
            raise ModelLoadError(f"{name}: {key} holds NaN")


def _shapes(model: nn.Module, state: dict[str, Tensor]) -> str:
    expected = model.state_dict()
    wrong = [
        f"expected {key} of shape {tuple(expected[key].shape)}, got {tuple(tensor.shape)}"
        for key, tensor in state.items()
        if key in expected and expected[key].shape != tensor.shape
    ]
    return f"wrong shapes, {_some(wrong)}" if wrong else ""


def _describe_keys(missing: list[str], extra: list[str]) -> str:
    parts = [("missing", missing), ("not known to the architecture", extra)]
    return "; ".join(f"{kind}: {_some(keys)}" for kind, keys in parts if keys)


def _some(items: list[str], most: int = 3) -> str:
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more


def _kind(state: Any) -> str:
    if not isinstance(state, dict):
        return f"a {type(state).__name__}"
    others = [f"{key!r}: {type(value).__name__}" for key, value in state.items() if not isinstance(value, Tensor)]
    return f"a dict with {_some(others)}"
