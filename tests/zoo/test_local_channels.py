"""``channels`` in zoo.toml: what pictures become, from the table to figures."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import load_file, save_file

from auditor.audit.identity import identity
from auditor.cli import main
from auditor.data import load_images
from auditor.errors import UsageError
from auditor.records import AuditRequest, Transform
from auditor.zoo.demo import DemoZoo
from tests.factories import garden
from tests.factories.local_zoo import changed, only, zoo

NONE = {"mean": '"none"', "std": '"none"'}


@pytest.mark.parametrize(
    ("changes", "size", "transform"),
    [
        ({"dataset": '"fashion_mnist"', "channels": '"rgb"'}, (3, 28, 28), Transform(channels="rgb")),
        ({"dataset": '"fashion_mnist"', "channels": "3"}, (3, 28, 28), Transform(channels="rgb")),
        ({"dataset": '"fashion_mnist"', "input_size": "[3, 28, 28]"}, (3, 28, 28), None),
        ({"dataset": '"fashion_mnist"', "channels": '"grey"'}, (1, 28, 28), Transform(channels="grey")),
        ({"dataset": '"cifar10"', "channels": '"gray"'}, (1, 32, 32), Transform(channels="grey")),
        ({"dataset": '"cifar10"', "channels": "1"}, (1, 32, 32), Transform(channels="grey")),
        (
            {"dataset": '"cifar10"', "channels": '"grey"', "input_size": "[3, 32, 32]"},
            (3, 32, 32),
            Transform(channels="grey"),
        ),
        ({"channels": '"L"', "resize": '"none"'}, (3, 8, 8), Transform(channels="grey")),
        ({"channels": '"RGB"'}, (3, 8, 8), Transform(resize=8, crop=(8, 8), channels="rgb")),
    ],
)
def test_channels_of_pictures_and_of_the_input(
    tmp_path: Path, changes: dict, size: tuple[int, int, int], transform: Transform | None
) -> None:
    entry = only(tmp_path, changed(**(NONE | changes)))
    assert (entry.input_size, entry.transform) == (size, transform)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": '"bgr"'}, "models[0].channels: expected 'grey' or 'rgb' (1 or 3 channels), got 'bgr'"),
        ({"channels": "4"}, "got 4"),
        ({"channels": "true"}, "got True"),
        ({"channels": "[1]"}, "got [1]"),
        ({"channels": '"rgb"', "input_size": "[1, 8, 8]"}, "expected 'grey' for an input_size of [1, 8, 8], got 'rgb'"),
    ],
)
def test_channels_that_are_refused(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)) as caught:
        zoo(tmp_path, changed(**(NONE | changes))).entries()
    assert str(caught.value).startswith("zoo.toml:15: models[0].channels: ")


def test_the_identity_changes_with_the_numbers_alone() -> None:
    entry, request = DemoZoo().entries()[0], AuditRequest(protocol="quick")
    images = load_images("fashion_mnist", 20, channels=1)
    assert images.digest == load_images("fashion_mnist", 20).digest
    assert identity(entry, "w", request, images) == identity(entry, "w", request, load_images("fashion_mnist", 20))
    colour = load_images("fashion_mnist", 20, channels=3)
    assert identity(entry, "w", request, images) != identity(entry, "w", request, colour)


def _scan(folder: Path) -> dict[str, Any]:
    """The row of the only model, called as its folder."""
    text = (folder / "zoo.toml").read_text().replace('name = "plant"', f'name = "{folder.name}"')
    (folder / "zoo.toml").write_text(text)
    words = ["scan", "local", str(folder), "--trust-code", "--protocol", "quick", "--samples", "60"]
    result = CliRunner().invoke(main, [*words, "--format", "json"])
    (row,) = json.loads(result.stdout)
    return row


def _of_colours(folder: Path, more: str = "") -> Path:
    """The garden's zoo, its test images reddish."""
    garden.make(folder)
    with np.load(folder / "test.npz") as arrays:
        grey, labels = arrays["images"], arrays["labels"]
    colour = np.concatenate([grey, grey // 2, grey // 3], axis=3)
    np.savez(folder / "test.npz", images=colour, labels=labels)
    (folder / "zoo.toml").write_text(
        (folder / "zoo.toml").read_text().replace('mean = "none"', f'mean = "none"\n{more}')
    )
    return folder


@pytest.mark.long
def test_colours_for_a_grey_model_from_message_to_figures(tmp_path: Path) -> None:
    failed = _scan(_of_colours(tmp_path / "a"))
    assert failed["status"] == "failed"
    assert 'set channels = "grey" in zoo.toml to convert them' in failed["reason"]
    done = _scan(_of_colours(tmp_path / "b", 'channels = "grey"'))
    assert done["status"] == "done"
    folder = garden.make(tmp_path / "c")
    with np.load(tmp_path / "b" / "test.npz") as arrays:
        pictures = [np.asarray(Image.fromarray(image).convert("L")) for image in arrays["images"]]
        np.savez(folder / "test.npz", images=np.stack(pictures), labels=arrays["labels"])
    same = _scan(folder)
    assert (same["clean_accuracy"], same["robust_accuracy"]) == (done["clean_accuracy"], done["robust_accuracy"])


@pytest.mark.long
def test_grey_pictures_for_a_colour_model(tmp_path: Path) -> None:
    grey = _scan(garden.make(tmp_path / "grey"))
    folder = garden.make(tmp_path / "colour")
    state = load_file(folder / "plant.safetensors")
    save_file(state | {"0.weight": state["0.weight"].repeat(1, 3, 1, 1) / 3}, folder / "plant.safetensors")
    (folder / "nets.py").write_text(garden.CODE.replace("Conv2d(1,", "Conv2d(3,"))
    (folder / "zoo.toml").write_text((folder / "zoo.toml").read_text().replace("[1, 8, 8]", "[3, 8, 8]"))
    colour = _scan(folder)
    assert (colour["status"], colour["clean_accuracy"]) == ("done", grey["clean_accuracy"])
    assert any("repeated in the 3 channels" in note for note in colour["notes"])
