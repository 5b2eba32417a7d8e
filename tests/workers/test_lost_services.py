"""Brokers and databases that go away and come back, lose what they held, deliver twice, or have no room."""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from auditor.db.leases import Unsent
from auditor.jobs.queue import send
from tests.factories.services import Cluster, closed_at_the_end
from tests.workers.team import RabbitMQ, Redis, Team, make_team, until


@pytest.mark.slow
def test_redis_stopped_for_twenty_seconds(tmp_path: Path, own_broker: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    with make_team(tmp_path, own_broker, monkeypatch) as team:
        team.zoo.gate("held")
        team.zoo.add(*"abcdef")
        scan = team.scan("--protocol", "screen")
        team.worker("--processes", "2").ready()
        team.zoo.loading("held")
        own_broker.stop()
        time.sleep(20)
        own_broker.start()  # with nothing in it
        team.zoo.open("held")
        found = team.ended(scan)
        assert [row["state"] for row in found.values()] == ["done"] * 7
        assert found["held"]["attempt"] == 1, "losing the broker ends no audit"


@pytest.mark.slow
def test_redis_emptied_with_fifty_audits_queued(team: Team) -> None:
    names = [f"m{number}" for number in range(50)]
    team.zoo.add(*names)
    scan = team.scan("--protocol", "screen", "--sketch", "8")
    assert team.broker.ask("LLEN", "cpu") == "50"
    worker = team.worker("--processes", "2").ready()
    until(lambda: any(row["state"] == "done" for row in team.audits(scan).values()), 60, "the first is done")
    assert team.broker.ask("FLUSHALL") == "OK"
    found = team.ended(scan, 240)
    assert [row["state"] for row in found.values()] == ["done"] * 50
    assert "messages sent again" in worker.read_log()


@pytest.mark.long
def test_the_same_messages_delivered_twice_at_once(team: Team) -> None:
    names = [f"m{number}" for number in range(6)]
    team.zoo.add(*names)
    scan = team.scan("--protocol", "screen")
    audits = [row["audit"] for row in team.audits(scan).values()]
    send([Unsent(audit, 60) for audit in audits for _ in range(2)], "cpu")
    workers = [team.worker() for _ in range(2)]
    found = team.ended(scan)
    assert [(row["state"], row["attempt"]) for row in found.values()] == [("done", 1)] * 6
    until(lambda: sum(worker.read_log().count(": taken") for worker in workers) == 12, 30, "the others were refused")


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    yield made
    made.stop()


@pytest.mark.slow
def test_postgresql_restarted_during_a_scan(
    tmp_path: Path, cluster: Cluster, broker: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUDITOR_DATABASE_URL", f"{cluster.url}postgres")
    broker.ask("FLUSHALL")
    with closed_at_the_end("postgres"), make_team(tmp_path, broker, monkeypatch) as team:
        team.zoo.gate("held")
        team.zoo.add("a", "b")
        scan = team.scan("--protocol", "screen")
        worker = team.worker().ready()
        team.zoo.loading("held")
        cluster.stop()
        team.zoo.open("held")
        until(lambda: "waiting for the database" in worker.read_log(), 60, "the worker waits")
        time.sleep(8)  # more than two leases
        cluster.start()
        found = team.ended(scan)
        assert [(row["state"], row["attempt"]) for row in found.values()] == [("done", 1)] * 3


@pytest.fixture
def little_room(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    mounted = subprocess.run(
        [*sudo, "mount", "-t", "tmpfs", "-o", "size=8m,mode=0777", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"needs the right to mount a file system: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run([*sudo, "umount", "-l", folder], check=True)


@pytest.mark.slow
@pytest.mark.sqlite
@pytest.mark.parametrize("patience", [60, 1])
def test_a_full_disk_is_waited_for_and_then_tried_again(
    tmp_path: Path, little_room: Path, broker: Redis, monkeypatch: pytest.MonkeyPatch, patience: int
) -> None:
    monkeypatch.setenv("AUDITOR_DATABASE_URL", f"sqlite:///{little_room}/auditor.db")
    monkeypatch.setenv("AUDITOR_DATABASE_PATIENCE", str(patience))
    broker.ask("FLUSHALL")
    lease = 60 if patience > 3 else 3  # with patience nothing may depend on how long the disk stays full
    with make_team(tmp_path, broker, monkeypatch, lease=lease) as team:
        team.zoo.gate("held")
        scan = team.scan("--protocol", "quick", "--samples", "256")
        worker = team.worker().ready()
        team.zoo.loading("held")
        filler = little_room / "filler"
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"\0" * 4096)
        assert shutil.disk_usage(little_room).free == 0
        team.zoo.open("held")
        until(
            lambda: "disk is full" in worker.read_log() or "disk I/O error" in worker.read_log(), 60, worker.read_log()
        )
        time.sleep(1 if patience > 3 else 6)  # less than a lease, or two of them
        filler.unlink()
        found = team.ended(scan)["held"]
        assert found["state"] == "done"
        if patience > 3:
            assert found["attempt"] == 1


@pytest.mark.long
def test_rabbitmq_carries_the_same_messages(
    tmp_path: Path, rabbitmq: RabbitMQ, monkeypatch: pytest.MonkeyPatch
) -> None:
    with make_team(tmp_path, rabbitmq, monkeypatch) as team:
        team.zoo.add("a", "b")
        team.worker().ready()
        scan = team.scan("--protocol", "screen")
        found = team.ended(scan)
        assert [(row["state"], row["attempt"]) for row in found.values()] == [("done", 1)] * 2


def numbers(team: Team, scan: int) -> list[dict[str, Any]]:
    """What a scan has measured, to the last bit."""
    return team.rows(
        "SELECT m.name, a.state, a.clean_accuracy, a.robust_accuracy, a.weights_sha256, c.kind, c.gap, c.intra "
        "FROM scan_audits s JOIN audits a ON a.id = s.audit_id JOIN models m ON m.id = a.model_id "
        f"LEFT JOIN clusterings c ON c.audit_id = a.id WHERE s.scan_id = {scan} ORDER BY m.name, c.kind"
    )


@pytest.mark.slow
def test_rabbitmq_drops_its_connections_again_and_again(
    tmp_path: Path, rabbitmq: RabbitMQ, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--protocol", "quick", "--samples", "64")
    with make_team(tmp_path, rabbitmq, monkeypatch, lease=60) as team:
        team.zoo.gate("held")
        team.zoo.add(*"abcdef", function="slow", seconds=0.02)
        team.worker("--processes", "2").ready()
        scan = team.scan(*options)
        team.zoo.loading("held")
        cut = 0
        for _ in range(8):
            cut += rabbitmq.relay.cut()
            time.sleep(2)
        team.zoo.open("held")
        found = team.ended(scan, 240)
        assert cut >= 8, "the worker connected again each time"
        assert [(row["state"], row["attempt"]) for row in found.values()] == [("done", 1)] * 7
        again = team.scan(*options, "--force")
        assert {row["attempt"] for row in team.ended(again, 240).values()} == {1}
        assert numbers(team, again) == numbers(team, scan)


@pytest.mark.slow
def test_rabbitmq_is_purged_with_twenty_audits_queued(
    tmp_path: Path, rabbitmq: RabbitMQ, monkeypatch: pytest.MonkeyPatch
) -> None:
    with make_team(tmp_path, rabbitmq, monkeypatch) as team:
        team.zoo.gate("held")
        team.zoo.add(*(f"m{number}" for number in range(20)))
        options = ("--protocol", "screen", "--sketch", "8")
        scan = team.scan(*options)
        until(lambda: rabbitmq.waiting("cpu") == 21, 60, "all messages are there")
        worker = team.worker("--processes", "2").ready()
        team.zoo.loading("held")
        rabbitmq.purge("cpu")
        rabbitmq.relay.cut()  # and what the worker had taken comes back
        team.zoo.open("held")
        found = team.ended(scan, 240)
        assert [row["state"] for row in found.values()] == ["done"] * 21
        assert "messages sent again" in worker.read_log()
        again = team.scan(*options, "--force")
        team.ended(again, 240)
        assert numbers(team, again) == numbers(team, scan)
