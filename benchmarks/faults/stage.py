"""A scenario's stage: services of its own, workers, the audits, and what is left of them in the end."""

import contextlib
import random
import re
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from benchmarks.faults.reference import digests, run_auditor, scan_command
from tests.factories.services import Cluster
from tests.workers.team import Redis, Worker

LEASE = 5.0
"""Seconds: the workers' ``AUDITOR_LEASE_SECONDS``."""
LOGGED = {
    "waits for the database": r"waiting for the database",
    "messages sent again": r"(\d+) messages sent again",
    "late or repeated attempts refused": r": taken after",
}
"""What is counted in the logs of the workers."""


@dataclass(frozen=True)
class Options:
    """The options of a run; all scenarios have the same ones."""

    audits: int
    samples: int
    workers: int
    seed: int
    minutes: float


class Stage:
    """The services, and what runs on them. ``database`` is the one that workers use now; a restore changes it."""

    def __init__(self, folder: Path, zoo: Path, options: Options, cluster: Cluster, broker: Redis) -> None:
        self.folder, self.zoo, self.options = folder, zoo, options
        self.cluster, self.broker = cluster, broker
        self.draw = random.Random(options.seed)
        self.workers: list[Worker] = []
        self.started = self.faults = 0
        self.notes: list[str] = []
        self.database = "postgres"

    @property
    def url(self) -> str:
        """The database as this process reaches it: through the socket's file, which no network namespace hides."""
        return f"postgresql+psycopg://postgres@/{self.database}?host={self.cluster.folder}&port={self.cluster.port}"

    @property
    def environment(self) -> dict[str, str]:
        """The settings of all programs of this scenario."""
        return {
            "AUDITOR_DATABASE_URL": self.url,
            "AUDITOR_BROKER_URL": self.broker.url,
            "AUDITOR_THREADS": "1",
            "AUDITOR_LEASE_SECONDS": str(LEASE),
            "AUDITOR_LOG_FORMAT": "text",
        }

    def start_worker(self, *, within: Sequence[str] = (), **environment: str) -> Worker:
        self.started += 1
        made = Worker(self.folder, self.started, "--threads", "1", within=within, **(self.environment | environment))
        self.workers.append(made)
        return made

    def draw_worker(self) -> Worker:
        return self.draw.choice(self.workers)

    def remove_worker(self, worker: Worker, *, all_of_it: bool) -> None:
        """SIGKILL for a worker: alone, so that what is below it has to notice, or with all of its processes."""
        worker.signal(signal.SIGKILL, all_of_it=all_of_it)
        worker.process.wait()
        self.workers.remove(worker)

    def queue_scan(self, **environment: str) -> None:
        run_auditor([*scan_command(self.zoo, self.options.samples), "--queue"], self.environment | environment)

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        """The rows of one statement, run by the superuser and never refused as read-only."""
        settings = "-c default_transaction_read_only=off"
        where = {"host": str(self.cluster.folder), "port": self.cluster.port, "dbname": self.database}
        with psycopg.connect(user="postgres", autocommit=True, options=settings, **where) as connection:
            cursor = connection.execute(statement)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []

    def counts(self) -> dict[str, int] | None:
        """The number of audits in each state; None while the database does not answer."""
        try:
            return {
                str(state): int(number) for state, number in self.sql("SELECT state, COUNT(*) FROM audits GROUP BY 1")
            }
        except psycopg.Error:
            return None

    def count_logged(self) -> dict[str, int]:
        """How often the workers logged what :data:`LOGGED` names."""
        logs = [file.read_text(errors="replace") for file in sorted(self.folder.glob("worker-*.log"))]
        found = {name: re.findall(pattern, "\n".join(logs)) for name, pattern in LOGGED.items()}
        return {name: sum(int(hit) if hit.isdigit() else 1 for hit in hits) for name, hits in found.items()}

    def check(self, reference: dict[str, str]) -> list[str]:
        """What is wrong after the last audit; nothing, if all is well."""
        wrong = [
            f"{worker.log.stem} ended by itself with code {worker.process.returncode}: {worker.read_log()[-300:]}"
            for worker in self.workers
            if worker.process.poll() is not None
        ]
        left = self.wait_for_an_empty_queue()
        if left:
            wrong.append(f"{left} messages are left in the queue")
        states = self.sql("SELECT state, reason, COUNT(*) FROM audits GROUP BY 1, 2")
        if states != [("done", None, self.options.audits)]:
            wrong.append(f"expected {self.options.audits} audits done, got {states}")
        scans = self.sql("SELECT state, pending FROM scans")
        if scans != [("done", 0)]:
            wrong.append(f"expected one scan, done, with none pending; got {scans}")
        (progress,) = self.sql("SELECT COUNT(*) FROM attack_progress")[0]
        if progress:
            wrong.append(f"{progress} rows of attack_progress are left")
        found = self.digests()
        if len(reference) != self.options.audits:
            wrong.append(f"the local run has results of {len(reference)} models, expected {self.options.audits}")
        wrong += [
            f"{name}: other figures than in the local run" for name in reference if found.get(name) != reference[name]
        ]
        return wrong

    def digests(self) -> dict[str, str]:
        engine = create_engine(self.url, poolclass=NullPool)
        try:
            return digests(engine)
        except DBAPIError as error:
            raise SystemExit(f"FAILED: the results cannot be read: {error.orig}") from error

    def wait_for_an_empty_queue(self, seconds: float = 60) -> int:
        """How many messages are left in the queue after this time."""
        end = time.monotonic() + seconds
        while self.broker.waiting("cpu") and time.monotonic() < end:
            time.sleep(0.2)
        return self.broker.waiting("cpu")

    def end(self) -> None:
        for worker in self.workers:
            worker.end()


@contextlib.contextmanager
def services(folder: Path, *broker_options: str) -> Iterator[tuple[Cluster, Redis]]:
    """PostgreSQL and Redis of one's own, on free ports."""
    with contextlib.ExitStack() as stack:
        cluster = Cluster(folder)
        stack.callback(stop_cluster, cluster)
        broker = Redis(*broker_options)
        stack.callback(broker.stop)
        yield cluster, broker


def stop_cluster(cluster: Cluster) -> None:
    if cluster.is_running():
        cluster.stop()
