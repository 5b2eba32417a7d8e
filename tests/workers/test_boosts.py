"""Boosts by workers: requested, followed, cancelled, and resumed after a worker is killed."""

import hashlib
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
    until(lambda: team.rows(query), seconds, f"training {number} ends; {team.read_log()}")
    return shown(team, number)


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_one_epoch_at_most(team: Team, zoo: Path, tmp_path: Path) -> None:
    """The second worker goes on, and comes to the weights of a run in one go."""
    handle, state = tmp_path / "hold", tmp_path / "checkpoints/1/run.pt"
    number = asked(team, zoo)
    first = team.worker(GARDEN_HOLD=str(handle))
    until(state.exists, 60, f"the model as it came is saved; {team.read_log()}")
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


def files(folder: Path) -> dict[str, str]:
    """The files of a checkpoint by name, as digests."""
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize("wakes", ["after the end", "while the other trains"])
def test_a_worker_frozen_past_its_lease_changes_nothing_when_it_wakes(
    team: Team, zoo: Path, tmp_path: Path, wakes: str
) -> None:
    """The broker is emptied meanwhile, too: the second worker hears of the boost by the database."""
    holds = [tmp_path / "hold-0", tmp_path / "hold-1"]
    state = tmp_path / "checkpoints/1/run.pt"
    number = asked(team, zoo)
    first = team.worker(GARDEN_HOLD=str(holds[0]))
    until(state.exists, 60, f"the model as it came is saved; {team.read_log()}")
    saved = state.stat().st_mtime_ns
    until(lambda: state.stat().st_mtime_ns > saved, 60, "an epoch is saved")
    holds[0].touch()
    (state.parent / "run.pt.7-cafe.part").write_bytes(b"what a process wrote that was killed")
    until(lambda: Path(f"{holds[0]}.seen").exists(), 60, "it is in the middle of an epoch")
    first.signal(signal.SIGSTOP, all_of_it=True)
    assert team.broker.ask("FLUSHALL") == "OK"
    if wakes == "while the other trains":
        holds[1].touch()
    second = team.worker(GARDEN_HOLD=str(holds[1]))
    if wakes == "while the other trains":
        until(lambda: Path(f"{holds[1]}.seen").exists(), 120, f"the other trains; {team.read_log()}")
        holds[0].unlink()
        first.signal(signal.SIGCONT, all_of_it=True)
        until(lambda: "taken" in first.read_log() or "lost" in first.read_log(), 60, f"it notices; {first.read_log()}")
        holds[1].unlink()
    row = ended(team, number)
    assert (row["state"], row["attempt"], row["verdict"]) == ("done", 2, "significant gain"), row["reason"]
    assert [score["number"] for score in row["history"]] == [0, 1, 2, 3]
    before = files(state.parent)
    if wakes == "after the end":
        holds[0].unlink()
        first.signal(signal.SIGCONT, all_of_it=True)
        until(lambda: "taken" in first.read_log() or "lost" in first.read_log(), 60, f"it notices; {first.read_log()}")
    first.signal(signal.SIGTERM)
    first.process.wait(60)
    assert files(state.parent) == before
    assert not [name for name in before if name.startswith("run.pt")]
    kept = {name: value for name, value in shown(team, number).items() if not name.startswith("part")}
    assert kept == {name: row[name] for name in kept}
    assert team.rows("SELECT id FROM scans WHERE state = 'running'") == []
    assert len(team.rows("SELECT id FROM checkpoints")) == 1
    whole = ended(team, asked(team, zoo))
    assert whole["weights_sha256"] == row["weights_sha256"]
    assert second.process.poll() is None


@pytest.mark.slow
def test_a_broker_emptied_again_and_again_changes_no_boost(team: Team, zoo: Path, tmp_path: Path) -> None:
    numbers = [asked(team, zoo) for _ in range(2)]
    team.broker.ask("FLUSHALL")
    hold = tmp_path / "hold"
    hold.touch()
    team.worker(GARDEN_HOLD=str(hold))
    until(lambda: Path(f"{hold}.seen").exists(), 120, f"the first trains; {team.read_log()}")
    team.broker.ask("FLUSHALL")
    hold.unlink()
    rows = [ended(team, number, 240) for number in numbers]
    assert [(row["state"], row["attempt"], row["losses"]) for row in rows] == [("done", 1, 0)] * 2
    assert rows[0]["weights_sha256"] == rows[1]["weights_sha256"]


@pytest.mark.long
def test_cancelled_while_it_is_queued_and_while_it_runs(team: Team, zoo: Path, tmp_path: Path) -> None:
    queued = asked(team, zoo)
    assert "is cancelled" in team.auditor("trainings", "cancel", queued).output
    handle = tmp_path / "hold"
    handle.touch()
    number = asked(team, zoo)
    team.worker(GARDEN_HOLD=str(handle))
    until(lambda: Path(f"{handle}.seen").exists(), 60, f"it trains; {team.read_log()}")
    assert "will end within seconds" in team.auditor("trainings", "cancel", number).output
    row = ended(team, number, 30)
    assert (row["state"], row["reason"]) == ("cancelled", "cancelled by its user")
    assert shown(team, queued)["state"] == "cancelled"
    # the worker has lived through both, and does the next; a cancelled boost can be resumed
    handle.unlink()
    result = team.auditor("trainings", "resume", number, "--queue", "--wait")
    assert result.exit_code == 0, result.output
    assert "significant gain" in result.output
    assert "epoch 3/3" in result.output


@pytest.mark.long
def test_a_worker_that_does_not_trust_code_fails_it_with_the_reason(team: Team, zoo: Path) -> None:
    number = asked(team, zoo)
    team.worker(trusting=False)
    row = ended(team, number)
    assert row["state"] == "failed"
    assert "does not trust" in row["reason"]


@pytest.mark.long
def test_an_adaptation_by_a_worker(team: Team) -> None:
    words = ["--source-images", 640, "--epochs", 1, "--held-out", 20, "--protocol", "quick", "--shots", "0,1"]
    team.worker()
    result = team.auditor("adapt", "standard", *words, "--queue", "--wait", "--format", "json")
    assert result.exit_code == 0, result.output
    (row,) = json.loads(result.stdout)
    assert (row["state"], row["queue"], row["attempt"]) == ("done", "cpu", 1)
    assert [score["shots"] for score in row["result"]["scores"]] == [0, 1]
