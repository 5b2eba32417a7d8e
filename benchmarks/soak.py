"""Many audits by workers that are killed all the time: nothing is lost, doubled or different.

    OMP_NUM_THREADS=1 python -m benchmarks.soak [--audits 300] [--workers 3] [--every 5] [--seed 0] [--minutes 20]

Real workers on PostgreSQL and a Redis of their own audit a zoo of tiny models under `quick`. Every few seconds one of
them, drawn by the seed, is killed with SIGKILL, alone or with all of its processes, and another one started. In the
end each model must have one result, none failed, the queue be empty, no attack's progress be left, and all numbers be
those of a run without workers. The exit code is 1 where anything else is found, or it takes too long.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, func, select, text

from auditor.db import models as tables
from auditor.db.session import open_database
from benchmarks.scratch import make_zoo, scratch_database
from tests.workers.team import Redis, Worker

NUMBERS: dict[Any, Sequence[str]] = {
    tables.Audit: (
        "state", "identity", "weights_sha256", "images_sha256", "n", "clean_accuracy", "robust_accuracy",
        "robust_low", "robust_high", "affinity_error", "parameters", "hierarchy", "flags", "notes", "not_measurable",
    ),
    tables.Clustering: (
        "kind", "intra", "inter", "gap", "silhouette", "rand_index", "cophenetic", "p_value", "effective_rank",
        "leaf_order", "matrix",
    ),
    tables.AttackScore: ("position", "attack", "parameters", "n", "broken", "robust_accuracy"),
    tables.Verdicts: ("n", "indices", "correct", "survived", "pictures", "labels", "predicted", "broken_at"),
}  # fmt: skip
"""What must not depend on where an audit ran, nor on how often it was begun."""


def scan(folder: Path, samples: int, *options: str, **environment: str) -> None:
    command = [sys.executable, "-m", "auditor", "scan", "local", str(folder), "--trust-code", "--protocol", "quick"]
    subprocess.run(
        [*command, "--samples", str(samples), "--format", "json", *options],
        env=os.environ | environment,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def numbers(engine: Engine) -> dict[str, list[tuple[Any, ...]]]:
    """All rows that were found about each model, in a fixed order."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    with engine.connect() as connection:
        for table, names in NUMBERS.items():
            query = select(tables.Model.name, *(getattr(table, name) for name in names))
            query = query.select_from(tables.Model).join(tables.Audit, tables.Audit.model_id == tables.Model.id)
            if table is not tables.Audit:
                query = query.join(table, table.audit_id == tables.Audit.id)
            for model, *row in connection.execute(query):
                found.setdefault(model, []).append((table.__tablename__, *row))
    return {model: sorted(rows, key=str) for model, rows in found.items()}


class Soak:
    """The workers, and who kills them."""

    def __init__(self, engine: Engine, folder: Path, number: int, seed: int) -> None:
        self.engine, self.folder, self.draw = engine, folder, random.Random(seed)
        self.started = self.kills = 0
        self.workers = [self.start() for _ in range(number)]

    def start(self) -> Worker:
        self.started += 1
        return Worker(self.folder, self.started, "--threads", "1")

    def kill(self) -> None:
        """One, alone, so that its pool has to notice, or with all that belongs to it, as a machine goes down."""
        number = self.draw.randrange(len(self.workers))
        worker = self.workers[number]
        worker.signal(signal.SIGKILL, all_of_it=self.draw.random() < 0.5)
        worker.process.wait()
        self.kills += 1
        self.workers[number] = self.start()

    def counts(self) -> dict[str, int]:
        audit = tables.Audit
        with self.engine.connect() as connection:
            return dict(connection.execute(select(audit.state, func.count()).group_by(audit.state)).all())

    def run(self, every: float, seconds: float) -> float:
        """Until no audit is queued or runs; the seconds that it took."""
        began = killed = told = time.monotonic()
        while (counts := self.counts()).get("queued") or counts.get("running"):
            now = time.monotonic()
            if now - began > seconds:
                raise SystemExit(f"FAILED: not done within {seconds / 60:g} minutes: {counts}")
            if now - killed >= every:
                killed = now
                self.kill()
            if now - told >= 15:
                told = now
                parts = ", ".join(f"{counts.get(state, 0)} {state}" for state in ("done", "running", "queued"))
                print(f"{now - began:4.0f} s: {parts}; {self.kills} workers killed", flush=True)
            time.sleep(0.2)
        return time.monotonic() - began

    def end(self) -> None:
        for worker in self.workers:
            worker.end()


def check(engine: Engine, local: Engine, broker: Redis, audits: int) -> list[str]:
    """What is wrong; nothing, where all is well."""
    wrong = []
    until = time.monotonic() + 30
    while broker.ask("LLEN", "cpu") != "0" and time.monotonic() < until:
        time.sleep(0.2)
    if broker.ask("LLEN", "cpu") != "0":
        wrong.append(f"{broker.ask('LLEN', 'cpu')} messages are left in the queue")
    with engine.connect() as connection:
        states = connection.execute(text("SELECT state, reason, COUNT(*) FROM audits GROUP BY state, reason")).all()
        if [tuple(row) for row in states] != [("done", None, audits)]:
            wrong.append(f"expected {audits} audits done, got {states}")
        for scan_id, state, pending in connection.execute(text("SELECT id, state, pending FROM scans")):
            if (state, pending) != ("done", 0):
                wrong.append(f"scan {scan_id} is {state}, with {pending} pending")
        left = connection.scalar(text("SELECT COUNT(*) FROM attack_progress"))
        if left:
            wrong.append(f"{left} rows of attack_progress are left")
    here, there = numbers(local), numbers(engine)
    if len(here) != audits or any(len(rows) < 4 for rows in here.values()):
        wrong.append(
            f"the local run has results of {len(here)} models, expected {audits} with scores, attacks, verdicts"
        )
    wrong += [f"{model}: other numbers than in the local run" for model in here if here[model] != there.get(model)]
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", default="postgresql+psycopg://postgres@127.0.0.1:5432/")
    parser.add_argument("--audits", type=int, default=300)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--every", type=float, default=5, help="seconds between two kills")
    parser.add_argument("--lease", type=float, default=5, help="seconds, the workers' AUDITOR_LEASE_SECONDS")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=16, help="that the workers may take")
    options = parser.parse_args()
    broker = Redis()
    try:
        with scratch_database(options.server) as url, tempfile.TemporaryDirectory(dir="/tmp") as folder:
            soak(options, broker, url, Path(folder))
    finally:
        broker.stop()


def soak(options: argparse.Namespace, broker: Redis, url: str, folder: Path) -> None:
    zoo = make_zoo(folder / "zoo", options.audits).folder
    os.environ |= {"AUDITOR_DATABASE_URL": url, "AUDITOR_BROKER_URL": broker.url, "AUDITOR_THREADS": "1"}
    os.environ["AUDITOR_LEASE_SECONDS"] = str(options.lease)
    local, engine = create_engine(f"sqlite:///{folder}/local.db"), open_database(url)
    began = time.monotonic()
    scan(zoo, options.samples, "--here", AUDITOR_DATABASE_URL=str(local.url))
    alone = time.monotonic() - began
    print(f"{options.audits} audits in one process, --here: {alone:.0f} s", flush=True)
    scan(zoo, options.samples, "--queue")
    made = Soak(engine, folder, options.workers, options.seed)
    try:
        took = made.run(options.every, 60 * options.minutes)
        wrong = check(engine, local, broker, options.audits)
    finally:
        made.end()
    with engine.connect() as connection:
        sums = text("SELECT SUM(attempt), SUM(losses), MAX(losses) FROM audits")
        attempts, losses, most = connection.execute(sums).one()
    print(
        f"{options.audits} audits by {options.workers} workers in {took:.0f} s: {made.kills} workers killed, "
        f"{losses} audits lost with them and run again, none more often than {most} times; {attempts} attempts",
        flush=True,
    )
    if wrong:
        raise SystemExit("FAILED: " + "\n".join(wrong[:20]))
    print("each audit done once, with the numbers of the local run; nothing left behind", flush=True)


if __name__ == "__main__":
    main()
