"""A demo model as an ONNX file and as a program of torch.export: the original's verdicts and correlation."""

from pathlib import Path

import pytest
import torch

from auditor.audit.run import audit
from auditor.data import load_images
from auditor.linear import class_correlation
from auditor.records import AuditRecord, AuditRequest, JobContext, ZooEntry
from auditor.zoo.demo import DemoZoo
from auditor.zoo.local import LocalZoo
from auditor.zoo.source import LoadedModel
from tests.factories.graphs import write_onnx, write_program

TABLE = """\
[[models]]
name = "{name}"
weights = "{name}"
dataset = "fashion_mnist"
norm = "Linf"
eps = 0.1
mean = "none"
std = "none"
"""
SAMPLES = 64
C_TOLERANCE = 1e-5


@pytest.mark.long
@pytest.mark.parametrize("name", ["demo:at-eps0.10", "demo:standard"])
def test_the_same_verdicts_and_the_same_correlation_as_the_original(tmp_path: Path, name: str) -> None:
    demo = DemoZoo()
    origin = next(entry for entry in demo.entries() if entry.model == name)
    original = demo.load(origin)
    write_onnx(original.model, tmp_path / "net.onnx", size=(1, 28, 28))
    write_onnx(original.model, tmp_path / "raw.onnx", size=(1, 28, 28), optimize=False)
    write_program(original.model, tmp_path / "net.pt2", size=(1, 28, 28))
    files = ("net.onnx", "raw.onnx", "net.pt2")
    (tmp_path / "zoo.toml").write_text("\n".join(TABLE.format(name=file) for file in files))
    images = load_images("fashion_mnist", SAMPLES)

    def measure(entry: ZooEntry, loaded: LoadedModel) -> AuditRecord:
        return audit(entry, loaded, AuditRequest(protocol="quick"), images, JobContext())

    expected = measure(origin, original)
    assert expected.verdicts is not None
    zoo = LocalZoo(tmp_path, trust_code=True)
    for entry in zoo.entries():
        loaded = zoo.load(entry)
        found = measure(entry, loaded)
        assert found.verdicts is not None
        assert found.verdicts.correct.tolist() == expected.verdicts.correct.tolist()
        assert found.verdicts.survived.tolist() == expected.verdicts.survived.tolist()
        assert (found.clean_accuracy, found.robust_accuracy) == (expected.clean_accuracy, expected.robust_accuracy)
        batch_norm = "fold" if entry.model == "local:net.onnx" else "remove"  # torch.onnx folds it by default
        torch.testing.assert_close(
            class_correlation(loaded.model, (1, 28, 28)),
            class_correlation(original.model, (1, 28, 28), batch_norm=batch_norm),
            atol=C_TOLERANCE,
            rtol=0,
        )
