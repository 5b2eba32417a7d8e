"""Boosts by workers: asked for, followed, cancelled, and gone on with where a worker is killed."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from auditor.config import settings
from tests.factories import garden
from tests.workers.team import Redis, Team, make_team, until


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AUDITOR_CHECKPOINTS", str(tmp_path / "checkpoints"))
    settings.cache_clear()
    return garden.make(tmp_path / "garden")


@pytest.fixture
def team(tmp_path: Path, broker: Redis, zoo: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Team]:  # noqa: ARG001
    with make_team(tmp_path, broker, monkeypatch) as made:
        yield made


def asked(team: Team, zoo: Path, *options: object) -> int:
    result = team.auditor(*garden.boost(zoo, "--queue", *options))
    assert result.exit_code == 0, result.output
    return max(row["id"] for row in team.rows("SELECT MAX(id) AS id FROM trainings"))


def shown(team: Team, number: int) -> dict[str, Any]:
    (row,) = json.loads(team.auditor("trainings", "show", number, "--format", "json").stdout)
    return row


def ended(team: Team, number: int, seconds: float = 120) -> dict[str, Any]:
    query = f"SELECT state FROM trainings WHERE id = {number} AND state NOT IN ('queued', 'running')"
    until(lambda: team.rows(query), seconds, f"training {number} ends; {team.said()}")
    return shown(team, number)


def test_a_worker_that_is_killed_costs_one_epoch_at_most(team: Team, zoo: Path, tmp_path: Path) -> None:
    """The second worker goes on, and comes to the weights of a run in one go."""
    handle, state = tmp_path / "hold", tmp_path / "checkpoints/1/run.pt"
    number = asked(team, zoo)
    first = team.worker(GARDEN_HOLD=str(handle))
    until(state.exists, 60, f"the model as it came is saved; {team.said()}")
    saved = state.stat().st_mtime_ns
    until(lambda: state.stat().st_mtime_ns > saved, 60, "an epoch is saved")
    handle.touch()
    first.signal(signal.SIGKILL, all_of_it=True)
    team.worker()
    row = ended(team, number)
    # The second attempt saved an epoch: losses are counted since the last saved progress.
    assert (row["state"], row["attempt"], row["losses"]) == ("done", 2, 0), row["reason"]
    assert row["verdict"] == "significant gain"
    assert [score["number"] for score in row["history"]] == [0, 1, 2, 3]
    assert team.rows("SELECT id FROM scans WHERE state = 'running'") == []
    whole = ended(team, asked(team, zoo))
    assert whole["weights_sha256"] == row["weights_sha256"]


def test_cancelled_while_it_is_queued_and_while_it_runs(team: Team, zoo: Path, tmp_path: Path) -> None:
    queued = asked(team, zoo)
    assert "is cancelled" in team.auditor("trainings", "cancel", queued).output
    handle = tmp_path / "hold"
    handle.touch()
    number = asked(team, zoo)
    team.worker(GARDEN_HOLD=str(handle))
    until(lambda: Path(f"{handle}.seen").exists(), 60, f"it trains; {team.said()}")
    assert "will end within seconds" in team.auditor("trainings", "cancel", number).output
    row = ended(team, number, 30)
    assert (row["state"], row["reason"]) == ("cancelled", "cancelled by its user")
    assert shown(team, queued)["state"] == "cancelled"
    # the worker has lived through both, and does the next; what was cancelled can be gone on with
    handle.unlink()
    result = team.auditor("trainings", "resume", number, "--queue", "--wait")
    assert result.exit_code == 0, result.output
    assert "significant gain" in result.output
    assert "epoch 3/3" in result.output


def test_a_worker_that_does_not_trust_code_fails_it_with_the_reason(team: Team, zoo: Path) -> None:
    number = asked(team, zoo)
    team.worker(trusting=False)
    row = ended(team, number)
    assert row["state"] == "failed"
    assert "does not trust" in row["reason"]


def test_an_adaptation_by_a_worker(team: Team) -> None:
    words = ["--source-images", 640, "--epochs", 1, "--held-out", 20, "--protocol", "quick", "--shots", "0,1"]
    team.worker()
    result = team.auditor("adapt", "standard", *words, "--queue", "--wait", "--format", "json")
    assert result.exit_code == 0, result.output
    (row,) = json.loads(result.stdout)
    assert (row["state"], row["queue"], row["attempt"]) == ("done", "cpu", 1)
    assert [score["shots"] for score in row["result"]["scores"]] == [0, 1]
