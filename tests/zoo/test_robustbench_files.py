"""What happens to weight files that are absent, false or dangerous, with and without internet."""

import argparse
import hashlib
import io
import os
import pickle
import socket
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from auditor.errors import ModelLoadError
from auditor.zoo import download as downloads
from auditor.zoo import weight_files
from auditor.zoo.file_types import file_type
from auditor.zoo.robustbench import RobustBenchZoo
from auditor.zoo.weight_files import WeightFile, load_or_download

HTML = b"<!DOCTYPE html><html><head><title>Google Drive -\n Quota exceeded</title></head></html>"
NOWHERE = "http://127.0.0.1:1/weights.pt"


def saved(content: object, **options: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


GOOD = saved({"weight": torch.arange(3.0)})


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "without_internet" not in request.node.name:
        monkeypatch.setattr(downloads, "PAUSE", 0.01)


class Payload:
    """Unpickled, it leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return os.mkdir, (self.mark,)


def archive(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr(name, content)
    return buffer.getvalue()


BAD: list[tuple[str, Callable[[Path], bytes], str]] = [
    ("an HTML page", lambda _: HTML, "is an HTML page ('Google Drive - Quota exceeded')"),
    ("an empty file", lambda _: b"", "is an empty file"),
    ("text", lambda _: b"version https://git-lfs.github.com/spec/v1", "is a pointer of Git LFS, not the file itself"),
    ("a truncated zip", lambda _: GOOD[:-200], "is a zip, but no complete torch checkpoint"),
    (
        "a truncated pickle",
        lambda _: saved([1.0], _use_new_zipfile_serialization=False)[:-9],
        "is a damaged torch checkpoint",
    ),
    ("a zip of something else", lambda _: archive("notes.txt", b"hello"), "is a zip of "),
    (
        "a payload in a zip",
        lambda mark: saved({"state_dict": Payload(mark)}),
        "is refused: its pickle asks for posix.mkdir, which is no tensor",
    ),
    (
        "a payload in a pickle",
        lambda mark: saved(Payload(mark), _use_new_zipfile_serialization=False),
        "is refused: its pickle asks for posix.mkdir, which is no tensor",
    ),
    (
        "a payload alone",
        lambda mark: pickle.dumps(Payload(mark), protocol=2),
        "is a pickle that torch.save did not write: refused without reading it",
    ),
]


@pytest.mark.parametrize(("content", "reason"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_a_bad_file_is_never_used_and_runs_nothing(content: Callable, reason: str, tmp_path: Path) -> None:
    path, mark = tmp_path / "models" / "cifar10" / "Linf" / "Carmon2019Unlabeled.pt", tmp_path / "mark"
    path.parent.mkdir(parents=True)
    path.write_bytes(content(mark))
    with pytest.raises(ModelLoadError) as caught:
        load_or_download(WeightFile(path, NOWHERE, "a page"))
    message = str(caught.value)
    assert message.startswith(f"{path} ")
    assert reason in message
    assert (
        f"download failed: 127.0.0.1:1: Failed to establish a new connection: [Errno 111] Connection refused; "
        f"fetch a page by hand and put it at {path}" in message
    )
    assert "\n" not in message
    assert not mark.exists()
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    "content",
    [
        GOOD,
        saved({"weight": torch.arange(3.0)}, _use_new_zipfile_serialization=False),
        saved(
            {"weight": torch.arange(3.0), "args": argparse.Namespace(lr=0.1), "best": np.float64(3), "t": np.int64(2)}
        ),
    ],
    ids=["zip", "pickle of old", "options and NumPy's numbers"],
)
def test_a_good_file_needs_no_internet(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(content)
    assert load_or_download(WeightFile(path, NOWHERE, ""))["weight"].tolist() == [0, 1, 2]


def test_safetensors_are_read_and_known_by_their_first_bytes(tmp_path: Path) -> None:
    save_file({"weight": torch.arange(3.0)}, tmp_path / "weights.pt")
    assert file_type(tmp_path / "weights.pt") == "safetensors"
    assert load_or_download(WeightFile(tmp_path / "weights.pt", NOWHERE, ""))["weight"].tolist() == [0, 1, 2]


class Answers:
    """A server that gives one answer after the other, the last one for ever."""

    def __init__(self, *answers: tuple[int, bytes] | bytes) -> None:
        self.answers, self.asked = list(answers), 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer = outer.answers[min(outer.asked, len(outer.answers) - 1)]
                outer.asked += 1
                status, content = answer if isinstance(answer, tuple) else (200, answer)
                self.send_response(status)
                promised = len(content) + (100 if status == 206 else 0)  # 206 stands for a broken line
                self.send_header("Content-Length", str(promised))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/weights.pt"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()


@pytest.fixture
def serve() -> Iterator[Callable[..., Answers]]:
    running: list[Answers] = []

    def start(*answers: tuple[int, bytes] | bytes) -> Answers:
        running.append(Answers(*answers))
        return running[-1]

    yield start
    for one in running:
        one.server.shutdown()
        one.server.server_close()


@pytest.mark.parametrize(
    ("answers", "asked"),
    [
        ([GOOD], 1),
        ([HTML, GOOD], 2),
        ([(503, b"busy"), HTML, GOOD], 3),
        ([(429, b"slowly"), GOOD], 2),
        ([(206, GOOD[:100]), GOOD], 2),
        ([b"", GOOD], 2),
        ([GOOD[:-200], GOOD], 2),
    ],
    ids=["at once", "HTML first", "two failures", "too many requests", "a broken line", "nothing first", "half first"],
)
@pytest.mark.parametrize("there", [None, HTML], ids=["nothing there", "HTML there"])
def test_a_download_is_tried_again_and_what_is_bad_is_never_kept(
    answers: list, asked: int, there: bytes | None, serve: Callable[..., Answers], tmp_path: Path
) -> None:
    server, path = serve(*answers), tmp_path / "new" / "weights.pt"
    if there is not None:
        path.parent.mkdir()
        path.write_bytes(there)
    assert load_or_download(WeightFile(path, server.url, ""))["weight"].tolist() == [0, 1, 2]
    assert (server.asked, path.read_bytes()) == (asked, GOOD)
    assert list(path.parent.iterdir()) == [path]
    load_or_download(WeightFile(path, server.url, ""))
    assert server.asked == asked


@pytest.mark.parametrize(
    ("answers", "asked", "cause"),
    [
        ([HTML], 3, "the downloaded file is an HTML page ('Google Drive - Quota exceeded')"),
        ([(404, b"no")], 1, "answered 404 Not Found"),
        ([(500, b"no")], 3, "answered 500 Internal Server Error"),
        ([(206, GOOD[:100])], 3, "IncompleteRead"),
    ],
    ids=["HTML for ever", "not found", "server error", "the line breaks each time"],
)
def test_a_download_that_fails_leaves_what_was_there(
    answers: list, asked: int, cause: str, serve: Callable[..., Answers], tmp_path: Path
) -> None:
    server, path = serve(*answers), tmp_path / "weights.pt"
    path.write_bytes(b"old")
    with pytest.raises(ModelLoadError) as caught:
        load_or_download(WeightFile(path, server.url, "a page"))
    assert "download failed: " in str(caught.value)
    assert cause in str(caught.value)
    assert "\n" not in str(caught.value)
    assert server.asked == asked
    assert (list(tmp_path.iterdir()), path.read_bytes()) == ([path], b"old")


def test_the_digest_in_a_name_is_checked_on_what_comes_and_on_what_is_there(
    serve: Callable[..., Answers], tmp_path: Path
) -> None:
    digest = hashlib.sha256(GOOD).hexdigest()[:8]
    other = saved({"weight": torch.zeros(3)})
    path = tmp_path / f"resnet50-{digest}.pth"
    path.write_bytes(other)
    server = serve(other, GOOD)
    assert load_or_download(WeightFile(path, server.url, ""))["weight"].tolist() == [0, 1, 2]
    assert server.asked == 2
    path.write_bytes(other)
    with pytest.raises(ModelLoadError, match=f"expected SHA-256 {digest}….*but not the expected one"):
        load_or_download(WeightFile(path, NOWHERE, ""))


def test_what_a_killed_download_left_behind_goes_and_what_another_one_writes_stays(
    serve: Callable[..., Answers], tmp_path: Path
) -> None:
    path, old, busy = (tmp_path / f"weights.pt{end}" for end in ("", ".0a.part", ".0b.part"))
    old.write_bytes(b"half")
    busy.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    load_or_download(WeightFile(path, serve(GOOD).url, ""))
    assert set(tmp_path.iterdir()) == {path, busy}


def no_name(*_: object, **__: object) -> list:
    raise socket.gaierror(-3, "Temporary failure in name resolution")


def silence(*_: object, **__: object) -> list:
    time.sleep(30)
    return []


@pytest.mark.long
@pytest.mark.parametrize(
    ("lookup", "cause"),
    [
        (
            no_name,
            "drive.usercontent.google.com cannot be found (Temporary failure in name resolution); is there internet?",
        ),
        (silence, "cannot be found (no name server answered within 1.5 s)"),
    ],
    ids=["no such name", "a dead name server"],
)
@pytest.mark.parametrize(
    "name", ["cifar10/Linf/Carmon2019Unlabeled", "cifar10/Linf/Chen2020Adversarial"], ids=["one file", "an ensemble"]
)
def test_an_absent_model_without_internet_fails_within_seconds(
    lookup: Callable, cause: str, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for variable in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    zoo = RobustBenchZoo(tmp_path / "models")
    (entry,) = [entry for entry in zoo.entries() if entry.model == f"robustbench:{name}"]
    started = time.monotonic()
    with pytest.raises(ModelLoadError) as caught:
        zoo.load(entry)
    assert time.monotonic() - started < 60
    assert str(caught.value).startswith("download failed: ")
    assert cause in str(caught.value)
    assert "https://drive.google.com/file/d/" in str(caught.value)


def test_a_folder_that_cannot_be_written_to_is_one_line(serve: Callable[..., Answers], tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file, where the folder should be")
    with pytest.raises(ModelLoadError, match=r"^download failed: .*models"):
        load_or_download(WeightFile(tmp_path / "models" / "weights.pt", serve(GOOD).url, ""))


def test_ensembles_and_hub_files_lie_where_robustbench_looks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    zoo = RobustBenchZoo(Path("models"))
    entries = {entry.model.removeprefix("robustbench:"): entry for entry in zoo.entries()}
    assert zoo.missing(entries["cifar10/Linf/Chen2020Adversarial"]) == (
        "Chen2020Adversarial.pt_m0.pt, Chen2020Adversarial.pt_m1.pt, Chen2020Adversarial.pt_m2.pt"
    )
    assert zoo.missing(entries["imagenet/Linf/Standard_R50"]) == "resnet50-0676ba61.pth"
    assert str(weight_files.hub_folder()) == f"{torch.hub.get_dir()}/checkpoints"
