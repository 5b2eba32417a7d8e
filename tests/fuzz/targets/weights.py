"""Weights: safetensors, indices of shards, torch's two formats, and the pickle inside."""

import functools
import io
import json
import pickle
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from auditor.zoo.weights import fill, read_checkpoint, read_content
from tests.fuzz.contract import BrokenPromiseError, Target

UNPICKLER = ("torch._weights_only_unpickler",)
SHARD = "part.safetensors"
PICKLE = "archive/data.pkl"


def _network() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


def _state() -> dict[str, Tensor]:
    return {name: torch.full(tensor.shape, 0.5).to(tensor.dtype) for name, tensor in _network().state_dict().items()}


def _read(path: Path) -> None:
    content = read_content(path)
    network = _network()
    fill(network, content, path.name)
    if not all(torch.isfinite(tensor).all() for tensor in network.state_dict().values()):
        raise BrokenPromiseError("a network was filled with numbers that are not finite")


def read_file(data: bytes, folder: Path) -> None:
    path = folder / "weights.bin"
    path.write_bytes(data)
    _read(path)


def read_index(data: bytes, folder: Path) -> None:
    (folder / SHARD).write_bytes(safetensors.torch.save(_state()))
    path = folder / "model.safetensors.index.json"
    path.write_bytes(data)
    _read(path)
    read_checkpoint(path)


def read_pickle(data: bytes, folder: Path) -> None:
    """The bytes as the pickle of an otherwise sound file of torch."""
    path = folder / "weights.pt"
    with zipfile.ZipFile(io.BytesIO(_saved())) as whole, zipfile.ZipFile(path, "w") as archive:
        for name in whole.namelist():
            archive.writestr(name, data if name == PICKLE else whole.read(name))
    _read(path)


@functools.cache
def _saved() -> bytes:
    return _torch_file(_state())


def _torch_file(content: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, **options)
    return stream.getvalue()


class _Call:
    """Pickles as a call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def _contents() -> list[Any]:
    import argparse
    import os
    from pathlib import PurePosixPath

    state = _state()
    return [
        state,
        {"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}, "epoch": 3},
        {"model": state, "args": argparse.Namespace(lr=0.1), "path": PurePosixPath("a/b")},
        {"state_dict": state, "ema": state},
        _network(),
        _Call(os.system, "touch canary"),
        _Call(eval, "open('canary', 'w')"),
    ]


def torch_seeds() -> Sequence[bytes]:
    old = [_torch_file(content, _use_new_zipfile_serialization=False) for content in (_state(), _network())]
    return [*map(_torch_file, _contents()), *old, pickle.dumps(_Call(print, "canary"))]


def pickle_seeds() -> Sequence[bytes]:
    def inner(whole: bytes) -> bytes:
        with zipfile.ZipFile(io.BytesIO(whole)) as archive:
            return archive.read(PICKLE)

    return [inner(_torch_file(content)) for content in _contents()]


def safetensors_seeds() -> Sequence[bytes]:
    halves = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in _state().items()}
    return [safetensors.torch.save(_state(), {"format": "pt"}), safetensors.torch.save(halves)]


def index_seeds() -> Sequence[bytes]:
    maps: list[Any] = [dict.fromkeys(_state(), SHARD), dict.fromkeys(_state(), f"../{SHARD}"), {"a": SHARD}, {}]
    return [json.dumps({"metadata": {"total_size": 1}, "weight_map": names}).encode() for names in maps]


TARGETS = (
    Target("safetensors", read_file, safetensors_seeds),
    Target("weight-index", read_index, index_seeds),
    Target("torch-file", read_file, torch_seeds, UNPICKLER, length=8192),
    Target("torch-pickle", read_pickle, pickle_seeds, UNPICKLER),
)
