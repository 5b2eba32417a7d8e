"""What is asked for over HTTP, where the server has a broker: workers do it."""

import logging
from pathlib import Path

import pytest

from auditor.config import settings
from tests.web.serving import client, few_images, token
from tests.workers.team import Redis, Team, until

SCAN = {"source": "demo", "models": ["standard"], "samples": 10}
BOOST = {"model": "demo:standard", "epochs": 1, "steps": 2, "protocol": "quick", "samples": 10}


@pytest.mark.long
def test_workers_do_what_was_asked_over_http(
    team: Team, tmp_path: Path, fashion_mnist: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few_images(tmp_path, fashion_mnist, monkeypatch)
    with client() as server:
        header = token("admin")
        scan = server.post("/api/v1/scans", json=SCAN, headers=header).json()
        boost = server.post("/api/v1/boosts", json=BOOST, headers=header).json()
        assert (scan["queue"], scan["queued"], boost["queue"], boost["state"]) == ("cpu", 1, "cpu", "queued")
        refused = server.post("/api/v1/boosts", json=BOOST | {"device": "cuda:1"}, headers=header)
        assert (refused.status_code, "workers choose" in refused.json()["detail"]) == (422, True)
    team.worker()  # the server has ended, and what it sent has not
    query = "SELECT state, reason FROM trainings WHERE state NOT IN ('queued', 'running')"
    (ended,) = until(lambda: team.rows(query), 300, f"the boost ends; {team.read_log()}")
    assert ended == {"state": "done", "reason": None}
    (audit,) = team.ended(scan["scan"]).values()
    assert audit["state"] == "done"


@pytest.mark.long
def test_a_broker_that_is_away_loses_nothing(
    own_broker: Redis, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AUDITOR_BROKER_URL", own_broker.url)
    settings.cache_clear()
    own_broker.stop()
    with client() as server, caplog.at_level(logging.WARNING):
        header = token("admin")
        scan = server.post("/api/v1/scans", json=SCAN, headers=header)
        boost = server.post("/api/v1/boosts", json=BOOST, headers=header)
    assert (scan.status_code, boost.status_code) == (202, 202)
    assert (scan.json()["queued"], boost.json()["state"]) == (1, "queued")
    assert "boost 1 is stored, and a worker sends it when the broker responds again" in caplog.text
    own_broker.start()
