"""Real scans with a real collector, and with one that is away."""

import json
import os
import subprocess
import sys
import time

import pytest

from auditor import tracing
from auditor.config import settings
from auditor.db.results import load_detail
from auditor.db.session import open_database
from tests.factories.collector import Collector
from tests.factories.command import run

SCAN = ("scan", "demo", "--model", "standard", "--protocol", "quick", "--samples", "8", "--here", "--format", "json")


def scan(**variables: str) -> tuple[dict, str, float]:
    """Run ``auditor scan`` as a program: its only row, its stderr and its seconds."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **variables}
    started = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-P", "-m", "auditor", *SCAN, "--force"],
        env=environment, check=True, capture_output=True, text=True,
    )  # fmt: skip
    (row,) = json.loads(ended.stdout)
    return row, ended.stderr, time.monotonic() - started


@pytest.mark.long
def test_a_scan_is_one_trace_from_the_scan_to_its_attacks(collector: Collector) -> None:
    row, _, _ = scan()
    (scan_,), (audit,) = collector.named("scan"), collector.named("audit")
    assert {span.trace for span in collector.spans} == {scan_.trace}
    assert scan_.parent == ""
    assert (scan_["auditor.source"], scan_["auditor.protocol"], scan_["auditor.models"]) == ("demo", "quick", 1)
    assert scan_["auditor.scan"] == audit["auditor.scan"] == 1
    assert audit["auditor.audit"] == row["id"]
    assert (audit["auditor.model"], audit["auditor.attempt"], audit["auditor.outcome"]) == ("demo:standard", 1, "done")
    assert audit["auditor.worker"]
    parts = [span.name for span in collector.spans if span.parent == audit.id and span.name != "transaction"]
    assert parts == ["start process", "load images", "load model", "linearize", "screen", "attacks"]
    (fgsm,), (pgd,) = collector.named("attack fgsm"), collector.named("attack pgd-20")
    assert collector.above(fgsm) == collector.above(pgd) == ["scan", "audit", "attacks"]
    scores = {score.attack: score for score in load_detail(open_database(settings().database_url), row["id"]).attacks}
    for span in (fgsm, pgd):
        score = scores[span["auditor.attack"]]
        assert span["auditor.images_in"] == score.n
        assert span["auditor.images_out"] == score.n - score.broken
        assert span.seconds >= score.seconds > 0
    assert fgsm["auditor.images_out"] == pgd["auditor.images_in"]
    transactions = collector.named("transaction")
    assert {tuple(collector.above(span)) for span in transactions} == {("scan",), ("scan", "audit")}
    assert all(span["db.system.name"] in ("sqlite", "postgresql") for span in transactions)
    assert all(span.error is None for span in collector.spans)
    assert {span.resource["auditor.program"] for span in collector.spans} == {"scan"}


@pytest.mark.long
def test_a_collector_that_is_away_changes_no_result_and_is_one_line() -> None:
    expected, quiet, _ = scan()
    row, stderr, _ = scan(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    changing = {"id", "scan", "seconds", "attacks", "started_at", "finished_at", "confirmed_at", "verified_at"}
    assert {name: row[name] for name in row.keys() - changing} == {
        name: expected[name] for name in expected.keys() - changing
    }
    assert "does not take spans" not in quiet
    assert stderr.count("http://127.0.0.1:9/v1/traces does not take spans, so they are lost") == 1
    assert "Traceback" not in stderr


@pytest.mark.long
def test_a_failed_audit_and_a_failed_scan_say_why(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    result = run(*SCAN, "--memory-limit", "0.01")
    assert result.exit_code == 1, result.output
    retried = run("scans", "retry", "1", "--here")
    assert retried.exit_code == 1, retried.output
    tracing.shut_down()
    scans, audits = collector.named("scan"), collector.named("audit")
    assert len({span.trace for span in collector.spans}) == 1
    assert [span.error for span in scans] == [None, None]
    assert scans[1].parent == scans[0].id
    assert [audit.parent for audit in audits] == [span.id for span in scans]
    assert [audit["auditor.attempt"] for audit in audits] == [1, 2]
    for audit in audits:
        assert audit["auditor.outcome"] == "failed"
        assert "GiB of memory" in audit.error
