"""Weights from files: told apart by their first bytes, parsed without running anything, checked before a model runs.

One reader for people's files and for downloads. :mod:`auditor.zoo.pickles` reads what torch wrote,
:mod:`auditor.zoo.containers` finds in it the state dict that fits a model.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from auditor.errors import ModelLoadError, first_line, one_line
from auditor.zoo.containers import choose, notes_of
from auditor.zoo.file_types import INDEX, TORCH_TYPES, WEIGHT_TYPES, file_type
from auditor.zoo.pickles import load_torch
from auditor.zoo.state_dicts import COUNTER, place_of, state_dicts


def read_safetensors(path: Path, sha256: str | None = None) -> dict[str, Tensor]:
    """The state dict in a safetensors file.

    Raises:
        ModelLoadError: the file is missing, has another digest than ``sha256``, or is damaged.
    """
    file_type(path)  # raises if the path is no readable file, for example a pipe
    content = path.read_bytes()
    _check_digest(hashlib.sha256(content).hexdigest(), sha256, path.name)
    return _safetensors(content, path.name)


def read_content(path: Path, sha256: str | None = None, name: str | None = None) -> Any:
    """What is in a file of weights, tensors and plain values; its suffix does not matter.

    Args:
        name: what errors call it; the last part of its path by default.

    Raises:
        ModelLoadError: the file is missing, has another digest than ``sha256``, or is none that holds weights.
    """
    name = name or path.name
    kind = file_type(path)
    if kind not in (*WEIGHT_TYPES, INDEX):
        raise ModelLoadError(f"{name} is {kind}")
    with path.open("rb") as file:
        if sha256 is not None:
            _check_digest(hashlib.file_digest(file, "sha256").hexdigest(), sha256, name)
            file.seek(0)
        if kind in TORCH_TYPES:
            return load_torch(file, name)
        content = file.read()
    return _sharded(path, content, name) if kind == INDEX else _safetensors(content, name)


def read_checkpoint(path: Path, sha256: str | None = None) -> dict[str, Tensor]:
    """The state dict in a file that holds one, whatever is beside it.

    Raises:
        ModelLoadError: as :func:`read_content`, or it holds none or several.
    """
    content = read_content(path, sha256)
    if content and isinstance(content, dict) and all(isinstance(value, Tensor) for value in content.values()):
        return content
    found = [{one.raw[name]: tensor for name, tensor in one.tensors.items()} for one in state_dicts(content)]
    if len(found) != 1:
        raise ModelLoadError(f"{path.name} holds {len(found)} state dicts, expected one")
    return found[0]


def fill(
    model: nn.Module, content: Any, name: str, *, key: str | None = None, prefix: str | None = None
) -> tuple[str, ...]:
    """Load what fits ``model`` of a checkpoint's content: every key, every shape, every value finite.

    Of tensors that a model shares one name is enough, as in safetensors files, and counters of batches may be missing
    or floats; the rest is up to ``load_state_dict(strict=True)``.

    Returns:
        What was passed over or taken off, for people.

    Raises:
        ModelLoadError: no state dict fits, or several that differ do; a tensor holds NaN or infinity, another kind of
            number than the model has, or other values than another name of the same tensor.
    """
    expected = model.state_dict()
    reading = choose(content, expected, name, key, prefix)
    whole = reading.state
    _add_shared(whole, expected)
    _mend_counters(whole, expected)
    if odd := _odd_kind(whole, expected):
        raise ModelLoadError(f"{name}: {odd}")
    try:
        model.load_state_dict(whole)
    except Exception as error:  # modules load their own part, and mend what old versions wrote
        raise ModelLoadError(f"{name}: {one_line(str(error)) or type(error).__name__}") from error
    loaded = model.state_dict()
    if contradiction := _contradiction(whole, loaded):
        raise ModelLoadError(f"{name}: {contradiction}")
    bad = [key for key, tensor in loaded.items() if not _is_finite(tensor)]
    if bad:
        others = f", and {len(bad) - 1} more" if len(bad) > 1 else ""
        raise ModelLoadError(f"{name}: {bad[0]} holds values that are not finite{others}")
    return notes_of(reading, expected, name)


def _check_digest(found: str, expected: str | None, name: str) -> None:
    if expected is not None and found != expected.lower():
        raise ModelLoadError(f"{name}: expected SHA-256 {expected[:12]}…, got {found[:12]}…: not the expected file")


def _safetensors(content: bytes, name: str) -> dict[str, Tensor]:
    try:
        return load(content)
    except (SafetensorError, KeyError, ValueError) as error:  # KeyError: a dtype that torch does not have
        raise ModelLoadError(f"{name} is not a whole safetensors file: {first_line(error)}") from error


def _sharded(path: Path, content: bytes, name: str) -> dict[str, Tensor]:
    """All files that an index names, which lie beside it, as one state dict."""
    try:
        files = json.loads(content)["weight_map"]
        places = {str(key): Path(path.parent / file) for key, file in files.items() if Path(file).name == file}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelLoadError(f"{name} is no index of weights: expected a weight_map of names and files") from error
    if len(places) < len(files):
        raise ModelLoadError(f"{name}: expected files beside it in weight_map, got paths to other folders")
    whole: dict[str, Tensor] = {}
    for place in dict.fromkeys(places.values()):
        if place.is_symlink():
            raise ModelLoadError(f"{name}: its file {place.name!r} is a link: put the file itself there")
        if file_type(place) == INDEX:
            raise ModelLoadError(f"{name}: its file {place.name!r} is an index, expected weights")
        shard = read_content(place)
        wanted = [key for key, other in places.items() if other == place]
        if not isinstance(shard, dict) or any(not isinstance(shard.get(key), Tensor) for key in wanted):
            raise ModelLoadError(f"{name}: {place.name} lacks tensors that the index says it has")
        whole |= {key: shard[key] for key in wanted}
    return whole


def _mend_counters(state: dict[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Floats, as tools that average weights leave them, where the model counts; counters that are missing."""
    for key, tensor in expected.items():
        given = state.get(key)
        if given is None and key.endswith(COUNTER):
            state[key] = tensor
        elif given is not None and given.is_floating_point() and _is_count(tensor):
            number = given.double()
            whole = number.round() if key.endswith(COUNTER) else number
            if torch.isfinite(number).all() and torch.equal(whole, whole.round()):
                state[key] = whole.to(tensor.dtype)


def _is_count(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() and not tensor.is_complex() and tensor.dtype != torch.bool


def _add_shared(state: dict[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """The names that ``state`` lacks of tensors that it has under another name."""
    present = {place_of(expected[key]): state[key] for key in state if key in expected and expected[key].numel()}
    state.update(
        {
            key: present[place_of(expected[key])]
            for key in expected.keys() - state.keys()
            if place_of(expected[key]) in present
        }
    )


def _odd_kind(given: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    """Integers or complex numbers where the model has floating point: torch would convert them."""
    for key, tensor in expected.items():
        if key in given and _kind(given[key]) != _kind(tensor):
            return f"{key} holds {given[key].dtype} where the model has {tensor.dtype}"
    return ""


def _contradiction(given: Mapping[str, Tensor], loaded: Mapping[str, Tensor]) -> str:
    """Of two values that a shared tensor was given torch keeps one, without a word."""
    names: dict[tuple[Any, ...], str] = {}
    for key, tensor in ((key, tensor) for key, tensor in loaded.items() if key in given):
        other = names.setdefault(place_of(tensor), key) if tensor.numel() else key
        if other != key and not torch.equal(given[key], given[other]):
            return f"{other} and {key} are one tensor of the model, and hold different values"
    return ""


def _kind(tensor: Tensor) -> tuple[bool, bool]:
    return tensor.is_floating_point(), tensor.is_complex()


def _is_finite(tensor: Tensor) -> bool:
    small = tensor.is_floating_point() and tensor.element_size() == 1  # torch.isfinite knows no float8
    return bool(torch.isfinite(tensor.float() if small else tensor).all())
