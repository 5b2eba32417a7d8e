"""``auditor db downgrade``: back to the tables of an older auditor, and up again, and all results are there."""

import json
import re
from datetime import timedelta

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import text, update

from auditor.cli import main
from auditor.config import settings
from auditor.db import models as tables
from auditor.db.downgrades import LOSSES
from auditor.db.ending import now
from auditor.db.session import HEAD, current_revision, make_engine, migrations_folder, open_database
from auditor.db.workers import WorkerStatus, report_worker

pytestmark = pytest.mark.migrations


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


@pytest.mark.long
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
    lost = dict.fromkeys(("screen_score", "margin", "local_gap", "data_margin"))
    assert json.loads(auditor("results", "list", "--format", "json").stdout) == [row | lost for row in before]


VERDICTS = "SELECT audit_id, n, indices, correct, survived FROM verdicts ORDER BY audit_id"


def stored_verdicts(url: str) -> list[tuple[object, ...]]:
    engine = make_engine(url)
    try:
        with engine.connect() as connection:
            return [(row[0], row[1], *map(bytes, row[2:])) for row in connection.execute(text(VERDICTS))]
    finally:
        engine.dispose()


@pytest.mark.long
def test_to_the_first_revision_and_back_keeps_verdicts_and_says_what_is_lost(url: str) -> None:
    scan = ("scan", "demo", "--protocol", "quick", "--samples", "20", "--limit", "2", "--here")
    assert auditor(*scan).exit_code == 0
    assert auditor("scan", "demo", "--protocol", "screen", "--limit", "1", "--sketch", "8", "--here").exit_code == 0
    assert auditor("schedule", "add", "nightly", "--cron", "0 2 * * *", "--", "scan", "demo").exit_code == 0
    assert auditor("tokens", "add", "me", "--scope", "read").exit_code == 0
    rows = {row["id"]: row for row in json.loads(auditor("results", "list", "--format", "json").stdout)}
    attacked = [row for row in rows.values() if row["protocol"] == "quick"]
    before = stored_verdicts(url)
    assert len(before) == len(attacked) == 2
    down = auditor("db", "downgrade", "0001", "--yes")
    assert down.exit_code == 0, down.output
    lines = [line.removeprefix("this downgrade loses ") for line in down.stderr.splitlines() if "loses" in line]
    assert [line.partition(";")[0].partition(",")[0] for line in lines] == [
        "5 pictures of templates",
        "2 records of true and predicted classes",
        "3 screenings of models",
        "1 tokens of the HTTP API",
        "1 schedules",
        "1 sketches",
        "2 digests of an audit's images",
        "2 digests of each image of verdicts",
    ]
    assert revision(url) == "0001"
    assert stored_verdicts(url) == before
    assert auditor("db", "upgrade").exit_code == 0
    assert auditor("db", "check").output == "no drift\n"
    assert stored_verdicts(url) == before
    after = {row["id"]: row for row in json.loads(auditor("results", "list", "--format", "json").stdout)}
    for row in attacked:
        assert after[row["id"]]["robust_accuracy"] == row["robust_accuracy"]
        assert after[row["id"]]["gap"] == row["gap"]
    refused = auditor("results", "compare", *(row["model"] for row in attacked))
    assert (refused.exit_code, len(refused.stderr.splitlines())) == (2, 1)
    assert "recorded the images" in refused.stderr
    # Without their digests the verdicts cannot be paired, so the next scan measures again.
    assert auditor(*scan, "--force").exit_code == 0
    assert auditor("results", "compare", *(row["model"] for row in attacked)).exit_code == 0


def test_a_revision_that_is_refused_loses_nothing_and_asks_nothing(url: str) -> None:
    refused = auditor("db", "downgrade", "9999")
    assert (refused.exit_code, len(refused.stderr.splitlines())) == (2, 1)
    assert revision(url) == HEAD


def test_every_table_that_a_downgrade_drops_is_named() -> None:
    """A later revision has to say what its downgrade loses."""
    files = (migrations_folder() / "versions").glob("[0-9]*.py")
    dropped = {
        (file.name[:4], table)
        for file in files
        for table in re.findall(r'op\.drop_table\("(\w+)"', file.read_text().partition("def downgrade")[2])
        if not file.name.startswith("0001") and table != "workers"  # who lives says so again within seconds
    }
    named = {(since, rows.split()[0]) for since, _, rows in LOSSES}
    assert dropped <= named


def test_it_asks_first(url: str) -> None:
    asked = auditor("db", "downgrade", "0003", answer="n\n")
    assert asked.exit_code == 1
    assert "Data that the older tables cannot store is lost" in asked.output
    assert revision(url) == HEAD
    assert auditor("db", "downgrade", "0003", answer="y\n").exit_code == 0
    assert revision(url) == "0003"


@pytest.mark.long
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
