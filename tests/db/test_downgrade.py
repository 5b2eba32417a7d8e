"""``auditor db downgrade``: back to the tables of an older auditor, and up again, and all results are there."""

import json
from datetime import timedelta

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import update

from auditor.cli import main
from auditor.config import settings
from auditor.db import models as tables
from auditor.db.completion import now
from auditor.db.session import HEAD, current_revision, make_engine, open_database
from auditor.db.workers import WorkerStatus, report_worker


@pytest.fixture(autouse=True)
def _settings(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDITOR_DATABASE_URL", url)
    settings.cache_clear()


def auditor(*arguments: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(main, arguments, input=answer)


def revision(url: str) -> str | None:
    engine = make_engine(url)
    try:
        return current_revision(engine)
    finally:
        engine.dispose()


def test_down_and_up_again_keeps_results(url: str) -> None:
    scanned = auditor("scan", "demo", "--protocol", "screen", "--limit", "1", "--here")
    assert scanned.exit_code == 0, scanned.output
    before = json.loads(auditor("results", "list", "--format", "json").stdout)
    assert len(before) == 1
    down = auditor("db", "downgrade", "0003", "--yes")
    assert down.exit_code == 0, down.output
    assert f"revision {HEAD} -> 0003" in down.output
    assert revision(url) == "0003"
    assert auditor("db", "upgrade").exit_code == 0
    assert revision(url) == HEAD
    assert json.loads(auditor("results", "list", "--format", "json").stdout) == before


def test_it_asks_first(url: str) -> None:
    asked = auditor("db", "downgrade", "0003", answer="n\n")
    assert asked.exit_code == 1
    assert "Data that the older tables cannot store is lost" in asked.output
    assert revision(url) == HEAD
    assert auditor("db", "downgrade", "0003", answer="y\n").exit_code == 0
    assert revision(url) == "0003"


@pytest.mark.parametrize("wanted", ["0000", HEAD, "9999", "base", "-1"])
def test_only_revisions_below_will_do(url: str, wanted: str) -> None:
    result = auditor("db", "downgrade", "--yes", "--", wanted)
    assert result.exit_code == 2
    assert "there is 0001, 0002, 0003" in result.output
    assert revision(url) == HEAD


def test_not_while_a_worker_lives(url: str) -> None:
    engine = open_database(url)
    report_worker(engine, WorkerStatus(name="host:12", queue="cpu", device="cpu", started_at=now()))
    refused = auditor("db", "downgrade", "0003", "--yes")
    assert refused.exit_code == 2
    assert "host:12 sent a heartbeat within the last 30 s" in refused.output
    with engine.begin() as connection:
        connection.execute(update(tables.Worker).values(seen_at=now() - timedelta(minutes=5)))
    engine.dispose()
    assert auditor("db", "downgrade", "0003", "--yes").exit_code == 0
