"""The commands of the image and the compose file as they stand there, against servers of the test's own."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

from tests.deploy.files import OPERATIONS, commands, compose, image, seconds
from tests.factories.services import Cluster
from tests.workers.team import free_port, until


class Containers:
    """Services of compose.yaml as processes: the image's environment and theirs, with the test's folders and ports."""

    def __init__(self, folder: Path, database: Cluster, broker: int) -> None:
        self.folder, self.secrets = folder, folder / "secrets"
        self.services, self.image = compose()["services"], image()
        self.printed: list[str] = []
        self.running: list[subprocess.Popen[bytes]] = []
        self.database, self.broker = database, broker
        for name, host, port in (("database_url", "postgres", database.port), ("broker_url", "redis:6379", broker)):
            file = self.secrets / name
            file.write_text(file.read_text().replace(f"@{host}/", f"@127.0.0.1:{port}/"))
        (folder / "tmp").mkdir()
        (folder / "bin").mkdir()
        program = folder / "bin" / "auditor"  # as pip installs it
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m auditor "$@"\n')
        program.chmod(0o755)

    def here(self, path: str) -> str:
        """The image's folders below the test's, secrets in the test's."""
        if path.startswith("/run/secrets/"):
            return str(self.secrets / Path(path).name)
        inside = path.startswith(("/data", "/models", "/checkpoints", "/boosted", "/tmp/"))
        return str(self.folder / path[1:]) if inside else path

    def environment(self, service: str) -> dict[str, str]:
        own = self.services[service].get("environment", {})  # without a value: as it is where compose runs
        given = {**self.image["environment"], **{name: value for name, value in own.items() if value is not None}}
        mapped = {name: self.here(value) for name, value in given.items() if name != "PATH"}
        kept = {name: os.environ[name] for name in ("HOME", "PYTHONPATH", "LANG") if name in os.environ}
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        return {**kept, **mapped, "PATH": path, "OMP_NUM_THREADS": "1"}

    def run(self, service: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """``docker compose run SERVICE ARGUMENTS``, with the service's own command where none are given."""
        command = [*self.image["entrypoint"], *(arguments or self.services[service]["command"])]
        return self.program(service, command)

    def program(self, service: str, command: list[str]) -> subprocess.CompletedProcess[str]:
        ended = subprocess.run(
            command,
            env=self.environment(service),
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=90,
        )
        self.printed += [ended.stdout, ended.stderr]
        return ended

    def start(self, service: str, *more: str) -> subprocess.Popen[bytes]:
        words = [self.here(word) for word in self.services[service]["command"]]
        command = [*self.image["entrypoint"], *words, *more]
        with self.log(service).open("ab") as log:
            made = subprocess.Popen(
                command, env=self.environment(service), cwd=self.folder, stdout=log, stderr=log, start_new_session=True
            )
        self.running.append(made)
        return made

    def log(self, service: str) -> Path:
        return self.folder / f"{service}.log"

    def healthy(self, service: str = "worker", port: int = 0) -> bool:
        """By the service's health check, which asks this port; by the image's if it has none."""
        kind, *check = self.services[service].get("healthcheck", {}).get("test", ["CMD", *self.image["healthcheck"]])
        command = ["sh", "-c", check[0].replace("$$", "$")] if kind == "CMD-SHELL" else check
        command = [re.sub(r"(127\.0\.0\.1:)\d+", rf"\g<1>{port}", word) for word in command]
        return self.program(service, [word.replace("/tmp/", f"{self.folder}/tmp/") for word in command]).returncode == 0


@pytest.fixture
def containers(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containers]:
    (script,) = commands("Secrets")
    subprocess.run(["sh", "-eu"], input=script, text=True, cwd=tmp_path, check=True)
    folder = tmp_path_factory.mktemp("postgres")
    password = folder / "password"
    password.write_text((tmp_path / "secrets" / "postgres_password").read_text())
    password.chmod(0o644)
    database = Cluster(
        folder, user=compose()["services"]["postgres"]["environment"]["POSTGRES_USER"], password=password
    )
    port = free_port()
    made = Containers(tmp_path, database, port)
    command = [made.here(word) for word in made.services["redis"]["command"]]
    redis = subprocess.Popen([*command, "--port", str(port), "--bind", "127.0.0.1"], stdout=subprocess.DEVNULL)
    try:
        admin = {**os.environ, "PGPASSWORD": password.read_text().strip(), "PGPORT": str(database.port)}
        subprocess.run(["createdb", "-h", "127.0.0.1", "-U", "auditor", "auditor"], env=admin, check=True)
        yield made
    finally:
        for process in made.running:
            process.kill()
            process.wait(20)
        redis.terminate()
        redis.wait(20)
        database.stop()


@pytest.mark.slow
def test_from_an_empty_database_to_results_and_the_end_of_a_worker(containers: Containers) -> None:
    services = containers.services
    check = services["postgres"]["healthcheck"]["test"][1:]
    subprocess.run(check, env={**os.environ, "PGPORT": str(containers.database.port)}, check=True)
    check = services["redis"]["healthcheck"]["test"][1:]
    until(lambda: not subprocess.run([check[0], "-p", str(containers.broker), *check[1:]]).returncode, 20, "redis")

    migrated = containers.run("migrate")
    assert migrated.returncode == 0, migrated.stderr
    assert not containers.healthy()
    worker = containers.start("worker")
    until(containers.healthy, 60, "the worker is healthy")

    scanned = containers.run("worker", "scan", "demo", "--protocol", "screen", "--limit", "2", "--queue", "--wait")
    assert scanned.returncode == 0, scanned.stderr
    listed = containers.run("worker", "results", "list", "--format", "json")
    assert len(json.loads(listed.stdout)) == 2

    worker.kill()
    worker.wait()
    assert containers.healthy(), "a heartbeat is valid for a minute"
    engine = create_engine(make_url((containers.secrets / "database_url").read_text().strip()), poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("UPDATE workers SET seen_at = seen_at - INTERVAL '61 seconds'"))
    assert not containers.healthy()
    assert "no worker of" in containers.printed[-1]
    assert "the last one was" in containers.printed[-1]

    worker = containers.start("worker")
    until(containers.healthy, 60, "the next worker is healthy")
    worker.send_signal(signal.SIGTERM)
    worker.wait(seconds(services["worker"]["stop_grace_period"]))
    assert not containers.healthy(), "a worker that ends takes itself off the list"

    assert not containers.healthy("beat")
    beat = containers.start("beat")
    until(lambda: containers.healthy("beat"), 60, "beat is healthy")
    os.utime(containers.folder / "tmp" / "beat", (time.time() - 130,) * 2)
    assert not containers.healthy("beat"), "no heartbeat for two minutes"
    beat.send_signal(signal.SIGTERM)
    assert beat.wait(10) == 0

    said = "".join([*containers.printed, *(containers.log(name).read_text() for name in ("worker",))])
    for name in ("postgres_password", "redis_conf"):
        assert (containers.secrets / name).read_text().split()[-1] not in said


@pytest.mark.slow
def test_the_dashboard_and_the_metrics_are_healthy_while_the_database_answers(containers: Containers) -> None:
    assert containers.run("migrate").returncode == 0
    (make_token,) = (
        line for line in re.findall(r"`docker compose run --rm (serve tokens add .*)`", OPERATIONS.read_text())
    )
    token = containers.run(*make_token.split()).stdout.strip()
    local = [(free_port(), name) for name in ("serve", "metrics")]
    for port, name in local:
        containers.start(name, "--host", "127.0.0.1", "--port", str(port))
        until(partial(containers.healthy, name, port), 60, f"{name} is healthy")
    (page, _), (numbers, _) = local
    with httpx.Client(base_url=f"http://127.0.0.1:{page}") as web:
        assert web.get("/api/v1/results").status_code == 401
        assert web.get("/api/v1/results", headers={"Authorization": f"Bearer {token}"}).status_code == 200
        assert web.get("/static/icon.svg").status_code == 200, "by which Kubernetes sees that the server lives"
    assert "auditor_up 1.0" in httpx.get(f"http://127.0.0.1:{numbers}/metrics").text
    containers.database.stop()
    try:
        assert not containers.healthy("serve", page)
        assert httpx.get(f"http://127.0.0.1:{page}/static/icon.svg").status_code == 200
        assert "auditor_up 0.0" in httpx.get(f"http://127.0.0.1:{numbers}/metrics", timeout=60).text
    finally:
        containers.database.start()
    until(lambda: containers.healthy("serve", page), 60, "the database is back")


@pytest.mark.long
def test_an_error_about_a_server_that_is_away_does_not_show_the_password(containers: Containers) -> None:
    containers.database.stop()
    try:
        failed = containers.run("migrate")
    finally:
        containers.database.start()
    assert failed.returncode == 3
    assert "auditor:***@" in failed.stderr
    assert (containers.secrets / "postgres_password").read_text().strip() not in failed.stderr
