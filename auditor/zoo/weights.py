"""Weights from files: identified by their first bytes, parsed without running code, checked before a model runs.

Users' files and downloads have one reader. :mod:`auditor.zoo.pickles` reads files of torch, and
:mod:`auditor.zoo.state_dict_match` finds the state dict that fits a model.
"""

import hashlib
import json
from collections.abc import Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from auditor.errors import ModelLoadError, file_reason, first_line, one_line
from auditor.files import LARGEST_JSON, open_regular
from auditor.zoo.file_types import INDEX, TORCH_TYPES, WEIGHT_TYPES, file_type
from auditor.zoo.pickles import load_torch
from auditor.zoo.state_dict_match import choose, notes_of
from auditor.zoo.state_dicts import COUNTER, state_dicts, storage_of


def read_safetensors(path: Path, sha256: str | None = None) -> dict[str, Tensor]:
    """The state dict in a safetensors file.

    Raises:
        ModelLoadError: the file is missing, has another digest than ``sha256``, or is damaged.
    """
    file_type(path)  # raises if the path is no readable file, for example a pipe
    with _open(path) as file:
        content = _read_whole(file, path.name)
    check_digest(hashlib.sha256(content).hexdigest(), sha256, path.name)
    return _safetensors(content, path.name)


def read_content(path: Path, sha256: str | None = None, name: str | None = None, *, beneath: Path | None = None) -> Any:
    """The tensors and plain values in a weight file; its suffix does not matter.

    Args:
        beneath: a folder with its links resolved that the file must be in; below it no link is followed.
        name: the name of the file in errors; the last part of its path by default.

    Raises:
        ModelLoadError: the file is missing, has another digest than ``sha256``, or holds no weights.
    """
    name = name or path.name
    kind = file_type(path)
    if kind not in (*WEIGHT_TYPES, INDEX):
        raise ModelLoadError(f"{name} is {kind}")
    with _open(path, beneath) as file:
        if sha256 is not None:
            check_digest(hashlib.file_digest(file, "sha256").hexdigest(), sha256, name)
            file.seek(0)
        if kind in TORCH_TYPES:
            return load_torch(file, name)
        if kind == INDEX:
            return _read_shards(path, file.read(LARGEST_JSON), name, beneath)  # a longer one is cut, and then no JSON
        return _safetensors(_read_whole(file, name), name)


def read_checkpoint(path: Path, sha256: str | None = None) -> dict[str, Tensor]:
    """The only state dict in a file, which may hold other values, too.

    Raises:
        ModelLoadError: as :func:`read_content`, or the file holds no state dict or several.
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
    """Load the state dict that fits ``model`` from a checkpoint: every key, every shape, every value finite.

    One name is enough for a tensor that a model shares, as in safetensors files, and counters of batches may be
    missing or floats; ``load_state_dict(strict=True)`` checks the rest. If the model's modules convert the names of old
    checkpoints when they are loaded, such names fit, too.

    Returns:
        Notes for people on ignored tensors and changed names.

    Raises:
        ModelLoadError: no state dict fits, or several different ones do; a tensor holds NaN or infinity, has another
            kind of dtype than the model, or differs from another name of the same tensor; the model has no state dict
            of tensors with values, or its own code loads other values.
    """
    expected = _expected(model)
    match = choose(content, expected, name, key, prefix, lambda state: _loads(model, state))
    state = match.state
    masks = {key: tensor.clone() for key, tensor in expected.items() if not _is_finite(tensor)}
    _add_shared(state, expected)
    _repair_counters(state, expected)
    if fault := _wrong_kind(state, expected):
        raise ModelLoadError(f"{name}: {fault}")
    try:
        model.load_state_dict(state)
    except Exception as error:  # modules may run their own code here, to convert old versions
        raise ModelLoadError(f"{name}: {one_line(str(error)) or type(error).__name__}") from error
    loaded = model.state_dict()
    if fault := _find_contradiction(state, loaded):
        raise ModelLoadError(f"{name}: {fault}")
    check_finite({key: loaded[key] for key in loaded if not _is_same(masks.get(key), loaded[key])}, name)
    if fault := _find_other_value(state, loaded):
        raise ModelLoadError(f"{name}: {fault}")
    return notes_of(match, expected, name)


def _expected(model: nn.Module) -> Mapping[str, Tensor]:
    """The model's own state dict, whose names and shapes a file must have.

    Raises:
        ModelLoadError: it is no state dict of tensors with values, which only its architecture can mend.
    """
    state: Any = model.state_dict()
    if not isinstance(state, Mapping):
        raise ModelLoadError(f"the model's state_dict() returns {type(state).__name__}, expected names and tensors")
    for key, tensor in state.items():
        if not isinstance(tensor, Tensor):
            hint = ": get_extra_state() is not supported" if key.endswith("_extra_state") else ""
            raise ModelLoadError(f"the model's {key} is a {type(tensor).__name__}, expected a tensor{hint}")
        if is_lazy(tensor):
            raise ModelLoadError(f"the model's {key} has no shape yet: give the lazy layer its sizes")
        if tensor.is_meta:
            raise ModelLoadError(f"the model's {key} is on the meta device and has no values: build it on the CPU")
    return state


def _loads(model: nn.Module, state: dict[str, Tensor]) -> bool:
    """Whether torch itself, not the model's own ``load_state_dict``, can load all of a state dict."""
    try:
        nn.Module.load_state_dict(model, state, strict=True)
    except Exception:  # modules may run their own code here
        return False
    return True


def check_finite(state: Mapping[str, Tensor], name: str) -> None:
    """Raises ModelLoadError if a tensor of a state dict holds NaN or infinity."""
    bad = [key for key, tensor in state.items() if not _is_finite(tensor)]
    if bad:
        others = f", and {len(bad) - 1} more" if len(bad) > 1 else ""
        raise ModelLoadError(f"{name}: {bad[0]} holds values that are not finite{others}")


def check_digest(found: str, expected: str | None, name: str) -> None:
    """Compare the SHA-256 of a file with the expected one, in hexadecimal digits; None is any.

    Raises:
        ModelLoadError: they differ.
    """
    if expected is not None and found != expected.lower():
        raise ModelLoadError(f"{name}: expected SHA-256 {expected[:12]}…, got {found[:12]}…: not the expected file")


def _open(path: Path, beneath: Path | None = None) -> BufferedReader:
    try:
        return open_regular(path, beneath=beneath)
    except (OSError, ValueError) as error:
        reason = file_reason(error)
        raise ModelLoadError(f"cannot read the weights {path}: {reason}") from error


def _read_whole(file: BinaryIO, name: str) -> bytes:
    try:
        return file.read()
    except (MemoryError, OverflowError) as error:  # a file with holes may claim any size
        raise ModelLoadError(f"{name} is larger than the memory that is left") from error


def _safetensors(content: bytes, name: str) -> dict[str, Tensor]:
    try:
        return load(content)
    except (SafetensorError, KeyError, ValueError) as error:  # KeyError: a dtype that torch does not have
        raise ModelLoadError(f"{name} is not a complete safetensors file: {first_line(error)}") from error


def _read_shards(path: Path, content: bytes, name: str, beneath: Path | None) -> dict[str, Tensor]:
    """All files that an index names, which are in its folder, as one state dict."""
    try:
        files = json.loads(content)["weight_map"]
        shards = {str(key): Path(path.parent / file) for key, file in files.items() if Path(file).name == file}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelLoadError(f"{name} is no index of weights: expected a weight_map from names to files") from error
    if len(shards) < len(files):
        raise ModelLoadError(f"{name}: expected files beside it in weight_map, got paths to other folders")
    state: dict[str, Tensor] = {}
    for place in dict.fromkeys(shards.values()):
        if place.is_symlink():
            raise ModelLoadError(f"{name}: its file {place.name!r} is a link: replace it by the file")
        if file_type(place) == INDEX:
            raise ModelLoadError(f"{name}: its file {place.name!r} is an index, expected weights")
        shard = read_content(place, beneath=beneath or path.parent)
        keys = [key for key, other in shards.items() if other == place]
        if not isinstance(shard, dict) or any(not isinstance(shard.get(key), Tensor) for key in keys):
            raise ModelLoadError(f"{name}: {place.name} lacks tensors that the index lists")
        state |= {key: shard[key] for key in keys}
    return state


def _repair_counters(state: dict[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Add missing counters, and round the floats that tools for averaging weights write for integers."""
    for key, tensor in expected.items():
        given = state.get(key)
        if given is None and key.endswith(COUNTER):
            state[key] = tensor
        elif given is not None and given.is_floating_point() and _is_count(tensor):
            number = given.double()
            rounded = number.round() if key.endswith(COUNTER) else number
            if torch.isfinite(number).all() and torch.equal(rounded, rounded.round()):
                state[key] = rounded.to(tensor.dtype)


def _is_count(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() and not tensor.is_complex() and tensor.dtype != torch.bool


def _add_shared(state: dict[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Add the missing names of tensors that ``state`` has under another name."""
    present = {storage_of(expected[key]): state[key] for key in state if key in expected and expected[key].numel()}
    state.update(
        {
            key: present[storage_of(expected[key])]
            for key in expected.keys() - state.keys()
            if storage_of(expected[key]) in present
        }
    )


def _wrong_kind(given: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    """Find integers or complex numbers for a floating-point tensor of the model: torch would convert them."""
    for key, tensor in expected.items():
        if key in given and _kind(given[key]) != _kind(tensor):
            return f"{key} holds {given[key].dtype} where the model has {tensor.dtype}"
    return ""


def _find_contradiction(given: Mapping[str, Tensor], loaded: Mapping[str, Tensor]) -> str:
    """Find two different values for one shared tensor: torch would silently keep one of them."""
    names: dict[tuple[Any, ...], str] = {}
    for key, tensor in ((key, tensor) for key, tensor in loaded.items() if key in given):
        other = names.setdefault(storage_of(tensor), key) if tensor.numel() else key
        if other != key and not torch.equal(given[key], given[other]):
            return f"{other} and {key} are one tensor of the model, and hold different values"
    return ""


def _find_other_value(given: Mapping[str, Tensor], loaded: Mapping[str, Tensor]) -> str:
    """Find a tensor whose values a model's own code did not take over."""
    for key, tensor in given.items():
        if key in loaded and not torch.equal(tensor.to(loaded[key]).reshape(loaded[key].shape), loaded[key]):
            return f"the model's own load_state_dict() or state_dict() gives {key} other values than the file has"
    return ""


def _is_same(mask: Tensor | None, tensor: Tensor) -> bool:
    """Whether a tensor is a mask with infinities that the model itself makes, as for attention."""
    return mask is not None and torch.equal(mask, tensor)


def _kind(tensor: Tensor) -> tuple[bool, bool]:
    return tensor.is_floating_point(), tensor.is_complex()


def _is_finite(tensor: Tensor) -> bool:
    small = tensor.is_floating_point() and tensor.element_size() == 1  # torch.isfinite knows no float8
    return bool(torch.isfinite(tensor.float() if small else tensor).all())
