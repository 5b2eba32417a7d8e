"""``auditor workers --alive``: whether this host's worker lives."""

import os
from datetime import timedelta

import pytest
from click.testing import CliRunner
from sqlalchemy import update

from auditor.cli import main
from auditor.db import models as tables
from auditor.db.ending import now
from auditor.db.session import open_database
from auditor.db.workers import WorkerStatus, report_worker
from auditor.jobs.process_names import host_name


@pytest.mark.parametrize(
    ("name", "queue", "age", "message"),
    [
        ("{host}:12", "cpu", 5, None),
        ("{host}:12/3", "gpu", 5, None),
        ("{host}:12", "cpu", 90, "sent a heartbeat within 60 s; the last one was 9"),
        ("another:12", "cpu", 5, "sent a heartbeat within 60 s\n"),
        ("{host}:12", "here", 5, "sent a heartbeat within 60 s\n"),
        (None, "cpu", 5, "sent a heartbeat within 60 s\n"),
    ],
)
def test_only_a_recent_sign_of_this_hosts_worker_counts(
    name: str | None, queue: str, age: float, message: str | None
) -> None:
    engine = open_database(os.environ["AUDITOR_DATABASE_URL"])
    if name is not None:
        shown = name.format(host=host_name())
        report_worker(engine, WorkerStatus(name=shown, queue=queue, device="cpu", started_at=now()))
        with engine.begin() as connection:
            connection.execute(update(tables.Worker).values(seen_at=now() - timedelta(seconds=age)))
    engine.dispose()
    result = CliRunner().invoke(main, ["workers", "--alive", "60"])
    if message is None:
        assert result.exit_code == 0
        assert shown in result.output
    else:
        assert result.exit_code == 1
        assert message in result.output


def test_no_time_at_all_is_refused() -> None:
    assert CliRunner().invoke(main, ["workers", "--alive", "0"]).exit_code == 2
