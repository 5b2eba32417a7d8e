"""``auditor boost --here``: from a model to a checkpoint with proof, interrupts, and invalid options."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from sqlalchemy import create_engine, text

from auditor.cli import main
from auditor.config import settings
from auditor.db.session import open_database
from auditor.db.trainings import Trainings
from auditor.errors import MeasurementError
from auditor.statistics import mcnemar
from auditor.trainings.boost import compare
from auditor.zoo import find_source
from tests.factories import garden


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AUDITOR_CHECKPOINTS", str(tmp_path / "checkpoints"))
    settings.cache_clear()
    return garden.make(tmp_path / "zoo")


def auditor(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def boosted(zoo: Path, *options: object) -> dict[str, Any]:
    result = auditor(*garden.boost(zoo, "--format", "json", *options))
    assert result.exit_code == 0, result.output
    (row,) = json.loads(result.stdout)
    return row


@pytest.mark.long
def test_a_model_is_boosted_and_its_checkpoint_has_proof(zoo: Path, tmp_path: Path) -> None:
    row = boosted(zoo)
    assert (row["state"], row["checkpoint"], row["model"]) == ("done", "checkpoint:1", "local:plant")
    before, after, found = row["before"], row["after"], row["comparison"]
    assert after["n"] == before["n"] == found["n"] == 60
    assert after["robust_accuracy"] > before["robust_accuracy"] + 0.2
    gained = round(60 * (after["robust_accuracy"] - before["robust_accuracy"]))
    assert found["only_after"] - found["only_before"] == gained
    assert found["p_value"] == pytest.approx(mcnemar(found["only_after"], found["only_before"]))
    assert row["verdict"] == "significant gain"
    assert [score["number"] for score in row["history"]] == [0, 1, 2, 3]
    best = max(row["history"][1:], key=lambda score: (score["pgd_accuracy"], score["clean_accuracy"]))
    assert row["best"] == best["number"]
    # the audits are of the models that the row names
    rows = json.loads(auditor("results", "list", "--format", "json").stdout)
    assert {one["model"]: one["weights_sha256"] for one in rows} == {
        "local:plant": row["parent_sha256"],
        "checkpoint:1": row["weights_sha256"],
    }
    # nothing but the checkpoint is left in its folder, and it is a model of a zoo
    left = sorted(path.name for path in (tmp_path / "checkpoints/1").iterdir())
    assert left == ["entry.json", "model.safetensors", "owner"]
    source = find_source("checkpoint", tmp_path / "checkpoints", trust_code=True)
    (entry,) = source.entries()
    pixels, labels = garden.images(2, 80)
    with torch.no_grad():
        logits = source.load(entry).model(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255)
    right = (logits.argmax(1).numpy() == labels)[:60].mean()
    assert right == pytest.approx(after["clean_accuracy"])
    # and SQL knows it
    with create_engine(os.environ["AUDITOR_DATABASE_URL"]).connect() as connection:
        seen = connection.execute(text("SELECT id, model, verdict, robust_after, gap_after FROM boosts")).one()
    assert tuple(seen) == (1, "local:plant", "significant gain", after["robust_accuracy"], after["gap"])


@pytest.mark.slow
def test_a_checkpoint_is_boosted_again_and_knows_its_line(zoo: Path) -> None:
    boosted(zoo)
    words = garden.boost(zoo, "--format", "json", "--epochs", 1, "--lr", 1e-6, "--beta", 0)
    words[1] = "checkpoint:1"
    del words[2:4]  # the zoo is known from the checkpoint
    result = auditor(*words)
    assert result.exit_code == 0, result.output
    (row,) = json.loads(result.stdout)
    assert row["lineage"] == ["local:plant", "checkpoint:1"]
    # a tiny learning rate gives no gain, and the verdict says so
    assert row["verdict"] == "no significant gain"
    shown = auditor("trainings", "show", 2)
    assert "no significant gain: robust accuracy" in shown.output
    assert "no significant gain" in auditor("checkpoints", "list").output
    # the checkpoint is exported with its verdict, and its curves are plotted
    got = auditor("checkpoints", "get", 2, "--out", zoo / "out")
    assert got.exit_code == 0, got.output
    card = (zoo / "out/README.md").read_text()
    assert "no significant gain" in card.lower()
    assert row["parent_sha256"] in card
    assert sorted(path.name for path in (zoo / "out").iterdir()) == ["README.md", "config.json", "model.safetensors"]
    plotted = auditor("checkpoints", "plot", 2, "-o", zoo / "curves.png")
    assert plotted.exit_code == 0, plotted.output
    assert (zoo / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights(zoo: Path) -> None:
    first, again, other = (boosted(zoo, "--seed", seed)["weights_sha256"] for seed in (5, 5, 6))
    assert first == again != other


CASES = [
    (["--beta", "-1"], 2, "expected beta from 0 to inf, got -1"),
    (["--eps", "1.5"], 2, "expected an Linf radius of at most 1"),
    (["--data", "nowhere.npz"], 2, "--data: no such file or folder: nowhere.npz"),
    (["--protocol", "screen"], 2, "--protocol screen runs no attack"),
    (["--lr", "nan"], 2, "expected a finite number"),
    (["--lr", "0"], 2, "expected a learning rate"),
    (["--device", "cuda"], 3, "cuda"),
    (["--wait"], 2, "--wait needs --queue"),
]


@pytest.mark.parametrize(("options", "code", "message"), CASES)
def test_invalid_options_print_one_line_and_store_no_job(
    zoo: Path, options: list[str], code: int, message: str
) -> None:
    result = auditor(*garden.boost(zoo, *options))
    assert (result.exit_code, message in result.output) == (code, True), result.output
    assert "Traceback" not in result.output
    assert auditor("trainings", "list").output.strip() == "no boosts or adaptations"


@pytest.mark.parametrize("model", ["plants", "garden:plant", "local:rose"])
def test_an_unknown_model(zoo: Path, model: str) -> None:
    words = garden.boost(zoo)
    words[1] = model
    result = auditor(*words)
    assert result.exit_code == 2
    assert len(result.output.strip().splitlines()) == 1


def failing(zoo: Path, message: str, *options: object) -> None:
    """The boost fails with its reason, which is stored, and exits with 1."""
    result = auditor(*garden.boost(zoo, *options))
    assert result.exit_code == 1, result.output
    assert message in result.output
    assert "Traceback" not in result.output
    (row,) = json.loads(auditor("trainings", "list", "--format", "json").stdout)
    assert row["state"] == "failed"
    assert message in row["reason"]


@pytest.mark.long
def test_no_training_data(zoo: Path) -> None:
    words = garden.boost(zoo)
    at = words.index("--data")
    result = auditor(*words[:at], *words[at + 2 :])
    assert result.exit_code == 1
    assert "the training images of garden have no default location: pass --data PATH" in result.output


@pytest.mark.long
def test_test_images_among_the_training_images(zoo: Path) -> None:
    pixels, labels = garden.images(1, 240)
    others, _ = garden.images(2, 80)
    np.savez(zoo / "mixed.npz", images=np.concatenate([pixels, others]), labels=np.concatenate([labels, labels[:80]]))
    failing(zoo, "test", "--data", zoo / "mixed.npz")


@pytest.mark.long
@pytest.mark.usefixtures("zoo")
def test_one_superclass_only(tmp_path: Path) -> None:
    one = garden.make(tmp_path / "one", supers='{ plant = ["oak", "elm", "rose", "lily"] }')
    failing(one, "superclass", "--regularizer", "linear")


@pytest.mark.long
def test_classes_that_do_not_match_the_head(zoo: Path) -> None:
    toml = (zoo / "zoo.toml").read_text()
    (zoo / "zoo.toml").write_text(toml.replace('"lily"]', '"lily", "iris"]'))
    failing(zoo, "expected logits (N, 5)")


def run(zoo: Path, tmp_path: Path, **environment: str) -> subprocess.Popen[str]:
    """``auditor boost`` as a process that can be killed."""
    command = [sys.executable, "-m", "auditor", *garden.boost(zoo, "--format", "json")]
    return subprocess.Popen(
        command, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    )


def _end(process: subprocess.Popen[str], kind: int) -> None:
    """Interrupt it, and again, as people do: Python may lose an interrupt that comes while it frees an object."""
    try:
        for _ in range(12):
            process.send_signal(kind)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=10)
                return
        raise AssertionError("it does not end")
    finally:
        process.kill()


def until(true: Any, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_or_killed_boost_resumes_to_the_same_weights(zoo: Path, tmp_path: Path, kind: int) -> None:
    whole = boosted(zoo)
    handle = tmp_path / "hold"
    state = tmp_path / "checkpoints/2/run.pt"
    process = run(zoo, tmp_path, GARDEN_HOLD=str(handle))
    until(lambda: state.exists())  # the model as it came is saved
    saved = state.stat().st_mtime_ns
    until(lambda: state.stat().st_mtime_ns > saved)  # and an epoch
    handle.touch()
    _end(process, kind)
    assert process.returncode == (-signal.SIGKILL if kind == signal.SIGKILL else 130)
    handle.unlink()
    rows = json.loads(auditor("trainings", "list", "--format", "json").stdout)
    assert rows[0]["state"] == "cancelled", rows[0]
    result = auditor("trainings", "resume", 2, "--format", "json")
    assert result.exit_code == 0, result.output
    (row,) = json.loads(result.stdout)
    assert row["weights_sha256"] == whole["weights_sha256"]
    assert [one["number"] for one in row["history"]] == [0, 1, 2, 3]
    assert row["comparison"]["p_value"] == whole["comparison"]["p_value"]


@pytest.mark.long
def test_another_database_does_not_overwrite_a_checkpoint(
    zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boosted(zoo, "--epochs", 1)
    weights = (tmp_path / "checkpoints/1/model.safetensors").read_bytes()
    monkeypatch.setenv("AUDITOR_DATABASE_URL", f"sqlite:///{tmp_path}/other.db")
    settings.cache_clear()
    failing(zoo, "holds a checkpoint of another database: set AUDITOR_CHECKPOINTS", "--seed", 1)
    assert (tmp_path / "checkpoints/1/model.safetensors").read_bytes() == weights


@pytest.mark.long
def test_audits_of_other_weights_are_no_proof(zoo: Path) -> None:
    """Two audits that are there, and the digests that they must be of."""
    row = boosted(zoo, "--epochs", 1)
    trainings = Trainings(open_database(os.environ["AUDITOR_DATABASE_URL"]))
    before, after = (row[name]["audit"] for name in ("before", "after"))
    found = compare(trainings, (before, row["parent_sha256"]), (after, row["weights_sha256"]))
    assert found.p_value == row["comparison"]["p_value"]
    with pytest.raises(MeasurementError, match="measured other weights of checkpoint:1 than the training used"):
        compare(trainings, (before, row["parent_sha256"]), (after, row["parent_sha256"]))


@pytest.mark.long
def test_a_boost_of_a_lost_process_can_be_resumed(zoo: Path) -> None:
    """Killed between its row and its claim; or its process is lost on another machine."""
    boosted(zoo, "--epochs", 1)
    engine = create_engine(os.environ["AUDITOR_DATABASE_URL"])
    with engine.begin() as connection:
        connection.execute(text("UPDATE trainings SET state = 'queued', attempt = 0"))
    assert auditor("trainings", "resume", 1).exit_code == 0
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE trainings SET state = 'running', worker = 'elsewhere:1', lease_until = '2020-01-01 00:00:00'")
        )
    assert "is cancelled" in auditor("trainings", "cancel", 1).output
    with engine.begin() as connection:
        connection.execute(text("UPDATE trainings SET request = '{}' WHERE id = 1"))
    result = auditor("trainings", "resume", 1)
    assert (result.exit_code, "another version of auditor" in result.output) == (2, True), result.output
    assert json.loads(auditor("trainings", "show", 1, "--format", "json").stdout)[0]["state"] == "cancelled"


@pytest.mark.long
def test_a_boost_that_has_ended_is_not_resumed_or_cancelled(zoo: Path) -> None:
    boosted(zoo, "--epochs", 1)
    assert "only failed or cancelled jobs can be resumed" in auditor("trainings", "resume", 1).output
    assert "has already ended: done" in auditor("trainings", "cancel", 1).output
    for command in ("show", "cancel", "resume", "follow"):
        result = auditor("trainings", command, 99)
        assert (result.exit_code, "there is no boost or adaptation 99" in result.output) == (2, True)
