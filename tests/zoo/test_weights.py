"""Checkpoints: told apart by their bytes, never run, filled in whole or refused in one line."""

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save, save_model
from torch import Tensor, nn

from auditor.errors import ModelLoadError
from auditor.zoo.file_types import LEGACY_TORCH
from auditor.zoo.weights import fill, read_checkpoint, read_content


def network() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 3))


STATE = network().state_dict()


def saved(value: object, **options: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "note"),
    [
        (save(STATE), None),
        (saved(STATE), None),
        (saved(STATE, _use_new_zipfile_serialization=False), None),
        (saved({"state_dict": STATE, "epoch": 3, "arch": "net"}), "'state_dict'"),
        (saved({"model": STATE, "optimizer": {"state": {}, "lr": 0.1}}), "'model'"),
        (saved({"state_dict_ema": STATE, "best": 0.9}), "'state_dict_ema'"),
    ],
    ids=["safetensors", "zip", "legacy", "state_dict", "model", "state_dict_ema"],
)
@pytest.mark.parametrize("suffix", ["safetensors", "pt", "bin"])
def test_the_kind_is_in_the_bytes_not_in_the_suffix(
    tmp_path: Path, content: bytes, note: str | None, suffix: str
) -> None:
    path = tmp_path / f"w.{suffix}"
    path.write_bytes(content)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 3))
    notes = fill(model, read_content(path), path.name)
    assert all(torch.equal(model.state_dict()[key], STATE[key]) for key in STATE)
    assert (note in notes[0]) if note else notes == ()
    found = read_checkpoint(path)
    assert all(torch.equal(found[key], STATE[key]) for key in STATE)


class _Payload:
    """Makes a folder in the working directory when it is unpickled the naive way."""

    def __reduce__(self) -> tuple:
        return os.mkdir, ("ran",)


def _in_torch_zip() -> bytes:
    return saved({"state_dict": STATE, "extra": _Payload()})


def _behind_the_magic_number() -> bytes:
    return LEGACY_TORCH + pickle.dumps(1001, 2) + pickle.dumps({}, 2) + pickle.dumps(_Payload(), 2)


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps(_Payload()), "is a pickle that torch.save did not write: refused without reading it"),
        (_in_torch_zip(), "its pickle asks for (posix|nt|os).mkdir, which is no tensor, and none of its code"),
        (_behind_the_magic_number(), "asks for (posix|nt|os).mkdir, which is no tensor"),
        (pickle.dumps(_Payload(), 0), "is no checkpoint"),
        (b"", "is an empty file"),
        (b"\n<!DOCTYPE html><html><body>404</body></html>", "is an HTML page, not a checkpoint: download it again"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"just some text", "is no checkpoint by its first bytes: expected safetensors or what torch.save writes"),
        (saved(STATE)[:-500], "is a zip, but no complete torch checkpoint"),
        (saved(STATE, _use_new_zipfile_serialization=False)[:-50], "is a damaged torch checkpoint"),
        (save(STATE)[:-1], "is not a complete safetensors file"),
        (saved(torch.ones(3)), "holds a Tensor, expected a state dict"),
        (saved({"epoch": 3, "lr": 0.1}), "holds no state dict .* but 'epoch', 'lr'"),
        (saved({}), "holds no state dict .* but nothing"),
        (saved(network()), r"holds a whole module .*, not a state dict \(torch.nn.modules.container.Sequential\)"),
    ],
    ids=[
        "pickle", "pickle in a torch zip", "pickle behind the magic number", "pickle of protocol 0", "empty", "html",
        "git lfs", "text", "zip cut", "legacy cut", "safetensors cut", "tensor", "no weights", "nothing",
        "model",
    ],
)  # fmt: skip
def test_what_is_no_checkpoint_is_refused_in_one_line_and_nothing_runs(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelLoadError, match=message) as caught:
        fill(network(), read_content(tmp_path / name), name)
    assert "\n" not in str(caught.value)
    assert "weights_only=False" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


def test_the_payload_of_these_tests_would_run(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(_Payload()))
    assert (tmp_path / "ran").is_dir()


def test_zips_that_are_something_else(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", a=np.ones(3))
    with zipfile.ZipFile(tmp_path / "w.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    for name, first in (("w.npz", "a.npy"), ("w.zip", "readme.txt")):
        with pytest.raises(ModelLoadError, match=f"{name} is a zip of '{first}', expected what torch.save writes"):
            read_checkpoint(tmp_path / name)


def test_another_digest_and_no_file(tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(saved(STATE))
    with pytest.raises(ModelLoadError, match=r"expected SHA-256 0{12}…, got \w{12}…"):
        read_checkpoint(tmp_path / "w.pt", "0" * 64)
    with pytest.raises(ModelLoadError, match="cannot read the weights"):
        read_checkpoint(tmp_path / "none.pt")


@pytest.mark.parametrize(
    ("prefix", "words"),
    [
        ("module.", ["DataParallel"]),
        ("_orig_mod.", ["torch.compile"]),
        ("module._orig_mod.", ["DataParallel", "torch.compile"]),
        ("_orig_mod.module.", ["torch.compile", "DataParallel"]),
    ],
)
def test_prefixes_of_wrappers_are_mended_and_it_says_so(prefix: str, words: list[str]) -> None:
    model = network()
    nn.init.zeros_(model[3].weight)
    notes = fill(model, {prefix + key: tensor for key, tensor in STATE.items()}, "w.pt")
    assert torch.equal(model[3].weight, STATE["3.weight"])
    assert len(notes) == len(words)
    assert all(word in note and "9 names" in note for note, word in zip(notes, words, strict=True))


def test_a_model_that_has_the_prefix_itself_keeps_it() -> None:
    model = nn.ModuleDict({"module": network()})
    assert fill(model, model.state_dict(), "w.pt") == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {k: v for k, v in s.items() if not k.startswith("1.")}, "5 keys missing, the first is '1.weight'"),
        (
            lambda _: {"head.a": torch.ones(1)},
            r"9 keys missing, the first is '0.weight', then '0.bias', '1.weight', '1.bias', …; 1 key too many",
        ),
        (
            lambda s: s | {"head.a": torch.ones(1), "head.b": torch.ones(1)},
            "2 keys too many, the first is 'head.a', th",
        ),
        (lambda s: s | {"3.weight": torch.ones(10, 16)}, r"expected 3.weight of shape \(3, 16\), got \(10, 16\)"),
        (
            lambda s: s | {"3.weight": torch.ones(10, 16), "3.bias": torch.ones(10)},
            r"got \(10, 16\) \(and 1 more of another shape: '3.bias'\)",
        ),
        (lambda s: s | {"3.bias": torch.tensor([0, torch.inf, 0])}, "3.bias holds values that are not finite"),
        (lambda s: s | {"1.running_var": torch.full((4,), torch.nan)}, "1.running_var holds values that are not"),
        (
            lambda s: s | {"3.bias": torch.full((3,), 1e300, dtype=torch.float64)},
            "3.bias holds values that are not fin",
        ),
    ],
    ids=["missing", "nothing", "extra", "shape", "shapes", "infinite", "nan buffer", "overflow"],
)
def test_weights_that_do_not_fit(change: Callable, message: str) -> None:
    with pytest.raises(ModelLoadError, match=message) as caught:
        fill(network(), change(dict(STATE)), "w.pt")
    assert str(caught.value).startswith("w.pt: ")
    assert "\n" not in str(caught.value)


class _Tied(nn.Module):
    """Two names for one tensor, and a buffer that no file holds."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.register_buffer("table", torch.arange(4.0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x)) + self.table


def test_tied_weights_load_from_either_name_and_stay_tied(tmp_path: Path) -> None:
    source = _Tied()
    save_model(source, str(tmp_path / "w.safetensors"))  # writes each tensor once
    for state in (read_checkpoint(tmp_path / "w.safetensors"), source.state_dict()):
        model = _Tied()
        assert fill(model, state, "w") == ()
        assert model.second.weight is model.first.weight
        assert torch.equal(model(torch.ones(1, 4)), source(torch.ones(1, 4)))


def test_two_values_for_one_tensor_are_refused() -> None:
    state = dict(_Tied().state_dict())
    state["second.weight"] = state["second.weight"] + 1
    with pytest.raises(ModelLoadError, match=r"first\.weight and second\.weight are one tensor of the model"):
        fill(_Tied(), state, "w")


@pytest.mark.parametrize("dtype", [torch.int8, torch.complex64])
def test_numbers_of_another_kind_are_refused(dtype: torch.dtype) -> None:
    state = dict(STATE)
    key = next(iter(state))
    state[key] = state[key].to(dtype)
    with pytest.raises(ModelLoadError, match=r"holds torch\.(int8|complex64) where the model has torch\.float32"):
        fill(network(), state, "w.pt")


def test_buffers_that_are_not_persistent_are_too_many_as_in_torch() -> None:
    state = dict(_Tied().state_dict()) | {"table": torch.arange(4.0)}
    with pytest.raises(ModelLoadError, match="1 key too many, the first is 'table'"):
        fill(_Tied(), state, "w")


def test_checkpoints_from_before_batches_were_counted_load_as_in_torch() -> None:
    state = {key: tensor for key, tensor in STATE.items() if key != "1.num_batches_tracked"}
    assert fill(network(), state, "w") == ()
