"""``auditor scan local`` from zoo.toml to rows: what does not fit fails clearly, and the rest goes on."""

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import save_file
from torch import nn

from auditor.cli import main

CODE = """\
import torch
from torch import nn
from torch.nn import functional as F


class Net(nn.Module):
    def __init__(self, fault=""):
        super().__init__()
        self.fault = fault
        self.conv, self.head = nn.Conv2d(1, 8, 3, 4), nn.Linear(8 * 49, 10)

    def forward(self, x):
        features = self.conv(x).relu().flatten(1)
        if self.fault == "features":
            return features
        if self.fault == "map":
            return self.conv(x)
        if self.fault == "size":
            return self.head(self.conv(x[:, :, 4:]).flatten(1))
        if self.fault == "tuple":
            return self.head(features), features
        if self.fault == "batch":
            features = features - features.mean(0)
        return self.head(features)
"""
FAULTS = {
    "features": "expected 10 logits for fashion_mnist, got (N, 392): features instead of logits?",
    "map": "expected 10 logits for fashion_mnist, got (N, 8, 7, 7): features instead of logits?",
    "size": "the model does not take images of (1, 28, 28): ",
    "tuple": "expected logits (N, 10), got tuple, not a tensor",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "zoo"
    folder.mkdir()
    (folder / "nets.py").write_text(CODE)
    scope: dict = {}
    exec(CODE, scope)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: nn.Module = scope["Net"]()
    save_file(model.state_dict(), folder / "w.safetensors")
    tables = [
        f'[[models]]\nname = "{fault or "fine"}"\nweights = "w.safetensors"\ndataset = "fashion_mnist"\nnorm = "Linf"\n'
        f'eps = 0.1\nmean = [0.2860]\nstd = [0.3530]\narchitecture = {{ python = "nets.py:Net", '
        f'kwargs = {{ fault = "{fault}" }} }}\n'
        for fault in ("", "batch", *FAULTS)
    ]
    (folder / "zoo.toml").write_text("\n".join(tables))
    return folder


def scan(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["scan", "local", str(folder), "--format", "json", *arguments])


def test_a_zoo_with_code_is_refused_without_trust(folder: Path) -> None:
    result = scan(folder, "--protocol", "screen")
    assert result.exit_code == 2
    assert "local:fine, local:batch" in result.stderr
    assert "--trust-code" in result.stderr
    assert result.stdout == ""


@pytest.mark.long
@pytest.mark.parametrize("protocol", ["screen", "quick"])
def test_each_model_ends_as_it_should(folder: Path, protocol: str) -> None:
    samples = () if protocol == "screen" else ("--samples", "20")
    result = scan(folder, "--trust-code", "--protocol", protocol, *samples)
    assert result.exit_code == 1, result.stderr
    rows = {row["model"].removeprefix("local:"): row for row in json.loads(result.stdout)}
    assert rows["fine"]["status"] == rows["batch"]["status"] == "done"
    assert rows["fine"]["flags"] == rows["fine"]["not_measurable"] == []
    assert rows["fine"]["affinity_error"] < 1e-4  # the normalization is linearized, too
    assert ("batch_dependent" in rows["batch"]["flags"]) == (protocol == "quick")
    for fault, reason in FAULTS.items():
        assert rows[fault]["status"] == "failed"
        assert rows[fault]["reason"].startswith(f"local:{fault}: {reason}")


def test_a_folder_is_needed_and_mistakes_end_in_one_message(folder: Path) -> None:
    without = CliRunner().invoke(main, ["scan", "local"])
    assert (without.exit_code, "expected the folder of a local zoo" in without.stderr) == (2, True)
    (folder / "zoo.toml").write_text((folder / "zoo.toml").read_text().replace("norm", "nrom"))
    listed = CliRunner().invoke(main, ["zoo", "list", "local", str(folder)])
    assert listed.exit_code == 2
    assert listed.stderr.startswith(
        "error: zoo.toml:1: models[0].norm: missing: Linf, L2 or L1\nzoo.toml:5: models[0].nrom"
    )
