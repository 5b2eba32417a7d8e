"""Files that are exchanged after their path was checked: what is read is never outside of the folder, and never a pipe.

Each test makes the exchange at the worst moment: in the function that is called between the check and the use.
"""

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.io
import torch
from safetensors.torch import save_file

from auditor import files
from auditor.attacks.adversarials import Adversarials, save_adversarials
from auditor.data import CLASSES, cifar, fashion_mnist, npz, pictures, published_files, stl10, svhn, tiny_imagenet
from auditor.data.corruptions import published
from auditor.data.fashion_mnist import read_idx
from auditor.data.npz import read_npz
from auditor.errors import AuditorError, DataError, ModelLoadError, UsageError
from auditor.evidence import verify
from auditor.evidence.keys import make_key
from auditor.files import open_regular, read_limited, write_atomically
from auditor.results import adversarials
from auditor.scans import extra_attacks
from auditor.zoo import file_types, local, weights
from auditor.zoo.local import draft, graphs
from auditor.zoo.weights import read_content
from tests.factories import cifar_sets, picture_sets
from tests.factories.evidence import make_evidence
from tests.factories.graphs import graph_zoo
from tests.factories.local_zoo import changed, zoo

NETWORK = "from torch import nn\n\n\ndef make():\n    return nn.Sequential(nn.Flatten(), nn.Linear(192, 3))\n"


def exchange_after(monkeypatch: pytest.MonkeyPatch, place: Any, name: str, exchange: Callable[[], None]) -> list[str]:
    """Let a function make the exchange as its last act, at its first call; the list says that it was called."""
    original, calls = getattr(place, name), list[str]()

    def call(*arguments: Any, **options: Any) -> Any:
        result = original(*arguments, **options)
        if not calls:
            exchange()
        calls.append(name)
        return result

    monkeypatch.setattr(place, name, call)
    return calls


def exchange_before(
    monkeypatch: pytest.MonkeyPatch, place: Any, name: str, exchange: Callable[[], object]
) -> list[str]:
    """Let a function make the exchange as its first act; the list says that it was called."""
    original, calls = getattr(place, name), list[str]()

    def call(*arguments: Any, **options: Any) -> Any:
        exchange()
        calls.append(name)
        return original(*arguments, **options)

    monkeypatch.setattr(place, name, call)
    return calls


def become_link(path: Path, target: Path) -> None:
    """Replace a file or a folder by a link."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    path.symlink_to(target)


def become_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def linear_weights(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"1.weight": torch.zeros(3, 192), "1.bias": torch.zeros(3)}, path)
    return path


@pytest.mark.parametrize("exchanged", ["file", "folder"])
def test_weights_that_become_a_link_between_check_and_reading_are_refused(
    exchanged: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = linear_weights(tmp_path / "outside" / "net.safetensors")
    (folder := tmp_path / "zoo").mkdir()
    inside = linear_weights(folder / "sub" / "net.safetensors")
    zoo(folder, changed(weights='"sub/net.safetensors"'), NETWORK)
    found = local.LocalZoo(folder, trust_code=True)
    (entry,) = found.entries()
    assert found.load(entry).model is not None
    source, target = (inside, outside) if exchanged == "file" else (inside.parent, outside.parent)
    calls = exchange_after(monkeypatch, local, "resolve_inside", lambda: become_link(source, target))
    with pytest.raises(ModelLoadError, match="has become a link"):
        found.load(entry)
    assert calls


def test_an_exported_network_that_becomes_a_link_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (outside := tmp_path / "secret.onnx").write_bytes(b"secret")
    (folder := tmp_path / "zoo").mkdir()
    (inside := folder / "net.onnx").write_bytes(b"onnx")
    found = graph_zoo(folder, "net.onnx")
    (entry,) = found.entries()
    exchange_before(monkeypatch, graphs, "open_regular", lambda: become_link(inside, outside))
    with pytest.raises(ModelLoadError, match="has become a link"):
        found.load(entry)


def test_a_shard_that_becomes_a_link_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outside = linear_weights(tmp_path / "outside.safetensors")
    inside = linear_weights(tmp_path / "zoo" / "part.safetensors")
    index = inside.with_name("model.safetensors.index.json")
    index.write_text('{"weight_map": {"1.weight": "part.safetensors", "1.bias": "part.safetensors"}}')
    assert set(read_content(index)) == {"1.weight", "1.bias"}
    original = weights.file_type

    def call(path: Path) -> str:
        kind = original(path)
        if path == inside:
            become_link(inside, outside)
        return kind

    monkeypatch.setattr(weights, "file_type", call)
    with pytest.raises(ModelLoadError, match="has become a link"):
        read_content(index)


@pytest.mark.long
@pytest.mark.parametrize("name", ["audits/1/record.json", "audits/1"])
def test_evidence_that_becomes_a_link_is_reported(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = make_evidence(tmp_path)
    assert verify.verify_evidence(folder).problems == ()
    shutil.copytree(folder, copy := tmp_path / "copy")
    exchange_before(monkeypatch, verify, "open_regular", lambda: become_link(folder / name, copy / name))
    problems = verify.verify_evidence(folder).problems
    assert any("audits/1/record.json: expected a file, got a link" in problem for problem in problems)


class Trap:
    """Unpickling this makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("which", ["test_batch", "batches.meta"])
def test_a_cifar_file_that_is_exchanged_once_its_md5_is_known_runs_nothing(
    which: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The class of torchvision opens a file again to unpickle it; here the bytes are unpickled that have the MD5."""
    cifar_sets.cifar(tmp_path, monkeypatch, "CIFAR10", [0], [3, 1])
    path, trap = tmp_path / "cifar-10-batches-py" / which, tmp_path / "it-ran"
    original = published_files.read_limited

    def read_and_exchange(file: Path, most: int) -> bytes:
        content = original(file, most)
        if file == path:
            path.write_bytes(pickle.dumps(Trap(trap)))  # the same file, which whoever holds it open sees, too
        return content

    monkeypatch.setattr(published_files, "read_limited", read_and_exchange)
    found = cifar.find("CIFAR10", CLASSES["cifar10"], tmp_path)
    assert found.labels.tolist() == [3, 1]
    assert not trap.exists()
    pickle.loads(path.read_bytes())
    assert trap.exists(), "the exchange was made, and the trap itself works"


def test_an_svhn_file_that_is_overwritten_once_its_md5_is_known_is_not_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writing into the file itself changes what a handle that is already open reads."""
    pixels = np.full((2, 3, 32, 32), 7, np.uint8)
    path = picture_sets.svhn(tmp_path, "test", pixels, [3, 1]) / "test_32x32.mat"
    picture_sets.publish_svhn(monkeypatch, path)
    other = picture_sets.svhn(tmp_path / "other", "test", pixels, [8, 9]) / "test_32x32.mat"
    calls = exchange_before(monkeypatch, scipy.io, "loadmat", lambda: path.write_bytes(other.read_bytes()))
    assert svhn.read_mat(path).labels.tolist() == [3, 1]
    assert calls


def read_cifar(path: Path) -> object:
    kind = SimpleNamespace(
        __name__="CIFAR10", filename="a.tar.gz", test_list=[], meta={"filename": path.name, "md5": ""}
    )
    return cifar.read_batches(kind, path.parent, CLASSES["cifar10"], train=False)


READERS: dict[str, tuple[Any, Callable[[Path], object], type[AuditorError]]] = {
    "weights": (file_types, read_content, ModelLoadError),
    "picture": (pictures, lambda path: pictures.read([path], None, grey=False), DataError),
    "npz": (npz, lambda path: read_npz(path, 3), DataError),
    "idx": (fashion_mnist, read_idx, DataError),
    "cifar": (files, read_cifar, DataError),
    "svhn": (files, svhn.read_mat, DataError),
    "stl10": (files, lambda path: stl10.read_binary(path, path), DataError),
    "tiny imagenet": (files, tiny_imagenet.read_annotations, DataError),
    "bytes of a picture": (files, pictures.read_file, DataError),
    "published corruptions": (published, lambda path: published.open_array(path, (2,), None), DataError),
    "saved adversarials": (adversarials, adversarials.open_saved, DataError),
}


@pytest.mark.parametrize("name", READERS)
def test_a_file_that_becomes_a_pipe_is_not_waited_for(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, read, error = READERS[name]
    (path := tmp_path / "a").write_bytes(b"a")
    exchange_before(monkeypatch, module, "open_regular", lambda: become_pipe(path))
    with pytest.raises(error, match="expected a file, got a pipe"):
        read(path)


def test_saved_images_that_become_a_pipe_after_their_file_was_opened_are_not_waited_for(tmp_path: Path) -> None:
    numbers = np.arange(2)
    made = Adversarials(np.zeros((2, 1, 3, 3), np.float32), numbers, numbers, numbers, np.array(["a", "b"]), None)
    save_adversarials(path := tmp_path / "a.npz", made, model="demo:a", identity="i", norm="Linf", eps=0.1)
    saved = adversarials.open_saved(path)
    become_pipe(path)
    with pytest.raises(DataError, match=r"a\.npz: expected a file, got a pipe"):
        saved.samples([0])
    with pytest.raises(DataError, match=r"a\.npz: expected a file, got a pipe"):
        saved.images.read()


def test_a_digest_of_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a")
    with pytest.raises(OSError, match="expected a file, got a pipe"):
        files.file_sha256(tmp_path / "a")


def test_weights_that_become_a_pipe_before_their_digest_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = linear_weights(tmp_path / "net.safetensors")
    zoo(tmp_path, changed(weights='"net.safetensors"') + f'sha256 = "{"0" * 64}"\n', NETWORK)
    calls = exchange_after(monkeypatch, local, "file_type", lambda: become_pipe(path))
    (problem,) = local.LocalZoo(tmp_path).find_bad_weights()
    assert calls
    assert "expected a file, got a pipe" in problem


@pytest.mark.parametrize("moment", [1, 2])
def test_code_that_becomes_a_pipe_is_not_waited_for(
    moment: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read twice: for what it imports, and for its digest."""
    zoo(tmp_path, changed(), NETWORK)
    original, calls = files.open_regular, list[Path]()

    def call(path: Path, *, beneath: Path | None = None) -> Any:
        if path.name == "nets.py":
            calls.append(path)
            if len(calls) == moment:
                become_pipe(path)
        return original(path, beneath=beneath)

    monkeypatch.setattr(files, "open_regular", call)
    with pytest.raises(UsageError, match=r"architecture\.python: cannot read the code: expected a file, got a pipe"):
        local.LocalZoo(tmp_path).entries()


def test_an_attack_that_becomes_a_pipe_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path := tmp_path / "a.py").write_text("def attack(): ...\n")
    exchange_before(monkeypatch, extra_attacks, "code_digest", lambda: become_pipe(path))
    with pytest.raises(UsageError, match=r"cannot read the code of .*expected a file, got a pipe"):
        extra_attacks.find_extra_attacks([f"{path}:attack"], [], folder=None, transfer_zoo=None, trust_code=True)


def test_what_a_draft_of_a_zoo_looks_into_may_become_a_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path := tmp_path / "nets.py").write_text(NETWORK)
    draft.check_network(tmp_path, "nets.py:make")
    with monkeypatch.context() as patch:
        exchange_before(patch, files, "open_regular", lambda: become_pipe(path))
        with pytest.raises(ValueError, match="has no class or function 'make'"):
            draft.check_network(tmp_path, "nets.py:make")
    assert not draft.is_torchscript(path)


def test_a_pipe_in_place_of_a_text_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "entry.json")
    with pytest.raises(ValueError, match="expected a file, got a pipe"):
        read_limited(tmp_path / "entry.json")
    with pytest.raises(ValueError, match="expected a file, got a folder"):
        open_regular(tmp_path)


def test_a_link_in_place_of_the_result_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (outside := tmp_path / "outside").write_text("kept")
    (path := tmp_path / "a.json").symlink_to(outside)
    with write_atomically(path) as file:
        file.write(b"new")
    assert (outside.read_text(), path.read_text(), path.is_symlink()) == ("kept", "new", False)


def test_a_link_in_place_of_a_key_is_not_followed(tmp_path: Path) -> None:
    (path := tmp_path / "a.key").symlink_to(tmp_path / "outside")
    with pytest.raises(UsageError, match="already exists"):
        make_key(path)
    assert not (tmp_path / "outside").exists()
