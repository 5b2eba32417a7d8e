"""Small files that claim to be, or expand to, far more than the memory: ``python -m tests.fuzz.bombs`` reads each.

A process of its own, because the peak of a process never falls. Prints one JSON line for each bomb: what became of it,
and by how many MiB the peak of memory rose.
"""

import gzip
import io
import json
import resource
import struct
import tempfile
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import torch
from PIL import Image

from auditor.data import pictures
from auditor.data.fashion_mnist import read_idx
from auditor.data.npz import read_npz
from auditor.errors import AuditorError
from auditor.zoo.checkpoint import read_description
from auditor.zoo.hub.snapshots import read_json
from auditor.zoo.local.graphs import load_graph
from auditor.zoo.local.zoo_file import read_zoo
from auditor.zoo.robustbench.published import read_published
from auditor.zoo.weights import fill, read_content

LARGE = 3 << 28
"""Bytes to which the compressed bombs expand."""


def main() -> None:
    """Read a harmless picture first, so that what the readers import is not counted."""
    with tempfile.TemporaryDirectory() as place:
        Image.new("RGB", (4, 4)).save(path := Path(place) / "a.png")
        pictures.read([path], None, grey=False)
    for name, (write, read) in BOMBS.items():
        with tempfile.TemporaryDirectory() as place, warnings.catch_warnings(action="error"):
            path = write(Path(place))
            before, began = _peak(), time.process_time()
            try:
                outcome = f"value: {type(read(path)).__name__}"
            except AuditorError as error:
                outcome = f"error: {str(error).replace(place, '')}"
            seconds = time.process_time() - began
        print(json.dumps({"bomb": name, "outcome": outcome, "mib": _peak() - before, "seconds": round(seconds, 1)}))


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def _zip(path: Path, members: dict[str, tuple[bytes, int]]) -> Path:
    """An archive of members that are a head and so many zeros."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, (head, zeros) in members.items():
            with archive.open(name, "w", force_zip64=True) as member:
                member.write(head)
                for _ in range(zeros >> 22):
                    member.write(bytes(1 << 22))
    return path


def _header(*shape: int) -> bytes:
    np.lib.format.write_array_header_1_0(
        stream := io.BytesIO(), {"descr": "|u1", "fortran_order": False, "shape": shape}
    )
    return stream.getvalue()


def npz_expands(folder: Path) -> Path:
    images = _header(LARGE // 3072, 32, 32, 3)
    return _zip(folder / "a.npz", {"images.npy": (images, LARGE), "labels.npy": (_header(10) + bytes(10), 0)})


def npz_claims(folder: Path) -> Path:
    images, labels = _header(1 << 40, 32, 32, 3) + bytes(99), _header(1 << 40) + bytes(99)
    return _zip(folder / "a.npz", {"images.npy": (images, 0), "labels.npy": (labels, 0)})


def idx_expands(folder: Path) -> Path:
    path = folder / "a.gz"
    with gzip.open(path, "wb", 1) as file:
        file.write(struct.pack(">HBBIII", 0, 8, 3, 10, 28, 28))
        for _ in range(LARGE >> 22):
            file.write(bytes(1 << 22))
    return path


def idx_claims(folder: Path) -> Path:
    (path := folder / "a").write_bytes(struct.pack(">HBBIII", 0, 8, 3, *(2**32 - 1,) * 3) + bytes(99))
    return path


def safetensors_header(folder: Path) -> Path:
    path = folder / "a.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 90_000_000) + b'{"a":' + b'{"a":' * 99)
        file.truncate(90_000_008)
    return path


def safetensors_claims(folder: Path) -> Path:
    """A file with a hole: it has 1 TiB, and takes one block."""
    size = 1 << 40
    head = json.dumps({"a": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}).encode()
    path = folder / "a.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(head)) + head)
        file.truncate(8 + len(head) + size)
    return path


def _torch(folder: Path, replace: dict[str, tuple[bytes, int]]) -> Path:
    torch.save({"weight": torch.ones(3)}, stream := io.BytesIO())
    with zipfile.ZipFile(stream) as archive:
        members = {name: (archive.read(name), 0) for name in archive.namelist()}
    found = {next(name for name in members if name.endswith(end)): value for end, value in replace.items()}
    return _zip(folder / "a.pt", members | found)


def pickle_memo(folder: Path) -> Path:
    """Lists of twice the list before: a hundred bytes each, and 2^100 items for who follows them."""
    steps = b"".join(b"](h%ch%ceq%c" % (number, number, number + 1) for number in range(100))
    return _torch(folder, {"data.pkl": (b"\x80\x02]q\x00" + steps + b".", 0)})


def pickle_numel(folder: Path) -> Path:
    torch.save({"weight": torch.ones(3)}, stream := io.BytesIO())
    with zipfile.ZipFile(stream) as archive:
        content = archive.read("archive/data.pkl").replace(b"K\x03\x85", b"J\xff\xff\xff\x7f\x85")
    return _torch(folder, {"data.pkl": (content, 0)})


def pickle_expands(folder: Path) -> Path:
    return _torch(folder, {"data/0": (b"", LARGE)})


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _png(folder: Path, width: int, height: int, *chunks: bytes) -> Path:
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    data = _chunk(b"IDAT", zlib.compress(bytes(1000))) + _chunk(b"IEND", b"")
    (path := folder / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + data)
    return path


def png_claims(folder: Path) -> Path:
    return _png(folder, 2**31 - 1, 2**31 - 1)


def png_profile(folder: Path) -> Path:
    return _png(folder, 4, 4, _chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(LARGE), 1)))


def tiff_expands(folder: Path) -> Path:
    Image.new("1", (20_000, 20_000)).save(path := folder / "a.tif", compression="group4")
    return path


def _onnx(operator: str, *given: int) -> Callable[[Path], Path]:
    """A network that adds a huge constant, made by an operator from a few numbers, to its logits."""

    def write(folder: Path) -> Path:
        def value(name: str, *sides: int) -> onnx.ValueInfoProto:
            return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, sides)

        weights = [onnx.numpy_helper.from_array(np.array(given, np.int64), "given")]
        weights.append(onnx.numpy_helper.from_array(np.zeros([1] * len(given), np.float32), "zero"))
        nodes = [
            onnx.helper.make_node(
                operator, ["given"] if operator == "ConstantOfShape" else ["zero", "given"], ["huge"]
            ),
            onnx.helper.make_node("ReduceSum", ["huge"], ["sum"], keepdims=0),
            onnx.helper.make_node("Flatten", ["images"], ["flat"]),
            onnx.helper.make_node("Add", ["flat", "sum"], ["logits"]),
        ]
        graph = onnx.helper.make_graph(nodes, "a", [value("images", 1, 1, 2, 2)], [value("logits", 1, 4)], weights)
        onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)]), folder / "a.onnx")
        return folder / "a.onnx"

    return write


def _text(name: str, text: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (path := folder / name).parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


def _hole(name: str) -> Callable[[Path], Path]:
    """A text file of 3 GiB that takes one block."""

    def write(folder: Path) -> Path:
        path = _text(name, '{"a": "')(folder)
        with path.open("r+b") as file:
            file.truncate(3 << 30)
        return path

    return write


def _read_weights(path: Path) -> None:
    fill(torch.nn.Linear(2, 2), read_content(path), path.name)


def _read_onnx(path: Path) -> object:
    return load_graph("onnx", path, (1, 2, 2), {})


def _read_npz(path: Path) -> object:
    return read_npz(path, 10)


def _read_picture(path: Path) -> object:
    return pictures.read([path], None, grey=False)


def _read_folder(read: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda path: read(path.parent)


DEEP = "[" * 200_000
BOMBS: dict[str, tuple[Callable[[Path], Path], Callable[[Path], Any]]] = {
    "npz that expands": (npz_expands, _read_npz),
    "npz that claims": (npz_claims, _read_npz),
    "gzip idx that expands": (idx_expands, read_idx),
    "idx that claims": (idx_claims, read_idx),
    "safetensors with a long header": (safetensors_header, _read_weights),
    "safetensors of 1 TiB": (safetensors_claims, _read_weights),
    "pickle of doubled lists": (pickle_memo, _read_weights),
    "pickle with a huge tensor": (pickle_numel, _read_weights),
    "torch file that expands": (pickle_expands, _read_weights),
    "index of deep JSON": (_text("a.index.json", f'{{"weight_map": {DEEP}'), _read_weights),
    "ONNX with a huge constant": (_onnx("ConstantOfShape", 1 << 20, 1 << 12), _read_onnx),
    "ONNX that expands": (_onnx("Expand", 1 << 20, 1 << 12), _read_onnx),
    "ONNX that tiles": (_onnx("Tile", 1 << 20, 1 << 12), _read_onnx),
    "PNG that claims": (png_claims, _read_picture),
    "PNG with a profile that expands": (png_profile, _read_picture),
    "TIFF that expands": (tiff_expands, _read_picture),
    "zoo.toml of deep lists": (_text("zoo.toml", f"a = {DEEP}"), _read_folder(read_zoo)),
    "zoo.toml of long keys": (_text("zoo.toml", "a." * 200_000 + "a = 1"), _read_folder(read_zoo)),
    "zoo.toml of 3 GiB": (_hole("zoo.toml"), _read_folder(read_zoo)),
    "entry of deep JSON": (_text("entry.json", DEEP), _read_folder(read_description)),
    "entry of 3 GiB": (_hole("entry.json"), _read_folder(read_description)),
    "config of deep JSON": (_text("config.json", DEEP), read_json),
    "config of 3 GiB": (_hole("config.json"), read_json),
    "published figures of deep JSON": (_text("cifar10/Linf/a.json", DEEP), read_published),
    "published figures of 3 GiB": (_hole("cifar10/Linf/a.json"), read_published),
}


if __name__ == "__main__":
    main()
