"""A local zoo as a folder."""

from pathlib import Path

from auditor.records import ZooEntry
from auditor.zoo.local import LocalZoo

HEAD = """\
[datasets.pets]
classes = ["cat", "dog", "cow"]
superclasses = { small = ["cat", "dog"], large = ["cow"] }
input_size = [3, 8, 8]

"""


MODEL = """\
[[models]]
name = "net"
weights = "net.safetensors"
dataset = "pets"
norm = "Linf"
eps = "8/255"
mean = [0.5, 0.5, 0.5]
std = [0.5, 0.5, 0.5]
architecture = { python = "nets.py:make" }
"""


CODE = 'raise RuntimeError("the folder\'s code ran")\n'


def zoo(folder: Path, text: str, code: str = CODE) -> LocalZoo:
    (folder / "zoo.toml").write_text(text)
    (folder / "nets.py").write_text(code)
    return LocalZoo(folder)


def changed(**changes: str | None) -> str:
    """The usual zoo.toml with some lines of its model replaced, removed (None) or added."""
    lines = dict(line.split(" = ", 1) for line in MODEL.splitlines()[1:])
    lines |= {key: value for key, value in changes.items() if value is not None}
    kept = [f"{key} = {value}" for key, value in lines.items() if changes.get(key, "") is not None]
    return HEAD + "\n".join(["[[models]]", *kept]) + "\n"


def only(folder: Path, text: str) -> ZooEntry:
    (entry,) = zoo(folder, text).entries()
    return entry
