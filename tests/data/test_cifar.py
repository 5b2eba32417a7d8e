"""CIFAR in torchvision's folders: only files of the published MD5 are unpickled, and even those run no code."""

import functools
import http.server
import pickle
import socket
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torchvision import datasets
from torchvision.datasets.utils import calculate_md5

from auditor.config import settings
from auditor.data import check_images, downloads, load_images
from auditor.data.cifar import find
from auditor.data.cifar_pickles import read_published
from auditor.data.samples import Arrays
from auditor.errors import DataError, UsageError
from tests.data import layouts
from tests.data.layouts import KINDS
from tests.factories import cifar_sets


@pytest.fixture
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder of the test's own."""
    monkeypatch.setenv("AUDITOR_DATA", str(tmp_path / "data"))
    settings.cache_clear()
    return tmp_path / "data"


@pytest.mark.parametrize(("name", "loader", "folder"), KINDS)
@pytest.mark.parametrize("place", ["root", "itself", "renamed", "data folder"])
def test_torchvisions_layout(
    name: str, loader: str, folder: str, place: str, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = layouts.random_pixels(12, 3, 32, 32)
    layouts.cifar(data_folder / (folder if place != "renamed" else "mine"), monkeypatch, loader, pixels)
    data = {"root": data_folder, "itself": data_folder / folder, "renamed": data_folder / "mine", "data folder": None}
    check_images(name, 12, data[place])
    found = load_images(name, 11, data[place])
    assert np.array_equal(found.images, pixels[:11].astype(np.float32) / 255)
    assert found.labels.tolist() == [number % 10 for number in range(11)] if name == "cifar10" else list(range(11))
    assert found.indices.tolist() == list(range(11))
    with pytest.raises(UsageError, match="has 12 test images, 13 were requested"):
        check_images(name, 13, data[place])


class Payload:
    """Unpickling this makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize(("name", "loader", "folder"), KINDS)
@pytest.mark.parametrize("which", ["batch", "meta"])
@pytest.mark.parametrize("given", [True, False], ids=["with --data", "in the data folder"])
def test_a_file_that_is_not_the_published_one_is_refused_before_it_is_unpickled(
    name: str, loader: str, folder: str, which: str, given: bool, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layouts.cifar(data_folder / folder, monkeypatch, loader, layouts.random_pixels(2, 3, 32, 32))
    kind, trap = getattr(datasets, loader), data_folder / "it-ran"
    file = data_folder / folder / (kind.test_list[0][0] if which == "batch" else kind.meta["filename"])
    file.write_bytes(pickle.dumps({"data": Payload(trap), "labels": [0]}))
    with pytest.raises(DataError, match=r"does not hold CIFAR\d+'s published test batch.* unpack cifar"):
        load_images(name, 1, data_folder if given else None)
    assert not trap.exists()
    pickle.loads(file.read_bytes())
    assert trap.exists(), "the trap itself works"


@pytest.mark.parametrize(("name", "loader", "folder"), KINDS)
@pytest.mark.parametrize("which", ["batch", "meta"])
def test_a_file_with_the_published_md5_runs_nothing_either(
    name: str, loader: str, folder: str, which: str, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MD5 is no protection against somebody who can make another file of the same digest."""
    layouts.cifar(data_folder / folder, monkeypatch, loader, layouts.random_pixels(2, 3, 32, 32))
    kind, trap = getattr(datasets, loader), data_folder / "it-ran"
    file = data_folder / folder / (kind.test_list[0][0] if which == "batch" else kind.meta["filename"])
    file.write_bytes(pickle.dumps({"data": Payload(trap), "labels": [0]}))
    layouts.trust(monkeypatch, loader, data_folder / folder)
    with pytest.raises(DataError, match=r"pathlib\.Path\.touch is refused|builtins\.getattr is refused"):
        load_images(name, 1, data_folder)
    assert not trap.exists()


@pytest.mark.parametrize("loader", ["CIFAR10", "CIFAR100"])
@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("writer", ["Python 2", "Python 3", "by columns"])
@pytest.mark.filterwarnings("ignore:dtype")  # torchvision's reader, about the old dtype of the published files
def test_pictures_and_labels_are_torchvisions(
    loader: str, train: bool, writer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cifar_sets.cifar(tmp_path, monkeypatch, loader, [3, 1, 4], [1, 5])
    kind, folder = getattr(datasets, loader), tmp_path / cifar_sets.FOLDERS[loader]
    key = "labels" if loader == "CIFAR10" else "fine_labels"
    for attribute in ("train_list", "test_list"):
        ((name, _),) = getattr(kind, attribute)
        batch = pickle.loads((folder / name).read_bytes())
        if writer == "Python 2":
            content = cifar_sets.as_published(batch["data"].reshape(-1, 3, 32, 32), batch[key], key)
        else:
            ordered = np.asfortranarray(batch["data"]) if writer == "by columns" else batch["data"]
            content = pickle.dumps({"data": ordered, key: batch[key]}, protocol=2)
        names = [name, f"{name}_2"] if train else [name]
        for each in names:
            (folder / each).write_bytes(content)
        monkeypatch.setattr(kind, attribute, [[each, calculate_md5(folder / name)] for each in names])
    theirs = kind(str(tmp_path), train=train)
    ours = find(loader, theirs.classes, tmp_path, train=train)
    assert isinstance(ours, Arrays)
    assert (ours.images.dtype, ours.images.shape) == (np.uint8, theirs.data.transpose(0, 3, 1, 2).shape)
    assert ours.images.tobytes() == theirs.data.transpose(0, 3, 1, 2).tobytes()
    assert (ours.labels.dtype, ours.labels.tolist()) == (np.int64, theirs.targets)


@pytest.mark.parametrize(
    "batch",
    [
        {"data": np.zeros((2, 3072), np.uint8), "labels": [0]},
        {"data": np.zeros((1, 3072), np.uint8), "labels": [10]},
        {"data": np.zeros((1, 3072), np.uint8), "labels": [0.5]},
        {"data": np.zeros((1, 3072), np.uint8)},
        {"data": np.zeros((1, 3072), np.float32), "labels": [0]},
        {"data": np.zeros((1, 3, 32, 32), np.uint8), "labels": [0]},
        {"data": "a", "labels": [0]},
        ["data"],
    ],
)
def test_other_values_are_one_line(batch: object, data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = data_folder / "cifar-10-batches-py"
    layouts.cifar(folder, monkeypatch, "CIFAR10", layouts.random_pixels(2, 3, 32, 32))
    (folder / "test_batch").write_bytes(pickle.dumps(batch, protocol=2))
    layouts.trust(monkeypatch, "CIFAR10", folder)
    with pytest.raises(DataError, match=r"holds more than pictures|expected rows of 3072 bytes") as caught:
        load_images("cifar10", 1, data_folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"\x80\x02Nr\xff\xff\xff\x02.", b"Np50000000\n."])
def test_a_place_of_a_large_number_does_not_fill_the_memory(content: bytes, tmp_path: Path) -> None:
    (path := tmp_path / "a").write_bytes(content)
    with pytest.raises(ValueError, match=r"place 50\d+ for a value is beyond the size of the file"):
        read_published(path, calculate_md5(path))


def test_other_classes_than_the_known_ones_are_refused(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["airplane", "cat"]
    pixels = layouts.random_pixels(2, 3, 32, 32)
    layouts.cifar(data_folder / "cifar-10-batches-py", monkeypatch, "CIFAR10", pixels, label_names=names)
    with pytest.raises(DataError, match="classes that are not CIFAR10's: airplane, cat"):
        load_images("cifar10", 1, data_folder)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the address at which it is served."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, args=(0.02,))
        thread.start()
        yield folder, f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
        thread.join()


def test_without_data_it_is_downloaded_once(
    data_folder: Path, tmp_path: Path, server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    served, address = server
    pixels = layouts.random_pixels(4, 3, 32, 32)
    layouts.cifar(tmp_path / "made" / "cifar-10-batches-py", monkeypatch, "CIFAR10", pixels)
    archive = served / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "made" / "cifar-10-batches-py", "cifar-10-batches-py")
    monkeypatch.setattr(datasets.CIFAR10, "url", f"{address}/{archive.name}")
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", calculate_md5(archive))
    monkeypatch.setattr(datasets.CIFAR10, "train_list", [])
    assert np.array_equal(load_images("cifar10", None).images, pixels.astype(np.float32) / 255)
    archive.unlink()
    assert len(load_images("cifar10", None).labels) == 4
    assert (data_folder / "cifar-10-batches-py").is_dir()


@pytest.mark.parametrize("trouble", ["nobody listens", "a web page", "silence"])
@pytest.mark.parametrize("name", ["cifar10", "cifar100", "fashion_mnist"])
def test_a_download_that_fails_is_one_error_soon(
    trouble: str,
    name: str,
    data_folder: Path,
    tmp_path: Path,
    server: tuple[Path, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    served, address = server
    for file in ("cifar-10-python.tar.gz", "cifar-100-python.tar.gz", datasets.FashionMNIST.resources[0][0]):
        (served / file).write_text("<html>moved</html>")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        address = {
            "nobody listens": "http://127.0.0.1:9",
            "a web page": address,
            "silence": f"http://127.0.0.1:{port}",
        }[trouble]
        monkeypatch.setattr(downloads, "SECONDS", 0.3)
        monkeypatch.setattr("auditor.data.fashion_mnist.DEBIAN_FOLDER", tmp_path / "nowhere")
        monkeypatch.setattr(datasets.CIFAR10, "url", f"{address}/cifar-10-python.tar.gz")
        monkeypatch.setattr(datasets.CIFAR100, "url", f"{address}/cifar-100-python.tar.gz")
        monkeypatch.setattr(datasets.FashionMNIST, "mirrors", [f"{address}/"])
        started = time.perf_counter()
        with pytest.raises(DataError, match=r"cannot be downloaded: put the .* or pass --data PATH") as caught:
            check_images(name, None)
        assert time.perf_counter() - started < 60
        assert str(data_folder) in str(caught.value)
        assert "\n" not in str(caught.value)
    assert socket.getdefaulttimeout() is None
