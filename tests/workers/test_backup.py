"""A backup that is taken while workers measure: restored, it is whole, and workers finish the scan from it."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from auditor.config import settings
from tests.deploy.files import commands
from tests.factories.services import Cluster, closed_at_the_end
from tests.workers.team import Redis, Team, make_team, until

INSIDE = "docker compose exec -T postgres "
OPTIONS = ("--protocol", "quick", "--samples", "64")


def numbers(team: Team) -> list[dict[str, Any]]:
    """What all audits have measured, to the last bit."""
    return team.rows(
        "SELECT m.name, a.state, a.clean_accuracy, a.robust_accuracy, a.weights_sha256, c.kind, c.gap, v.survived "
        "FROM audits a JOIN models m ON m.id = a.model_id LEFT JOIN clusterings c ON c.audit_id = a.id "
        "LEFT JOIN verdicts v ON v.audit_id = a.id ORDER BY m.name, c.kind"
    )


def check(team: Team, back_up: Callable[[], None], restore: Callable[[], None]) -> None:
    """Back up in the middle, let the scan end, restore, and let another worker end the scan again."""
    team.zoo.add("quick")
    team.zoo.gate("held")
    team.zoo.add("slow", function="slow", seconds=0.05)
    team.zoo.add("last")
    scan = team.scan(*OPTIONS)
    worker = team.worker("--processes", "2").ready()
    team.zoo.loading("held", 120)
    until(lambda: team.audits(scan)["quick"]["state"] == "done", 120, "one is done")
    until(lambda: team.rows("SELECT audit_id FROM attack_progress"), 120, f"one has saved progress; {team.read_log()}")
    back_up()
    team.zoo.open("held")
    assert {row["state"] for row in team.ended(scan, 240).values()} == {"done"}
    undisturbed = numbers(team)
    worker.signal(signal.SIGTERM)
    worker.process.wait(60)
    team.broker.ask("FLUSHALL")
    restore()
    assert team.auditor("db", "check").output == "no drift\n"
    states = {name: row["state"] for name, row in team.audits(scan).items()}
    assert states["quick"] == "done"
    assert states["held"] == "running"
    team.worker("--processes", "2").ready()
    found = team.ended(scan, 240)
    assert {row["state"] for row in found.values()} == {"done"}
    assert found["quick"]["attempt"] == 1
    assert found["held"]["attempt"] == 2
    assert numbers(team) == undisturbed


@pytest.mark.slow
@pytest.mark.sqlite
def test_sqlite(tmp_path: Path, broker: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    (line,) = [line for block in commands("Backup and restore") for line in block.splitlines() if "sqlite3" in line]
    restored = tmp_path / "restored" / "auditor.db"
    broker.ask("FLUSHALL")
    with make_team(tmp_path, broker, monkeypatch) as team:

        def back_up() -> None:
            subprocess.run(line, shell=True, check=True, cwd=tmp_path)

        def restore() -> None:
            restored.parent.mkdir()
            shutil.copy(tmp_path / "backup.db", restored)
            team.url = f"sqlite:///{restored}"
            monkeypatch.setenv("AUDITOR_DATABASE_URL", team.url)
            settings.cache_clear()

        if shutil.which("sqlite3") is None:
            pytest.skip("needs Debian's package sqlite3")
        check(team, back_up, restore)


@pytest.mark.slow
def test_postgresql(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, broker: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster(tmp_path_factory.mktemp("cluster"), user="auditor")
    there = {**os.environ, "PGHOST": "127.0.0.1", "PGPORT": str(cluster.port)}
    saving, restoring = commands("Backup and restore")[:2]

    def shell(lines: str) -> None:
        """As in the container: what is said to Docker itself is left out."""
        script = "\n".join(line.removeprefix(INSIDE) for line in lines.splitlines() if line.startswith(INSIDE))
        subprocess.run(["sh", "-eu"], input=script, text=True, env=there, cwd=tmp_path, check=True)

    broker.ask("FLUSHALL")
    try:
        subprocess.run(["createdb", "-U", "auditor", "auditor"], env=there, check=True)
        url = make_url(cluster.url).set(database="auditor").render_as_string(hide_password=False)
        monkeypatch.setenv("AUDITOR_DATABASE_URL", url)
        with closed_at_the_end("auditor"), make_team(tmp_path, broker, monkeypatch) as team:
            check(team, lambda: shell(saving), lambda: shell(restoring))
    finally:
        cluster.stop()
