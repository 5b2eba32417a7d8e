"""A zoo.toml, weights and data that nobody means well with: one line, soon, and the other models are audited."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import save_file
from torch import nn

from auditor.cli import main
from auditor.errors import UsageError
from auditor.text.printable import clean_line
from auditor.zoo.local import LocalZoo
from auditor.zoo.local.file_limits import MOST_BYTES
from tests.factories.hostile import HOSTILE
from tests.factories.local_zoo import HEAD, MODEL, changed, zoo

TEXTS: dict[str, tuple[str, str]] = {
    "an integer of 5,000 digits": ("a = " + "1" * 5000, "zoo.toml is not TOML: Exceeds the limit"),
    "such an eps": (changed(eps="1" * 5000), "zoo.toml is not TOML: Exceeds the limit"),
    "such a hexadecimal number": (changed(eps="0x" + "f" * 50_000), "models[0].eps: "),
    "a float of 5,000 digits": (changed(eps="0." + "1" * 5000 + "e999"), "expected a radius above 0"),
    "a key of 20,000 dots": ("a" + ".a" * 20_000 + " = 1", "expected keys of at most 50 parts"),
    "such a table": ("[" + "a." * 20_000 + "a]", "expected keys of at most 50 parts"),
    "such an array of tables": ("[[ a" + " . 'b c'" * 20_000 + " ]]", "expected keys of at most 50 parts"),
    "such a key in quotes": ('"a"' + '."a"' * 20_000 + " = 1", "expected keys of at most 50 parts"),
    "such a key in an inline table": ("x = { a" + ".a" * 20_000 + " = 1 }", "expected keys of at most 50 parts"),
    "keys one below the other": ("".join(f"[{'a.' * n}a]\n" for n in range(60)), "expected keys of at most 50 parts"),
    "lists 5,000 deep": ("a = " + "[" * 5000 + "]" * 5000, "zoo.toml is not TOML: tables or lists are nested too deep"),
    "lists 100 deep": ("a = " + "[" * 100 + "]" * 100, "expected at most 50 levels of nested tables and lists"),
    "inline tables 5,000 deep": ("a = " + "{a = " * 5000 + "1" + "}" * 5000, "nested too deep"),
    "inline tables 100 deep": ("a = " + "{a = " * 100 + "1" + "}" * 100, "at most 50 levels"),
    "arguments 60 deep": (changed(architecture=f"{{ timm = 'x', kwargs = {'{a = ' * 60}1{'}' * 61}"), "50 levels"),
    "40,000 unknown keys": (changed() + "".join(f"k{n} = 1\n" for n in range(40_000)), "more mistakes"),
    "a key of 100,000 letters": (changed(**{"k" * 100_000: "1"}), "models[0].kkk"),
    "a class 1,000 letters long": (HEAD.replace("cow", "c" * 1000) + MODEL, "expected a name of at most 200"),
    "a size beyond memory": (changed(input_size="[3, 1000000, 1000000]"), "expected [channels, height, width]"),
    "a size beyond integers": (changed(resize="9" * 400), "expected pixels"),
    "ESC in a key": (changed(**{'"\\u001b[2J"': "1"}), "models[0]. [2J: unknown key"),
    "a forged line in a key": (changed(**{'"x\\nzoo.toml:1: all is fine"': "1"}), "models[0].x zoo.toml:1"),
    "ESC outside of all tables": ('"\\u001b]0;title\\u0007" = 1\n' + changed(), "]0;title"),
    "bidi in a value": (changed(norm='"\\u202efnil"'), "models[0].norm: expected Linf, L2 or L1"),
    "a raw control character": (changed(description='"\x1b[2J"'), "expected printable characters, got U+001B"),
}  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("name", TEXTS)
def test_a_hostile_text_is_a_few_lines_and_soon(name: str, tmp_path: Path) -> None:
    text, message = TEXTS[name]
    started = time.monotonic()
    with pytest.raises(UsageError) as caught:
        zoo(tmp_path, text).entries()
    assert time.monotonic() - started < 120
    assert message in str(caught.value)
    lines = str(caught.value).split("\n")
    assert len(lines) <= 101
    assert all(len(line) < 700 and clean_line(line) == line for line in lines)


@pytest.mark.parametrize(
    "place", ["description", "threat_model", "data set", "its table", "class", "superclass", "name"]
)
@pytest.mark.parametrize("name", sorted(set(HOSTILE) - {"half of a pair"}))
def test_control_characters_are_refused_where_they_stand(name: str, place: str, tmp_path: Path) -> None:
    written = json.dumps(HOSTILE[name]).replace("\x7f", "\\u007f")
    text = {
        "description": changed(description=written),
        "threat_model": changed(threat_model=written),
        "data set": changed(dataset=f'{{ name = {written}, classes = ["x", "y"], input_size = [3, 8, 8] }}'),
        "its table": changed() + f"[datasets.{written}]\nclasses = ['x', 'y']\n",
        "class": changed(dataset=f'{{ classes = ["x", {written}], input_size = [3, 8, 8] }}'),
        "superclass": HEAD.replace("small", written) + MODEL,
        "name": changed(name=written),
    }[place]
    with pytest.raises(UsageError) as caught:
        zoo(tmp_path, text).entries()
    (line,) = str(caught.value).split("\n")
    assert clean_line(line) == line
    if place != "name":
        assert f"got U+{ord(HOSTILE[name][1]):04X}" in line


@pytest.mark.parametrize("key", ["description", "threat_model"])
@pytest.mark.parametrize("text", ["=1+1", "犬 – naïve", "سگ\u200cها"])
def test_text_of_any_script_is_taken(key: str, text: str, tmp_path: Path) -> None:
    (entry,) = zoo(tmp_path, changed(**{key: json.dumps(text, ensure_ascii=False)})).entries()
    assert getattr(entry, key) == text


def fifo(path: Path) -> None:
    os.mkfifo(path)


FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "pipe": (fifo, "expected a file, got a pipe, a socket or a device"),
    "folder": (Path.mkdir, "expected a file, got a folder"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "expected a file, got a pipe, a socket or a device"),
    "terminal": (lambda path: path.symlink_to("/dev/ptmx"), "expected a file, got a pipe, a socket or a device"),
    "link to itself": (lambda path: path.symlink_to(path.name), "Too many levels of symbolic links"),
    "two links to each other": (
        lambda path: (path.symlink_to("other"), path.with_name("other").symlink_to(path.name)),
        "Too many levels of symbolic links",
    ),
    "200 MB": (lambda path: (path.touch(), os.truncate(path, 200_000_000)), "expected at most 4 MB, got a larger file"),
    "just too large": (
        lambda path: path.write_bytes(b"#" * (MOST_BYTES + 1)),
        "expected at most 4 MB, got a larger file",
    ),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("command", ["scan", "zoo list"])
def test_a_zoo_toml_that_is_none(name: str, command: str, tmp_path: Path) -> None:
    make, message = FILES[name]
    make(tmp_path / "zoo.toml")
    result = CliRunner().invoke(main, [*command.split(), "local", str(tmp_path)])
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", FILES)
def test_code_that_is_none_or_nested(name: str, tmp_path: Path) -> None:
    zoo(tmp_path, changed())
    (tmp_path / "nets.py").unlink()
    FILES[name][0](tmp_path / "nets.py")
    if name in ("200 MB", "just too large"):
        return
    with pytest.raises(UsageError, match=r"zoo.toml:14: models\[0\].architecture.python: "):
        LocalZoo(tmp_path).entries()


@pytest.mark.parametrize("code", ["(" * 5000 + ")" * 5000, "-" * 100_000 + "1", "x = " + "[" * 90 + "]" * 90, "\0"])
def test_code_that_no_parser_takes_has_a_digest_all_the_same(code: str, tmp_path: Path) -> None:
    (entry,) = zoo(tmp_path, changed(), code).entries()
    assert len(entry.architecture["sha256"]) == 64


CODE = """\
from torch import nn


def make():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
"""
WEIGHTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "itself": (lambda path: path.symlink_to(path.name), "is a link to itself"),
    "circle": (
        lambda path: (path.symlink_to("round"), path.with_name("round").symlink_to(path.name)),
        "is a link to itself",
    ),
    "outside": (lambda path: path.symlink_to("/etc/passwd"), "leads out of the folder"),
    "dangling": (lambda path: path.symlink_to("nowhere"), "No such file or directory"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "leads out of the folder"),
    "pipe": (fifo, "expected a file, got a pipe, a socket or a device"),
    "folder": (Path.mkdir, "expected a file, got a folder"),
    "missing": (lambda _: None, "No such file or directory"),
    "long": (lambda _: None, "File name too long"),
}


@pytest.mark.long
def test_one_bad_model_fails_alone(tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(CODE)
    torch.manual_seed(0)
    save_file(nn.Sequential(nn.Flatten(), nn.Linear(784, 10)).state_dict(), tmp_path / "good")
    tables = []
    for name in ["good", *WEIGHTS, "also-good"]:
        file = "good" if "good" in name else "l" * 300 if name == "long" else name
        tables.append(
            f'[[models]]\nname = "{name}"\nweights = "{file}"\ndataset = "fashion_mnist"\nnorm = "Linf"\neps = 0.1\n'
            'mean = "none"\nstd = "none"\narchitecture = { python = "nets.py:make" }\n'
        )
        if name in WEIGHTS:
            WEIGHTS[name][0](tmp_path / name)
    (tmp_path / "zoo.toml").write_text("\n".join(tables))
    result: Result = CliRunner().invoke(
        main, ["scan", "local", str(tmp_path), "--trust-code", "--protocol", "screen", "--format", "json"]
    )
    assert result.exit_code == 1, result.output
    rows = {row["model"].removeprefix("local:"): row for row in json.loads(result.stdout)}
    assert {name for name, row in rows.items() if row["status"] == "done"} == {"good", "also-good"}
    for name, (_, message) in WEIGHTS.items():
        assert rows[name]["status"] == "failed"
        assert message in rows[name]["reason"]
        assert "\n" not in rows[name]["reason"]


DATA: dict[str, tuple[Callable[[Path], object], str]] = {
    "a pipe in place of a folder": (lambda path: fifo(path / "data"), "which is no existing file or folder"),
    "a device": (lambda path: (path / "data").symlink_to("/dev/zero"), "which is no existing file or folder"),
    "a link to itself": (lambda path: (path / "data").symlink_to("data"), "which is no existing file or folder"),
    "a pipe among the pictures": (
        lambda path: [
            (path / "data" / name).mkdir(parents=True) or fifo(path / "data" / name / "a.png") for name in "xy"
        ],
        "got 'a.png', which is a pipe, a device or a broken link",
    ),
    "a picture that links to itself": (
        lambda path: [
            (path / "data" / name).mkdir(parents=True) or (path / "data" / name / "a.png").symlink_to("a.png")
            for name in "xy"
        ],
        "got 'a.png', which is a pipe, a device or a broken link",
    ),
}


@pytest.mark.parametrize("name", DATA)
def test_data_that_are_none(name: str, tmp_path: Path) -> None:
    make, message = DATA[name]
    zoo(tmp_path, changed(dataset='{ path = "data", classes = ["x", "y"], input_size = [3, 8, 8] }'))
    make(tmp_path)
    result = CliRunner().invoke(main, ["scan", "local", str(tmp_path), "--trust-code"])
    assert (result.exit_code, result.stdout) == (3, "")
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_mistake_that_comes_later_fails_no_other_model(tmp_path: Path) -> None:
    text = (changed(mean='"none"', std='"none"') + changed(name='"other"').removeprefix(HEAD)).replace(
        "dataset", "#", 0
    )
    source = zoo(tmp_path, text)
    first, _ = source.entries()
    (tmp_path / "zoo.toml").write_text(text.replace('name = "other"', 'name = "other"\nepss = 1'))
    source = LocalZoo(tmp_path, trust_code=True)
    assert source._find_unchanged(first).entry == first
    with pytest.raises(UsageError, match="unknown key"):
        source.entries()
