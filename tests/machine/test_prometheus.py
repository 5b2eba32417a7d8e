"""Metrics: what the database says, in a form that Prometheus reads; and nothing worse than auditor_up 0 without it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine, delete, event, text, update

from auditor.config import settings
from auditor.db import metrics as questions
from auditor.db.ending import now
from auditor.db.leases import MOST_LOSSES, Leases
from auditor.db.models import Audit, Scan, ScanAudit
from auditor.db.scans import retry_scan
from auditor.db.session import engine_of, open_database
from auditor.db.store import Job, Store
from auditor.db.workers import WorkerStatus, report_worker
from auditor.errors import EnvironmentUnusableError
from auditor.machine import devices as gpus
from auditor.machine.prometheus import BrokerMetrics, DatabaseMetrics, GpuMetrics, as_text, make_registry
from tests.factories.databases import url  # noqa: F401
from tests.factories.records import REQUEST, entry, record
from tests.workers.team import free_port, until

ROOT = Path(__file__).parents[2]
Values = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:  # noqa: F811
    engine = open_database(url)
    yield engine
    engine.dispose()


def values(page: str) -> Values:
    found = {}
    for family in text_string_to_metric_families(page):
        assert family.documentation
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found
            found[key] = sample.value
    return found


def read(found: Values, name: str, **labels: str) -> float:
    return found[name, frozenset(labels.items())]


def scrape(engine: Engine) -> Values:
    return values(as_text(make_registry(engine, None)))


def test_all_is_nought_in_an_empty_database(engine: Engine) -> None:
    found = scrape(engine)
    assert read(found, "auditor_up") == 1
    took = ("auditor_up", "auditor_scrape_seconds")
    assert {value for (name, _), value in found.items() if name not in took} == {0}
    assert read(found, "auditor_audits", state="queued", queue="gpu") == 0


@pytest.mark.long
def test_numbers_are_those_of_the_database(engine: Engine) -> None:
    store, leases = Store(engine), Leases(engine)
    _, jobs = store.create_scan("demo", REQUEST, [entry(name) for name in "abcde"], queue="gpu")
    attempts = [store.claim(job.audit_id, "host:1", 60) for job in jobs[:4]]
    store.finish(jobs[0].audit_id, attempts[0], record("a", seconds=5.0))
    store.finish(jobs[1].audit_id, attempts[1], record("b", "j", attacks=()))
    store.fail(jobs[2].audit_id, attempts[2], "no weights")
    leases.expire(next(lease for lease in leases.running() if lease.job_id == jobs[3].audit_id))
    with engine.begin() as connection:
        connection.execute(
            update(Audit).where(Audit.id == jobs[4].audit_id).values(queued_at=now() - timedelta(hours=1))
        )
    report_worker(
        engine, WorkerStatus(name="host:1", queue="gpu", device="cuda", started_at=now(), audit_id=jobs[3].audit_id)
    )
    report_worker(engine, WorkerStatus(name="host:2", queue="gpu", device="cuda", started_at=now()))
    found = scrape(engine)
    for state, number in {"queued": 2, "running": 0, "done": 2, "failed": 1, "cancelled": 0}.items():
        assert read(found, "auditor_audits", state=state, queue="gpu") == number
        assert read(found, "auditor_audits", state=state, queue="cpu") == 0
    assert read(found, "auditor_queue_depth", queue="gpu") == 2
    assert 3600 <= read(found, "auditor_oldest_queued_seconds", queue="gpu") < 3660
    assert read(found, "auditor_leases_expired_total") == 1
    assert read(found, "auditor_scans", state="running") == 1
    assert (read(found, "auditor_workers", queue="gpu"), read(found, "auditor_workers", queue="cpu")) == (2, 0)
    assert 0 <= read(found, "auditor_worker_silent_seconds", worker="host:1", queue="gpu") < 30
    for part, (seconds, number) in {"fgsm": (0.1, 1), "rest": (6.4, 2), "whole": (6.5, 2)}.items():
        assert read(found, "auditor_audit_seconds", part=part) == pytest.approx(seconds)
        assert read(found, "auditor_audit_parts", part=part) == number


def test_what_is_tried_again_has_not_waited_since_it_was_asked_for(engine: Engine) -> None:
    store = Store(engine)
    _, (job,) = store.create_scan("demo", REQUEST, [entry()], queue="cpu")
    store.claim(job.audit_id, "host:1", 60)
    with engine.begin() as connection:
        values = {"state": "queued", "queued_at": now() - timedelta(days=9), "sent_at": now() - timedelta(minutes=1)}
        connection.execute(update(Audit).values(**values))
    assert 60 <= read(scrape(engine), "auditor_oldest_queued_seconds", queue="cpu") < 120


def test_audits_of_another_day_are_not_recent(engine: Engine) -> None:
    store = Store(engine)
    _, (job,) = store.create_scan("demo", REQUEST, [entry()])
    store.finish(job.audit_id, store.claim(job.audit_id), record())
    with engine.begin() as connection:
        connection.execute(update(Audit).values(finished_at=now() - timedelta(hours=25)))
    found = scrape(engine)
    assert read(found, "auditor_audit_parts", part="whole") == 0
    assert read(found, "auditor_audits", state="done", queue="here") == 1


def test_recent_audits_are_found_by_indexes(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "MOST_RECENT_ROWS", 1)
    asked: list[tuple[str, Any]] = []
    event.listen(
        engine,
        "before_cursor_execute",
        lambda _, __, statement, parameters, *___: asked.append((statement, parameters)),
    )
    assert [part.number for part in questions.take_snapshot(engine).parts] == [0, 0]
    statements = [one for one in asked if "FROM scans" not in one[0] and "FROM workers" not in one[0]]
    assert len(statements) >= 5
    postgresql = engine.dialect.name == "postgresql"
    with engine.connect() as connection:
        if postgresql:
            connection.execute(text("SET enable_seqscan = off"))
        for statement, parameters in statements:
            plan = connection.exec_driver_sql(f"EXPLAIN {'' if postgresql else 'QUERY PLAN '}{statement}", parameters)
            lines = [str(row[-1]) for row in plan]
            whole = [
                line
                for line in lines
                if re.search(r"Seq Scan|SCAN (audits|attack_scores|clusterings)\b(?!.*INDEX)", line)
            ]
            assert not whole, (statement, lines)


def test_a_failure_is_recent_for_an_hour_whatever_is_tried_again(engine: Engine) -> None:
    store = Store(engine)

    def fail(audit_id: int) -> None:
        assert store.fail(audit_id, store.claim(audit_id), "no weights")

    def failed() -> tuple[float, float]:
        found, labels = scrape(engine), {"state": "failed", "queue": "cpu"}
        return tuple(read(found, name, **labels) for name in ("auditor_audits", "auditor_audits_ended_within_hour"))

    old, jobs = store.create_scan("demo", REQUEST, [entry(name) for name in "abc"], queue="cpu")
    for job in jobs:
        fail(job.audit_id)
    assert failed() == (3, 3)
    with engine.begin() as connection:
        connection.execute(update(Audit).values(finished_at=now() - timedelta(minutes=61)))
    assert failed() == (3, 0)
    _, (new,) = store.create_scan("demo", REQUEST, [entry("d")], queue="cpu")
    fail(new.audit_id)
    assert len(retry_scan(engine, old, "cpu", None)) == 3
    assert failed() == (1, 1), "there are fewer failed audits than before, and one has just failed"
    fail(jobs[0].audit_id)
    assert failed() == (2, 2)


def test_all_audits_are_counted_once_a_minute(engine: Engine) -> None:
    at = 0.0
    metrics = DatabaseMetrics(engine, clock=lambda: at)

    def number(state: str) -> float:
        audits = next(family for family in metrics.collect() if family.name == "auditor_audits")
        return next(one.value for one in audits.samples if one.labels == {"state": state, "queue": "here"})

    assert number("done") == 0
    _, (job,) = Store(engine).create_scan("demo", REQUEST, [entry()])
    assert number("queued") == 1
    Store(engine).finish(job.audit_id, Store(engine).claim(job.audit_id), record())
    at = 59.0
    assert (number("queued"), number("done")) == (0, 0)
    at = 60.0
    assert number("done") == 1


def test_the_lost_leases_never_decrease(engine: Engine) -> None:
    """However an audit ends, whether it makes progress or is pruned: each lost process stays counted."""
    store, leases = Store(engine), Leases(engine)
    _, (first, second) = store.create_scan("demo", REQUEST, [entry("a"), entry("b")], queue="cpu")
    counted = []

    def lose(job: Job) -> str | None:
        store.claim(job.audit_id, "host:1", 60)
        state = leases.expire(next(lease for lease in leases.running() if lease.job_id == job.audit_id))
        counted.append(read(scrape(engine), "auditor_leases_expired_total"))  # each scrape is by a new exporter
        return state

    assert [lose(first) for _ in range(MOST_LOSSES)] == ["queued"] * (MOST_LOSSES - 1) + ["failed"]
    assert lose(second) == "queued"
    attempt = store.claim(second.audit_id, "host:1", 60)
    leases.save_progress(second.audit_id, attempt, "key", b"state")  # resets the losses of the audit
    assert read(scrape(engine), "auditor_leases_expired_total") == MOST_LOSSES + 1
    with engine.begin() as connection:
        connection.execute(update(Audit).values(losses=0, state="cancelled"))
        connection.execute(delete(ScanAudit))
        connection.execute(delete(Audit))
    assert read(scrape(engine), "auditor_leases_expired_total") == MOST_LOSSES + 1
    assert counted == [1, 2, 3, 4]


def test_a_state_that_nobody_knows_yet_is_shown(engine: Engine) -> None:
    with engine.begin() as connection:
        values = {"source": "x", "request": {}, "state": "asleep", "started_at": now()}
        connection.execute(Scan.__table__.insert().values(**values))
    assert read(scrape(engine), "auditor_scans", state="asleep") == 1


@pytest.mark.parametrize(
    "away", ["postgresql+psycopg://u:geheim@127.0.0.1:1/x", "sqlite:////proc/nowhere.db", "sqlite://"]
)
def test_a_database_that_is_away_is_a_number(away: str, caplog: pytest.LogCaptureFixture) -> None:
    found = scrape(engine_of(away))
    assert {name for name, _ in found} == {"auditor_up", "auditor_scrape_seconds"}
    assert read(found, "auditor_up") == 0
    (line,) = caplog.records
    assert line.levelname == "WARNING"
    assert line.exc_info is None
    assert "geheim" not in line.getMessage()


def test_what_is_no_database_is_an_error() -> None:
    with pytest.raises(EnvironmentUnusableError, match="not a database URL") as caught:
        engine_of("nosuch://u:geheim@127.0.0.1/x")
    assert "geheim" not in str(caught.value)


def test_the_broker_is_asked_and_may_be_away(caplog: pytest.LogCaptureFixture) -> None:
    found = values(as_text(make_registry(None, BrokerMetrics(("cpu", "gpu"), {"cpu": 3, "gpu": 0}.__getitem__))))
    assert read(found, "auditor_broker_up") == 1
    assert read(found, "auditor_broker_messages", queue="cpu") == 3

    def fail(_: str) -> int:
        raise EnvironmentUnusableError("the broker does not answer")

    found = values(as_text(make_registry(None, BrokerMetrics(("cpu",), fail))))
    assert found == {("auditor_broker_up", frozenset()): 0}
    assert "does not answer" in caplog.text


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An nvidia-smi of one's own."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder / "nvidia-smi"


SAID = "0, NVIDIA A100-SXM4-40GB, 1234, 40960, 87\n1, Odd, name, [N/A], 81559, [N/A]\n\nNo devices were found\n"


def test_memory_of_gpus_is_what_the_driver_says(driver: Path) -> None:
    driver.write_text(f"#!/bin/sh\ncase \"$*\" in *memory.used,memory.total*nounits*) printf '{SAID}';; esac\n")
    driver.chmod(0o755)
    first, second = gpus.find_gpus()
    assert first == gpus.Gpu("0", "NVIDIA A100-SXM4-40GB", 1234 * 2**20, 40960 * 2**20, 0.87)
    assert second == gpus.Gpu("1", "Odd, name", None, 81559 * 2**20, None)
    families = {family.name: family for family in GpuMetrics(host="gpu3").collect()}
    used, total = families["auditor_gpu_memory_used_bytes"].samples, families["auditor_gpu_memory_bytes"].samples
    assert [(one.labels["host"], one.labels["gpu"], one.value) for one in used] == [("gpu3", "0", 1234 * 2**20)]
    assert [one.labels["gpu"] for one in total] == ["0", "1"]


@pytest.mark.parametrize("script", [None, "exit 9", "echo broken; exit 0", "printf '\\377, a, b'"])
def test_without_gpus_there_are_no_numbers_of_them(driver: Path, script: str | None) -> None:
    if script is not None:
        driver.write_text(f"#!/bin/sh\n{script}\n")
        driver.chmod(0o755)
    assert gpus.find_gpus() == []
    assert list(GpuMetrics().collect()) == []


def test_once_prints_them_after_a_scan_here() -> None:
    open_database(settings().database_url).dispose()
    result = _auditor("metrics", "--once")
    assert (result.returncode, result.stderr) == (0, "")
    assert read(values(result.stdout), "auditor_up") == 1


def _auditor(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "auditor", *arguments]
    return subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.long
def test_they_are_served_until_it_is_told_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    open_database(settings().database_url).dispose()
    monkeypatch.setenv("AUDITOR_LOG_FORMAT", "json")
    port = free_port()
    program = [sys.executable, "-m", "auditor", "metrics", "--port", str(port)]
    with subprocess.Popen(program, stderr=subprocess.PIPE, text=True) as served:
        try:
            line = json.loads(served.stderr.readline())
            assert line["message"] == f"metrics at http://127.0.0.1:{port}/metrics"
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
                assert read(values(answer.read().decode()), "auditor_up") == 1
            other = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers={"Host": "evil.example"})
            with pytest.raises(urllib.error.HTTPError, match="400"):
                urllib.request.urlopen(other, timeout=20)
            taken = _auditor("metrics", "--port", str(port))
            assert taken.returncode == 3
            assert "in use" in taken.stderr
        finally:
            served.send_signal(signal.SIGTERM)
            began = time.monotonic()
        until(lambda: served.poll() is not None, 20, "it ends")
        assert (served.returncode, time.monotonic() - began < 60) == (0, True)


def _names(expressions: str) -> set[str]:
    return set(re.findall(r"\bauditor_\w+", expressions))


@pytest.fixture
def known(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Every metric that there is."""
    report_worker(engine, WorkerStatus(name="host:1", queue="cpu", device="cpu", started_at=now()))
    monkeypatch.setattr("auditor.machine.devices.find_gpus", lambda: [gpus.Gpu("0", "x", 1, 2, 0.5)])
    registry = make_registry(engine, BrokerMetrics(("cpu",), lambda _: 0))
    registry.register(GpuMetrics(find=gpus.find_gpus))
    return {sample.name for family in registry.collect() for sample in family.samples}


def test_the_dashboard_shows_every_metric_and_no_other(known: set[str]) -> None:
    board = json.loads((ROOT / "deploy" / "grafana-dashboard.json").read_text())
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    expressions = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    assert _names("\n".join(expressions)) == known
    legends = " ".join(target["legendFormat"] for panel in board["panels"] for target in panel["targets"])
    assert set(re.findall(r"{{(\w+)}}", legends)) == {"state", "queue", "worker", "part", "host", "gpu"}


def test_the_page_about_them_names_every_metric_and_no_other(known: set[str]) -> None:
    page = (ROOT / "docs" / "observability.md").read_text()
    assert _names(page) == known
    assert _names((ROOT / "deploy" / "prometheus-alerts.yml").read_text()) <= known


@pytest.mark.parametrize("entry", ["", ".", "bin"])
def test_no_driver_is_taken_from_the_working_directory(
    driver: Path, entry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty entry of PATH stands for it."""
    driver.write_text(f"#!/bin/sh\nprintf '{SAID}'\n")
    driver.chmod(0o755)
    assert gpus.find_gpus()
    monkeypatch.chdir(tmp_path if entry == "bin" else driver.parent)
    monkeypatch.setenv("PATH", f"{entry}:/usr/bin:/bin")
    assert gpus.find_gpus() == []
