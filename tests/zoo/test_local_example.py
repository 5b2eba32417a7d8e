"""The example with a real ImageNet network: the script runs, the weights fit, the pictures are recognized."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from auditor.data import CLASSES
from auditor.zoo.digest import state_dict_digest
from auditor.zoo.local import LocalZoo, timm_models
from auditor.zoo.normalized import Normalized
from auditor.zoo.weights import fill, read_checkpoint

SCRIPT = Path(__file__).parent.parent.parent / "examples" / "efficientnet_lite0.py"
DIGEST = "4c6ab284cc4816dfc9b6a38e08ed874a13ba7fd9ac224182a2bc72cd0e590a70"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("example") / "effnet"
    done = subprocess.run([sys.executable, str(SCRIPT), str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"auditor scan local {folder}\n"
    return folder


def _right(model: nn.Module, folder: Path) -> int:
    samples = np.load(folder / "samples.npz")
    assert (samples["images"].shape, samples["images"].dtype) == ((20, 224, 224, 3), np.uint8)
    images: Tensor = torch.from_numpy(samples["images"]).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        return int((model(images).argmax(1) == torch.from_numpy(samples["labels"])).sum())


@pytest.mark.long
def test_the_weights_fit_and_17_of_20_pictures_are_recognized(folder: Path) -> None:
    model = timm_models.create("tf_efficientnet_lite0", {})
    assert fill(model, read_checkpoint(folder / "efficientnet-lite0.safetensors"), "efficientnet-lite0") == ()
    assert state_dict_digest(model.state_dict()) == DIGEST
    assert _right(Normalized(model, [0.5] * 3, [0.5] * 3).eval(), folder) == 17


@pytest.mark.long
def test_it_is_a_local_zoo_on_imagenets_classes(folder: Path) -> None:
    (entry,) = LocalZoo(folder).entries()
    assert entry.own_data.classes == CLASSES["imagenet"]
    assert len(entry.own_data.classes) == 1000
    loaded = LocalZoo(folder).load(entry)
    assert (loaded.weights_sha256, loaded.notes) == (DIGEST, ())
    assert _right(loaded.model, folder) == 17


@pytest.mark.slow  # a thousand classes at 224 x 224: minutes
def test_from_scan_to_heatmap(folder: Path, tmp_path: Path) -> None:
    def auditor(*arguments: object) -> str:
        command = [sys.executable, "-m", "auditor", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    (row,) = json.loads(auditor("scan", "local", folder, "--samples", "20", "--format", "json"))
    assert (row["clean_accuracy"], row["robust_accuracy"], row["n"]) == (0.85, 0.0, 20)
    assert row["flags"] == ["rank_collapse"]
    assert row["weights_sha256"] == DIGEST
    assert 1 < row["effective_rank"] < 1.02
    auditor("results", "plot", "local:efficientnet-lite0", "-o", tmp_path / "heatmap.png")
    with Image.open(tmp_path / "heatmap.png") as picture:
        assert picture.size[0] > 1000
