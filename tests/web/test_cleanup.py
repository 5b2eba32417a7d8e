"""What a dead process has left running ends when somebody looks."""

import json
import subprocess
import sys

import pytest

from auditor.config import settings
from auditor.db.session import open_database
from auditor.db.store import Store
from auditor.jobs.process_names import host_name, process_name
from tests.factories.records import REQUEST, entry
from tests.web.serving import client


def scan_of(worker: str) -> None:
    store = Store(open_database(settings().database_url))
    store.create_scan("demo", REQUEST, [entry("a")], worker=worker)


@pytest.fixture
def dead() -> str:
    """The name of a process of this machine that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return f"{host_name()}:{process.pid}"


@pytest.mark.parametrize("path", ["/api/v1/scans", "/api/v1/scans/1", "/scans", "/scans/1", "/api/v1/boosts"])
def test_whoever_looks_ends_it(dead: str, path: str) -> None:
    scan_of(dead)
    scan_of(process_name())
    server = client()
    assert server.get(path).status_code == 200
    states = {row["scan"]: row["state"] for row in server.get("/api/v1/scans").json()["scans"]}
    assert states == {1: "interrupted", 2: "running"}


def test_who_follows_is_told(dead: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auditor.web.cleanup.CHECK_SECONDS", 0.0)
    scan_of(dead)
    with client().stream("GET", "/api/v1/scans/1/events") as events:
        told = [json.loads(line.partition(": ")[2]) for line in events.iter_lines() if line.startswith("data:")]
    assert told[-1] == {"scan": 1, "state": "interrupted"}


def test_many_who_look_look_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[object] = []
    monkeypatch.setattr("auditor.web.cleanup.abandon_dead_scans", looks.append)
    server = client()
    for _ in range(5):
        server.get("/api/v1/scans")
    assert len(looks) == 1
