"""Flower, as a process, asked by HTTP for real workers: it sees them, and cannot steer them."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from tests.workers.team import Redis, Team, free_port, until


class Flower:
    """``celery flower`` with its API open."""

    def __init__(self, folder: Path, broker: str) -> None:
        self.port = free_port()
        self.log = folder / "flower.log"
        options = ["flower", f"--port={self.port}", "--address=127.0.0.1"]
        environment = {**os.environ, "FLOWER_UNAUTHENTICATED_API": "true"}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "celery", f"--broker={broker}", *options],
                stdout=log, stderr=subprocess.STDOUT, env=environment, cwd=folder,
            )  # fmt: skip

    def ask(self, path: str, post: dict[str, str] | None = None) -> Any:
        """What it answers; None while it does not."""
        data = None if post is None else urllib.parse.urlencode(post).encode()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", data, timeout=20) as answer:
                body = answer.read().decode()
                return json.loads(body) if "json" in answer.headers["Content-Type"] else body
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return None

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(20)


@pytest.fixture
def flower(tmp_path: Path, broker: Redis) -> Iterator[Flower]:
    pytest.importorskip("flower")
    made = Flower(tmp_path, broker.url)
    yield made
    made.end()


@pytest.mark.long
def test_flower_lists_the_workers_that_let_it_and_steers_none(team: Team, flower: Flower) -> None:
    seen, unseen = team.worker("--events"), team.worker()
    seen.ready(), unseen.ready()
    found = until(lambda: flower.ask("/api/workers?refresh=1"), 60, f"Flower sees a worker; {flower.log.read_text()}")
    (name,) = found
    assert name.startswith(f"cpu-{seen.process.pid}@")
    until(lambda: "stats" in flower.ask("/api/workers?refresh=1").get(name, {}), 30, "it knows all of it")
    found = flower.ask("/api/workers?refresh=1")[name]
    assert found["registered"] == ["auditor.audit", "auditor.train"]
    assert [queue["name"] for queue in found["active_queues"]] == ["cpu"]
    assert found["stats"]["pool"]["max-concurrency"] == 1
    until(lambda: flower.ask("/api/workers?status=1").get(name), 30, "its events say that it lives")
    assert name in until(lambda: flower.ask("/workers"), 30, "the page")
    team.zoo.add("m")
    scan_id = team.scan("--protocol", "screen")
    flower.ask(f"/api/worker/shutdown/{name}", post={})
    app = Celery(broker=team.broker.url, set_as_current=False)
    app.control.shutdown()
    (answer,) = app.control.broadcast("pool_shrink", {"n": 1}, reply=True, timeout=10, limit=1)
    assert "workers take no commands" in answer[name]["error"]
    app.close()
    until(lambda: seen.read_log().count("refused") >= 3, 30, seen.read_log())
    assert team.ended(scan_id)["m"]["state"] == "done"
    assert seen.process.poll() is None
    assert "Traceback" not in seen.read_log()
