"""An error of a model's code is one line with its file and line; ``--debug`` prints the traceback."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from auditor.cli import main
from auditor.config import settings
from tests.factories import garden

FAULTS = {
    "forward": ("        raise KeyError('no such branch')", "KeyError: 'no such branch' (at zoo/nets.py:"),
    "shapes": (
        "        return super().forward(x[:, :, 1:])",
        "RuntimeError: mat1 and mat2 shapes cannot be multiplied (2x448 and 512x4) (at zoo/nets.py:",
    ),
    "helper": ("        return helper.broken(x)", "ZeroDivisionError: division by zero (at zoo/helper.py:2)"),
}


def faulty(folder: Path, line: str) -> Path:
    """The garden's zoo with this as its network's ``forward``."""
    zoo = garden.make(folder)
    (zoo / "helper.py").write_text("def broken(x):\n    return 1 / 0\n")
    code = garden.CODE.replace("    def forward(self, x):\n", f"    def forward(self, x):\n{line}\n")
    (zoo / "nets.py").write_text(code.replace("from torch import nn\n", "from torch import nn\nimport helper\n"))
    return zoo


def scan(zoo: Path, *before: str) -> subprocess.CompletedProcess[str]:
    words = ("scan", "local", str(zoo), "--trust-code", "--protocol", "quick", "--samples", "8", "--here")
    return subprocess.run(
        [sys.executable, "-P", "-m", "auditor", *before, *words, "--format", "json"],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("fault", FAULTS)
def test_an_error_of_a_model_has_its_file_and_line(fault: str, tmp_path: Path) -> None:
    line, words = FAULTS[fault]
    result = scan(faulty(tmp_path / "zoo", line), *(["--debug"] if fault == "helper" else []))
    (row,) = json.loads(result.stdout)
    assert row["status"] == "failed"
    assert words in row["reason"]
    assert ("Traceback (most recent call last)" in result.stderr) == (fault == "helper")
    assert ("return 1 / 0" in result.stderr) == (fault == "helper")


def run(*words: str) -> Result:
    settings.cache_clear()
    return CliRunner().invoke(main, words)


@pytest.mark.parametrize(
    ("words", "variable", "value"),
    [
        (("results", "show", "nobody"), "AUDITOR_THREADS", "2"),
        (("results", "list"), "AUDITOR_DATABASE_URL", "postgresql://me:hunter2@127.0.0.1:1/x?password=swordfish"),
        (("results", "list"), "AUDITOR_THREADS", "many"),
    ],
)
def test_debug_shows_tracebacks_without_secrets(
    words: tuple[str, ...], variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUDITOR_DEBUG", "0")
    monkeypatch.setenv(variable, value)
    plain = run(*words)
    assert "Traceback" not in plain.output
    monkeypatch.delenv("AUDITOR_DEBUG")
    whole = run("--debug", *words)
    assert whole.exit_code == plain.exit_code != 0
    assert "Traceback (most recent call last)" in whole.output
    assert plain.output.splitlines()[-1] in whole.output
    for secret in ("hunter2", "swordfish"):
        assert secret not in plain.output + whole.output
    monkeypatch.delenv("AUDITOR_DEBUG", raising=False)


def test_an_unexpected_error_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise LookupError("redis://:hunter2@h\nand more")

    monkeypatch.setattr("auditor.db.session.open_database", fail)
    monkeypatch.setattr("auditor.cli.db.open_database", fail)
    result = run("results", "list")
    assert (result.exit_code, len(result.output.splitlines())) == (1, 1)
    assert "unexpected LookupError: redis://***@h; run `auditor --debug …` for the traceback" in result.output
