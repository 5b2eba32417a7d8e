"""Backup and restore with the commands of docs/operations.md: the results are equal afterwards."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

from tests.deploy.files import commands
from tests.factories.services import Cluster

INSIDE = "docker compose exec -T postgres "


def auditor(*arguments: str) -> str:
    """In a process of its own, which leaves no connection behind."""
    command = [sys.executable, "-m", "auditor", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def everything() -> list[object]:
    """Lists, details and matrices."""
    (row,) = json.loads(auditor("results", "list", "--format", "json"))
    return [row, auditor("results", "export"), auditor("scans", "list", "--format", "json")]


def scan() -> None:
    auditor("scan", "demo", "--protocol", "screen", "--limit", "1", "--here")


def lose(url: str) -> None:
    """What a disk that fails, or a wrong statement, takes away."""
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM clusterings"))
        connection.execute(text("UPDATE audits SET state = 'failed', latest_done = false"))


@pytest.mark.slow
def test_postgresql(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(tmp_path_factory.mktemp("cluster"), user="auditor")
    there = {**os.environ, "PGHOST": "127.0.0.1", "PGPORT": str(cluster.port)}
    backup, restore = commands("Backup and restore")[:2]

    def shell(lines: str) -> None:
        """As in the container: what is said to Docker itself is left out."""
        kept = [line for line in lines.splitlines() if line.startswith(INSIDE)]
        assert kept
        script = "\n".join(line.removeprefix(INSIDE) for line in kept)
        subprocess.run(["sh", "-eu"], input=script, text=True, env=there, cwd=tmp_path, check=True)

    try:
        subprocess.run(["createdb", "-U", "auditor", "auditor"], env=there, check=True)
        url = make_url(cluster.url).set(database="auditor")
        monkeypatch.setenv("AUDITOR_DATABASE_URL", url.render_as_string(hide_password=False))
        scan()
        before = everything()
        shell(backup)
        lose(url.render_as_string(hide_password=False))
        shell(restore)
        assert auditor("db", "check") == "no drift\n"
        assert everything() == before
    finally:
        cluster.stop()


@pytest.mark.long
@pytest.mark.sqlite
def test_sqlite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (line,) = [line for block in commands("Backup and restore") for line in block.splitlines() if "sqlite3" in line]
    name, statement = line.removeprefix("sqlite3 ").split(" ", 1)
    monkeypatch.setenv("AUDITOR_DATABASE_URL", f"sqlite:///{tmp_path / name}")
    scan()
    before = everything()
    with sqlite3.connect(name) as connection:  # a writer that is at work
        copying = sqlite3.connect(name)
        copying.execute(statement.strip('"'))
        copying.close()
    connection.close()
    lose(f"sqlite:///{tmp_path / name}")
    for leftover in tmp_path.glob(f"{name}-*"):
        leftover.unlink()
    shutil.copy("backup.db", name)
    assert auditor("db", "check") == "no drift\n"
    assert everything() == before
