"""``auditor init``: the layouts that people have, wrong answers, and interrupts."""

import contextlib
import json
import os
import pty
import select
import signal
import struct
import sys
import tomllib
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from auditor.cli import main
from auditor.zoo.local import LocalZoo
from tests.factories.command import run

CODE = """\
from torch import nn


class Net(nn.Sequential):
    def __init__(self, width=4):
        super().__init__(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 4))


def helper():
    return None
"""


def net(width: int = 4) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 4))


def arrays(count: int = 12, channels: int = 1) -> tuple[np.ndarray, np.ndarray]:
    pixels = np.random.default_rng(0).integers(0, 255, (count, 8, 8, channels), np.uint8)
    return pixels, np.arange(count) % 4


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "nets"
    place.mkdir()
    (place / "net.py").write_text(CODE)
    torch.save(net().state_dict(), place / "net.pt")
    images, labels = arrays()
    np.savez(place / "test.npz", images=images, labels=labels)
    return place


def use_python(_: Path) -> list[str]:
    return ["--weights", "net.pt", "--architecture", "net.py:Net"]


def use_arguments(folder: Path) -> list[str]:
    torch.save({"model": net(6).state_dict(), "epoch": 3}, folder / "wide.ckpt")
    return ["--weights", "wide.ckpt", "--architecture", "net.py:Net", "--argument", "width=6"]


def use_torchvision(folder: Path) -> list[str]:
    from torchvision.models import get_model

    torch.save(get_model("squeezenet1_1", num_classes=4).state_dict(), folder / "squeeze.pth")
    return ["--weights", "squeeze.pth", "--architecture", "torchvision:squeezenet1_1", "--input-size", "3x64x64"]


def use_a_bare_name(folder: Path) -> list[str]:
    return [word.removeprefix("torchvision:") for word in use_torchvision(folder)]


def use_timm(folder: Path) -> list[str]:
    import timm

    save_file(timm.create_model("test_byobnet", num_classes=4).state_dict(), folder / "timm.safetensors")
    return ["--weights", "timm.safetensors", "--architecture", "timm:test_byobnet", "--input-size", "3x64x64"]


def use_torchscript(folder: Path) -> list[str]:
    with warnings.catch_warnings(action="ignore"):  # TorchScript is deprecated, and people have it
        torch.jit.trace(net(), torch.zeros(1, 1, 8, 8)).save(str(folder / "net.ts"))
    return ["--weights", "net.ts", "--architecture", "net.py:Net", "--trust-code"]


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        (use_python, "net.py:Net"), (use_arguments, "net.py:Net"), (use_torchvision, "torchvision_network.py:make"),
        (use_a_bare_name, "torchvision_network.py:make"), (use_timm, "test_byobnet"), (use_torchscript, "net.py:Net"),
    ],
)  # fmt: skip
def test_models_as_people_have_them(folder: Path, model: Callable[[Path], list[str]], kind: str) -> None:
    result = run("init", folder, *model(folder), "--data", folder / "test.npz", "--no-try")
    assert result.exit_code == 0, result.output
    (entry,) = LocalZoo(folder, trust_code=True).entries()
    assert kind in (entry.architecture.get("python"), entry.architecture.get("timm"))
    assert LocalZoo(folder, trust_code=True).load(entry).model(torch.zeros(2, *entry.input_size)).shape == (2, 4)
    assert f"auditor scan local {folder}" in result.stdout


def pictures(folder: Path) -> tuple[str, ...]:
    for name in ("beagle", "pug", "persian", "siamese"):
        (folder / "pets" / "test" / name).mkdir(parents=True)
        for number in range(3):
            Image.new("L", (8, 8), 40 * number).save(folder / "pets" / "test" / name / f"{number}.png")
    return "pets", "--input-size", "1x8x8"


def idx(folder: Path) -> tuple[str, ...]:
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    images, labels = arrays()
    head = struct.pack(">HBBIII", 0, 8, 3, 12, 8, 8)
    (raw / "t10k-images-idx3-ubyte").write_bytes(head + images.tobytes())
    (raw / "t10k-labels-idx1-ubyte").write_bytes(struct.pack(">HBBI", 0, 8, 1, 12) + labels.astype(np.uint8).tobytes())
    return ("MNIST",)


@pytest.mark.long
@pytest.mark.parametrize(
    ("data", "classes"),
    [
        (lambda _: ("test.npz",), ["0", "1", "2", "3"]),
        (lambda _: ("test.npz", "--classes", "a,b,c,d", "--superclasses", "x=a,b; y=c,d"), ["a", "b", "c", "d"]),
        (pictures, ["beagle", "persian", "pug", "siamese"]),
        (idx, ["0", "1", "2", "3"]),
    ],
    ids=["npz", "named classes", "image folder", "idx"],
)
def test_data_as_people_have_them(folder: Path, data: Callable[[Path], tuple[str, ...]], classes: list[str]) -> None:
    place, *options = data(folder)
    result = run("init", folder, *use_python(folder), "--data", folder / place, *options, "--no-try")
    assert result.exit_code == 0, result.output
    table = tomllib.loads((folder / "zoo.toml").read_text())
    (dataset,) = table["datasets"].values()
    assert dataset["classes"] == classes
    assert dataset.get("superclasses", {}) == ({"x": ["a", "b"], "y": ["c", "d"]} if "x=a,b; y=c,d" in options else {})
    row = json.loads(run("zoo", "list", "local", folder, "--format", "json").stdout)[0]
    assert row["input_size"] == [1, 8, 8]
    screened = run("scan", "local", folder, "--trust-code", "--here", "--samples", "4", "--dry-run", "--format", "json")
    assert json.loads(screened.stdout)[0]["plan"] == "to do", screened.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"--weights": "no.pt"}, "--weights: there is no file 'no.pt'"),
        ({"--weights": "net.py"}, "--weights: net.py is no checkpoint by its first bytes"),
        (
            {"--architecture": "net.py:Nett"},
            "--architecture: net.py has no class or function 'Nett'; it has Net, helper",
        ),
        ({"--architecture": "net.py"}, "--architecture: expected FILE.py:CLASS, such as net.py:Net"),
        ({"--architecture": "resnet17"}, "--architecture: timm"),
        ({"--architecture": "resnet18"}, "the weights do not fit resnet18 of timm or torchvision with 4 classes"),
        ({"--data": "nowhere"}, "nowhere does not exist"),
        ({"--data": "net.py"}, "expected an .npz file, or idx files"),
        ({"--classes": "a,b"}, "--classes: expected 4 names or more, got 2"),
        ({"--superclasses": "x=0,1"}, "--superclasses: in no group: 2, 3"),
        ({"--normalize": "0.5,0.5/1,1"}, "--normalize: expected 1 means and deviations"),
        ({"--normalize": "imagenett"}, "--normalize: expected one of none, imagenet"),
        ({"--eps": "0,1"}, "--eps: expected a number"),
        ({"--name": "my net"}, "--name: expected letters"),
        ({"--input-size": "8x8"}, "--input-size: expected CHANNELSxHEIGHTxWIDTH"),
        ({"--argument": "width"}, "--argument: expected NAME=VALUE"),
        ({"--data": None}, "there is no terminal to ask on: add --data"),
        ({"--weights": None, "--architecture": None, "--data": None}, "add --weights, --architecture, --data"),
    ],
    ids=str,
)
def test_wrong_options_are_one_line_and_leave_nothing(
    folder: Path, options: dict[str, str | None], message: str
) -> None:
    before = sorted(folder.iterdir())
    right = {"--weights": "net.pt", "--architecture": "net.py:Net", "--data": str(folder / "test.npz")}
    words = [word for name, value in (right | options).items() if value is not None for word in (name, value)]
    result = run("init", folder, *words, "--no-try")
    assert result.exit_code in (1, 2, 3)
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert sorted(folder.iterdir()) == before


def test_nothing_is_overwritten_without_force(folder: Path) -> None:
    words = ["init", folder, *use_python(folder), "--data", folder / "test.npz", "--no-try"]
    (folder / "zoo.toml").write_text("mine")
    refused = run(*words)
    assert refused.exit_code == 2
    assert "zoo.toml exists and was not changed" in refused.stderr
    assert (folder / "zoo.toml").read_text() == "mine"
    assert run(*words, "--force").exit_code == 0
    assert "[[models]]" in (folder / "zoo.toml").read_text()


def answer(monkeypatch: pytest.MonkeyPatch, folder: Path, *lines: str) -> Result:
    monkeypatch.setattr("auditor.cli.init.is_interactive", lambda: True)
    return CliRunner().invoke(main, ["init", str(folder)], input="".join(f"{line}\n" for line in lines))


def test_wrong_answers_are_asked_again_with_the_reason(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["no.pt", "1", "nowhere", str(folder / "test.npz"), "a,b", "a,b,c,d", "x=a", "x=a,b;y=c,d", "resnet18",
             "Net", "width", "width=4", "timm", "none", "L3", "Linf", "0,1", "0.1", "a b", "mine", "n"]  # fmt: skip
    result = answer(monkeypatch, folder, *lines)
    assert result.exit_code == 0, result.output
    for reason in (
        "no file 'no.pt'", "nowhere does not exist", "expected 4 names", "in no group: b, c, d", "do not fit resnet18",
        "expected NAME=VALUE", "timm's values are known for networks of timm", "expected Linf or L2", "got '0,1'",
        "expected letters, digits",
    ):  # fmt: skip
        assert reason in result.stdout
    (entry,) = LocalZoo(folder).entries()
    assert (entry.model, entry.norm, entry.eps) == ("local:mine", "Linf", 0.1)
    assert "was not tried" in result.stdout


@pytest.mark.parametrize("answered", range(11))
def test_an_interrupt_leaves_nothing_half_written(folder: Path, monkeypatch: pytest.MonkeyPatch, answered: int) -> None:
    before = sorted(folder.iterdir())
    lines = ["net.pt", str(folder / "test.npz"), "", "", "net.py:Net", "", "none", "Linf", "0.1", "net"]
    result = answer(monkeypatch, folder, *lines[:answered])
    assert result.exit_code == 130
    assert sorted(folder.iterdir()) == before


def test_ctrl_c_at_a_real_terminal(folder: Path) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background jobs ignore it
        os.execv(sys.executable, [sys.executable, "-m", "auditor", "init", str(folder)])
    shown = b""
    while b"Weights [net.pt]: " not in shown and select.select([terminal], [], [], 60)[0]:
        shown += os.read(terminal, 4096)
    with contextlib.suppress(OSError):  # the other end is closed
        for _ in range(60):  # Python does not see a signal that comes just before it waits for input
            os.write(terminal, b"\x03")
            while select.select([terminal], [], [], 1)[0] and (part := os.read(terminal, 4096)):
                shown += part
    assert b"interrupted" in shown
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130
    assert not (folder / "zoo.toml").exists()


@pytest.mark.long
def test_a_model_that_cannot_be_tried_has_its_reason_and_the_next_step(folder: Path) -> None:
    (folder / "net.py").write_text(CODE.replace("64", "63"))
    result = run("init", folder, *use_python(folder), "--data", folder / "test.npz", "--trust-code")
    assert result.exit_code == 1
    assert "the model could not be tried; correct" in result.stderr
    assert (folder / "zoo.toml").exists()
