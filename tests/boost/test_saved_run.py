"""A run's state on disk survives what may happen while it is written, and is never mistaken for another run."""

import dataclasses
import logging
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from auditor.boost import fine_tune
from auditor.boost.saved_run import SavedRun, run_key
from auditor.boost.task import _claim_folder
from auditor.errors import EnvironmentUnusableError
from auditor.records.boosts import OWNER, Recipe
from tests.factories.fine_tuning import RECIPE, SUPERCLASSES, halves, small_network

STATE = {"trainer": {"model": {"w": torch.arange(6.0)}, "random_cuda": None}, "history": [{"number": 0}], "best": None}


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    run = SavedRun(tmp_path / "runs" / "7.pt", "key")
    assert run.load() is None
    run.save(STATE)
    run.save(STATE | {"history": [1, 2]})
    found = run.load()
    assert found is not None
    assert found["history"] == [1, 2]
    assert torch.equal(found["trainer"]["model"]["w"], torch.arange(6.0))
    assert [file.name for file in run.path.parent.iterdir()] == ["7.pt"]
    run.discard()
    run.discard()
    assert run.load() is None


def test_another_runs_state_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    SavedRun(tmp_path / "7.pt", "key").save(STATE)
    with caplog.at_level(logging.WARNING):
        assert SavedRun(tmp_path / "7.pt", "other").load() is None
    assert "another run" in caplog.text


@pytest.mark.parametrize("content", [b"", b"<html>", "half"])
def test_a_damaged_file_is_not_used(tmp_path: Path, content: bytes | str, caplog: pytest.LogCaptureFixture) -> None:
    run = SavedRun(tmp_path / "7.pt", "key")
    run.save(STATE)
    whole = run.path.read_bytes()
    run.path.write_bytes(whole[: len(whole) // 2] if isinstance(content, str) else content)
    with caplog.at_level(logging.WARNING):
        assert run.load() is None
    assert "cannot read" in caplog.text
    run.save(STATE)
    assert run.load() is not None


def test_a_pipe_in_place_of_the_file_is_not_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    os.mkfifo(tmp_path / "7.pt")
    with caplog.at_level(logging.WARNING, "auditor.boost.saved_run"):
        assert SavedRun(tmp_path / "7.pt", "key").load() is None
    assert "expected a file, got a pipe" in caplog.text


@pytest.mark.parametrize("found", ["a pipe", "another text"])
def test_what_lies_in_place_of_the_owner_is_one_line(found: str, tmp_path: Path) -> None:
    (folder := tmp_path / "7").mkdir()
    if found == "a pipe":
        os.mkfifo(folder / OWNER)
    else:
        (folder / OWNER).write_bytes(b"\xff")
    options: dict[str, Any] = {"checkpoints": tmp_path, "number": 7, "owner": "me"}
    with pytest.raises(EnvironmentUnusableError, match=r"expected a file, got a pipe|checkpoint of another database"):
        _claim_folder(SimpleNamespace(**options))  # type: ignore[arg-type]


def test_a_full_disk_keeps_the_last_good_state(tmp_path: Path) -> None:
    """A file that may not grow stands for a disk that is full: the write fails half way."""
    run = SavedRun(tmp_path / "7.pt", "key")
    run.save(STATE)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(EnvironmentUnusableError, match=r"cannot save .*7\.pt: .*the last good state is kept"):
            run.save(STATE | {"best": {"w": torch.rand(1_000_000)}})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    found = run.load()
    assert found is not None
    assert found["best"] is None
    assert [file.name for file in tmp_path.iterdir()] == ["7.pt"]


@pytest.mark.skipif(os.geteuid() != 0, reason="a folder that cannot be made, for everybody")
def test_a_folder_that_cannot_be_made() -> None:
    with pytest.raises(EnvironmentUnusableError, match="cannot save"):
        SavedRun(Path("/proc/none/7.pt"), "key").save(STATE)


SAVER = """
import sys, torch
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from auditor.boost.saved_run import SavedRun
run = SavedRun(Path(sys.argv[1]), "key")
for number in range(10**9):
    run.save({"number": number, "twice": 2 * number, "best": {"w": torch.full((300_000,), float(number))}})
    print(number, flush=True)
"""


@pytest.mark.long
def test_killed_in_the_middle_of_a_save(tmp_path: Path) -> None:
    run = SavedRun(tmp_path / "7.pt", "key")
    for pause in (0.0, 0.003, 0.007):
        with subprocess.Popen([sys.executable, "-c", SAVER, str(run.path)], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            seen = [int(process.stdout.readline()) for _ in range(3)][-1]
            time.sleep(pause)
            process.kill()
        found = run.load()
        assert found is not None
        assert found["number"] >= seen
        assert found["twice"] == 2 * found["number"]
        assert torch.equal(found["best"]["w"], torch.full((300_000,), float(found["number"])))


@pytest.mark.parametrize(
    "change",
    [{"recipe": dataclasses.replace(RECIPE, seed=1)}, {"weights": "b"}, {"data": "b"}, {"versions": {"torch": "2"}}],
    ids=str,
)
def test_the_key_knows_what_decides_the_weights(change: dict) -> None:
    asked: dict = {"recipe": RECIPE, "weights": "a", "data": "a", "versions": {"torch": "1"}}
    assert run_key(*asked.values()) == run_key(*asked.values())
    assert run_key(*asked.values()) != run_key(*(asked | change).values())


def test_fine_tuning_goes_on_from_the_file(tmp_path: Path) -> None:
    training, validation = halves()
    recipe: Recipe = dataclasses.replace(RECIPE, epochs=3)
    run = SavedRun(tmp_path / "7.pt", run_key(recipe, "weights", "data", {}))
    whole = fine_tune(small_network(), training, validation, recipe, SUPERCLASSES)

    def interrupt(score: object) -> None:
        if score.number == 2:  # type: ignore[attr-defined]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fine_tune(
            small_network(),
            training,
            validation,
            recipe,
            SUPERCLASSES,
            on_epoch=interrupt,
            load=run.load,
            save=run.save,
        )
    epochs: list[int] = []
    resumed = fine_tune(
        small_network(), training, validation, recipe, SUPERCLASSES, load=run.load, save=run.save,
        on_epoch=lambda score: epochs.append(score.number),
    )  # fmt: skip
    assert epochs == [2, 3]
    assert all(torch.equal(whole.state[name], resumed.state[name]) for name in whole.state)
