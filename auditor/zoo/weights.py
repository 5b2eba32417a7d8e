"""Weights from files: told apart by their first bytes, parsed without running anything, checked before a model runs."""

import hashlib
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

from auditor.errors import ModelLoadError, first_line, one_line

ZIP = b"PK\x03\x04"
LEGACY_TORCH = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # torch's magic number, pickled by itself
PICKLE = b"\x80"
LARGEST_HEADER = 100_000_000  # of safetensors' own rules
LFS_POINTER = b"version https://git-lfs"
WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "params", "state_dict_ema", "model_ema", "ema")
PREFIXES = {"module.": "DataParallel", "_orig_mod.": "torch.compile"}
NAMED = 3


@dataclass(frozen=True)
class Checkpoint:
    """A state dict, and what was done to get at it."""

    state: dict[str, Tensor]
    notes: tuple[str, ...] = ()


def read_safetensors(path: Path, sha256: str | None = None) -> dict[str, Tensor]:
    """The state dict in a safetensors file.

    Raises:
        ModelLoadError: the file is missing, has another digest than ``sha256``, or is damaged.
    """
    return _safetensors(_content(path, sha256), path.name)


def read_checkpoint(path: Path, sha256: str | None = None) -> dict[str, Tensor]:
    """The state dict of :func:`open_checkpoint`, on the CPU."""
    return open_checkpoint(path, sha256).state


def open_checkpoint(path: Path, sha256: str | None = None) -> Checkpoint:
    """The state dict in a safetensors file, or in one that ``torch.save`` wrote; the suffix does not matter.

    Pickles are read by torch's ``weights_only`` unpickler, always, which runs nothing. ``{"state_dict": …}`` and its
    like are unwrapped where only one of them is there.

    Raises:
        ModelLoadError: the file is missing, has another digest than ``sha256``, or holds no state dict.
    """
    content, name = _content(path, sha256), path.name
    if content.startswith((ZIP, LEGACY_TORCH)):
        return _unwrapped(_torch(content, name), name)
    if content[8:9] == b"{" and int.from_bytes(content[:8], "little") < LARGEST_HEADER:
        return Checkpoint(_safetensors(content, name))
    raise ModelLoadError(f"{name} {_what_else(content)}")


def fill(model: nn.Module, state: dict[str, Tensor], name: str) -> tuple[str, ...]:
    """Load ``state`` into ``model``: every key, every shape, every value finite. Returns what had to be mended.

    Prefixes that wrappers leave behind are taken off, in ``state`` itself, where all keys have them. Of tensors that
    a model shares one name is enough, as in safetensors files; the rest is up to ``load_state_dict(strict=True)``.

    Raises:
        ModelLoadError: keys are missing or too many, a shape differs, a tensor holds NaN or infinity, another kind
            of number than the model has, or other values than another name of the same tensor.
    """
    expected = model.state_dict()
    notes = tuple(_mend(state, expected))
    whole = _with_shared(state, expected)
    if odd := _odd_kind(whole, expected):
        raise ModelLoadError(f"{name}: {odd}")
    try:
        model.load_state_dict(whole)
    except RuntimeError as error:
        raise ModelLoadError(f"{name}: {_misfit(whole, expected) or one_line(str(error))}") from error
    loaded = model.state_dict()
    if contradiction := _contradiction(whole, loaded):
        raise ModelLoadError(f"{name}: {contradiction}")
    bad = [key for key, tensor in loaded.items() if not _is_finite(tensor)]
    if bad:
        others = f", and {len(bad) - 1} more" if len(bad) > 1 else ""
        raise ModelLoadError(f"{name}: {bad[0]} holds values that are not finite{others}")
    return notes


def _content(path: Path, sha256: str | None) -> bytes:
    if path.exists() and not path.is_file():
        raise ModelLoadError(f"the weights {path} are no regular file")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelLoadError(f"cannot read the weights {path}: {error.strerror}") from error
    found = hashlib.sha256(content).hexdigest()
    if sha256 is not None and found != sha256.lower():
        raise ModelLoadError(f"{path.name}: expected SHA-256 {sha256[:12]}…, got {found[:12]}…: not the file meant")
    return content


def _safetensors(content: bytes, name: str) -> dict[str, Tensor]:
    try:
        return load(content)
    except (SafetensorError, KeyError, ValueError) as error:  # KeyError: a dtype that torch does not have
        raise ModelLoadError(f"{name} is not a whole safetensors file: {first_line(error)}") from error


def _torch(content: bytes, name: str) -> Any:
    """What a torch file holds; torch's own advice to try without ``weights_only`` is not passed on."""
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged or hostile file may raise anything
        wanted = re.search(r"GLOBAL `?([\w.]+\w)", str(error))
        if wanted:
            raise ModelLoadError(
                f"{name}: its pickle asks for {wanted[1]}, which is no tensor: refused, and nothing of it was run; "
                "save the state dict alone, best as safetensors"
            ) from error
        if "TorchScript" in str(error):
            raise ModelLoadError(f"{name} is a TorchScript program, expected a state dict") from error
        kind = "zip, but no whole torch checkpoint" if content.startswith(ZIP) else "damaged torch checkpoint"
        raise ModelLoadError(f"{name} is a {kind}; nothing of it was run") from error


def _what_else(content: bytes) -> str:
    """What a file is that holds no weights, and what to do about it."""
    if not content:
        return "is empty: copy or download it again"
    if content.lstrip()[:1] == b"<":
        return "is a web page, not a checkpoint: download it again"
    if content.startswith(LFS_POINTER):
        return "is a pointer of Git LFS, not the file itself: run `git lfs pull`"
    if content.startswith(PICKLE):
        return "is a pickle that torch.save did not write: refused unread; save the state dict as safetensors"
    return f"is no checkpoint: expected safetensors or what torch.save writes, got the first bytes {content[:8]!r}"


def _unwrapped(loaded: Any, name: str) -> Checkpoint:
    """The state dict itself, or the only one among the usual wrappers."""
    if _is_state(loaded):
        return Checkpoint(loaded)
    if not isinstance(loaded, dict):
        raise ModelLoadError(f"{name} holds a {type(loaded).__name__}, expected a state dict: names and tensors")
    found = [key for key in WRAPPERS if _is_state(loaded.get(key))]
    if len(found) == 1:
        return Checkpoint(loaded[found[0]], (f"weights: {found[0]!r} of what {name} holds",))
    if found:
        raise ModelLoadError(f"{name} holds several state dicts ({', '.join(found)}): save the one meant by itself")
    held = _first_names([str(key) for key in loaded]) if loaded else "nothing"
    raise ModelLoadError(f"{name} holds no state dict (names and tensors), but {held}")


def _is_state(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(key, str) and isinstance(item, Tensor) for key, item in value.items())
    )


def _mend(state: dict[str, Tensor], expected: Mapping[str, Tensor]) -> Iterator[str]:
    """Take wrappers' prefixes off all keys, in place and in the versions that torch keeps beside them."""
    while True:
        prefix = next((p for p in PREFIXES if state and _all_begin(state, p) and not _all_begin(expected, p)), None)
        if prefix is None:
            return
        consume_prefix_in_state_dict_if_present(state, prefix)
        yield f"weights: {prefix!r}, left by {PREFIXES[prefix]}, taken off all {len(state)} names"


def _all_begin(state: Mapping[str, Tensor], prefix: str) -> bool:
    return all(key.startswith(prefix) for key in state)


def _with_shared(state: dict[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``state`` with the names it lacks of tensors that it has under another name."""
    missing = [key for key in expected if key not in state]
    if not missing:
        return state
    here = {_place(expected[key]): state[key] for key in state if key in expected and expected[key].numel()}
    whole = state.copy()
    whole.update({key: here[_place(expected[key])] for key in missing if _place(expected[key]) in here})
    if hasattr(state, "_metadata"):  # the versions of a model's modules, by which torch mends old checkpoints
        whole._metadata = state._metadata  # type: ignore[attr-defined]
    return whole


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
        other = names.setdefault(_place(tensor), key) if tensor.numel() else key
        if other != key and not torch.equal(given[key], given[other]):
            return f"{other} and {key} are one tensor of the model, and hold different values"
    return ""


def _kind(tensor: Tensor) -> tuple[bool, bool]:
    return tensor.is_floating_point(), tensor.is_complex()


def _place(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype


def _misfit(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    """What is missing, what is too many and what has another shape."""
    missing, extra = [k for k in expected if k not in state], [k for k in state if k not in expected]
    wrong = [k for k in state if k in expected and state[k].shape != expected[k].shape]
    parts = [f"{_count(missing)} missing, {_firsts(missing)}"] if missing else []
    parts += [f"{_count(extra)} too many, {_firsts(extra)}"] if extra else []
    if wrong:
        first = wrong[0]
        others = f" (and {len(wrong) - 1} more of another shape: {_first_names(wrong[1:])})" if wrong[1:] else ""
        parts.append(
            f"expected {first} of shape {tuple(expected[first].shape)}, got {tuple(state[first].shape)}{others}"
        )
    return "; ".join(parts)


def _count(keys: Sequence[str]) -> str:
    return f"{len(keys)} key" if len(keys) == 1 else f"{len(keys)} keys"


def _firsts(keys: Sequence[str]) -> str:
    others = f", then {_first_names(keys[1:])}" if keys[1:] else ""
    return f"the first is {keys[0]!r}{others}"


def _first_names(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names[:NAMED]) + (", …" if len(names) > NAMED else "")


def _is_finite(tensor: Tensor) -> bool:
    small = tensor.is_floating_point() and tensor.element_size() == 1  # torch.isfinite knows no float8
    return bool(torch.isfinite(tensor.float() if small else tensor).all())
