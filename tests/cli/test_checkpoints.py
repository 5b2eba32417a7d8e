"""``auditor checkpoints``: its output and files, on synthetic rows."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner, Result

from auditor.cli import main
from auditor.errors import UsageError
from auditor.records.checkpoints import CheckpointRow
from auditor.zoo import find_source
from tests.factories.checkpoint_rows import NO_GAIN, NOT_AUDITED, row, written


def given(monkeypatch: pytest.MonkeyPatch, rows: Sequence[CheckpointRow]) -> None:
    """The database holds these checkpoints."""

    def load(_: Any, number: int) -> CheckpointRow:
        for one in rows:
            if one.id == number:
                return one
        raise UsageError(f"there is no checkpoint {number}; see `auditor checkpoints list`")

    module: Any = ModuleType("auditor.db.checkpoints")
    module.list_checkpoints, module.load_checkpoint = lambda _: list(rows), load
    monkeypatch.setitem(sys.modules, "auditor.db.checkpoints", module)


def ask(*words: str) -> Result:
    return CliRunner().invoke(main, ["checkpoints", *words])


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CheckpointRow:
    """A checkpoint without a significant gain whose audits are no longer there."""
    origin = next(entry for entry in find_source("demo").entries() if entry.model == "demo:standard")
    state = find_source("demo").load(origin).model.state_dict()
    one = written(tmp_path / "kept", state, origin, **NO_GAIN)
    given(monkeypatch, [one])
    return one


def test_the_list_for_people_and_for_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row(tmp_path), row(tmp_path, id=8, checkpoint="checkpoint:8", **NO_GAIN)]
    rows += [row(tmp_path, id=9, checkpoint="checkpoint:9", **NOT_AUDITED)]
    given(monkeypatch, rows)
    table = ask("list").stdout
    for words in (
        "41.0 → 47.0",
        "41.0 → 42.0",
        "– → –",
        "no significant gain",
        "at Linf 8/255, 10 steps, logits β 0.1",
    ):
        assert words in table, words
    listed = json.loads(ask("list", "--format", "json").stdout)
    assert [one["checkpoint"] for one in listed] == ["checkpoint:7", "checkpoint:8", "checkpoint:9"]
    assert listed[0]["history"][0]["loss"] is None


def test_an_empty_list(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, [])
    empty = ask("list")
    assert (empty.exit_code, empty.stdout) == (0, "")
    assert "no checkpoints" in empty.stderr
    assert json.loads(ask("list", "--format", "json").stdout) == []


@pytest.mark.usefixtures("stored")
def test_get_writes_the_folder_and_says_that_it_did_not_help(tmp_path: Path) -> None:
    done = ask("get", "checkpoint:7", "--out", str(tmp_path / "out"))
    assert done.exit_code == 0, done.output
    assert [Path(line).name for line in done.stdout.splitlines()] == ["model.safetensors", "config.json", "README.md"]
    assert done.stderr.startswith("No significant gain: against demo:standard")


@pytest.mark.usefixtures("stored")
def test_a_dry_run_for_the_hub(tmp_path: Path) -> None:
    words = ["get", "7", "--out", str(tmp_path / "out"), "--push-to-hub", "someone/robust"]
    done = ask(*words, "--dry-run")
    assert done.exit_code == 0, done.output
    assert "would create the public repository someone/robust" in done.stdout
    assert done.stdout.count("would upload") == 3


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["get", "99", "--out", "out"], "error: there is no checkpoint 99"),
        (["get", "seven", "--out", "out"], "expected the ID of a checkpoint"),
        (["get", "7", "--out", "out", "--dry-run"], "--private and --dry-run need --push-to-hub"),
        (["get", "7", "--out", "out", "--push-to-hub", "robust"], "expected a repository as OWNER/NAME"),
        (["get", "7", "--out", "kept"], "error: kept holds '7', which is not part of a checkpoint"),
        (["plot", "7", "-o", "run.txt"], "expected a file ending in .png"),
    ],
)
def test_invalid_options_print_one_line(words: list[str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auditor.cli.checkpoints._detail", lambda *_: None)
    done = ask(*words)
    assert done.exit_code == 2
    assert message in done.stderr.splitlines()[-1]
    assert not Path("out").exists()


@pytest.mark.usefixtures("stored")
def test_another_models_weights_in_its_folder(tmp_path: Path) -> None:
    (tmp_path / "kept" / "7" / "model.safetensors").write_bytes(b"other")
    done = ask("get", "7", "--out", str(tmp_path / "out"))
    assert done.exit_code == 1
    assert done.stderr.startswith("error: checkpoint:7: model.safetensors: expected SHA-256")


@pytest.mark.long
@pytest.mark.usefixtures("stored")
def test_plot_draws_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auditor.cli.checkpoints._detail", lambda *_: None)
    done = ask("plot", "7", "-o", str(tmp_path / "run.png"))
    assert done.exit_code == 0, done.output
    assert (tmp_path / "run.png").stat().st_size > 10_000
