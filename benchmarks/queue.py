"""What the queue adds to an audit: no-op audits through a broker and PostgreSQL, with real workers.

    OMP_NUM_THREADS=1 python -m benchmarks.queue [--broker redis://127.0.0.1:6379/9] [--sizes 50,500,5000,20000]

One line a number of audits: milliseconds an audit from the end of the first to the end of the last one, by the
database's rows; then, an audit, its transactions and the CPU time of workers and PostgreSQL; then, for each number of
workers, the memory that they have together. Reach: at most 15 ms an audit, as many for 20,000 as for 50. Last, for
comparison, what a measurement in a process of its own takes: real `screen` audits of tiny models by two workers, and in
one process by `auditor scan --here`.

The database is made for the measurement and dropped after it. The broker's queue must be empty, and nobody else's: its
messages would be lost, and its workers would take these. The times are of this machine.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
from sqlalchemy import Engine, create_engine, text

from auditor.config import settings
from auditor.db.leases import Leases, Unsent
from auditor.db.session import open_database
from auditor.db.store import Store
from auditor.jobs.queue import count_waiting, send
from auditor.records import AuditRequest, ZooEntry
from auditor.scans.request import ScanRequest
from benchmarks.scratch import make_zoo, scratch_database


@contextlib.contextmanager
def workers(module: str, number: int, folder: Path) -> Iterator[list[psutil.Process]]:
    """Workers of one process each, ready for messages; yields all of their processes."""
    options = {"gpus": None, "queue": "cpu", "processes": 1, "threads": 1, "max_jobs": 10_000, "grace": 5.0}
    arguments = json.dumps(options | {"trust_code": True, "log_level": "INFO"})
    logs = [folder / f"{module}-{index}.log" for index in range(number)]
    started = [
        subprocess.Popen([sys.executable, "-m", module, arguments], stdout=log.open("wb"), stderr=subprocess.STDOUT)
        for log in logs
    ]
    try:
        until = time.monotonic() + 120
        while not all(" ready." in log.read_text() for log in logs):
            if time.monotonic() > until or any(one.poll() is not None for one in started):
                raise SystemExit("a worker did not start: " + "\n".join(log.read_text()[-2000:] for log in logs))
            time.sleep(0.1)
        parents = [psutil.Process(one.pid) for one in started]
        yield [process for parent in parents for process in (parent, *parent.children(recursive=True))]
    finally:
        for one in started:
            one.terminate()
        for one in started:
            one.wait(60)


def entries(folder: Path, number: int, prefix: str) -> list[ZooEntry]:
    return [
        ZooEntry(
            model=f"local:{prefix}-{index}",
            source="local",
            description="of the benchmark",
            architecture={"timm": "resnet18", "kwargs": {}},
            preprocessing={},
            dataset="fashion_mnist",
            threat_model="Linf",
            norm="Linf",
            eps=0.1,
            input_size=(1, 28, 28),
            place=str(folder),
        )
        for index in range(number)
    ]


def screen(folder: Path) -> ScanRequest:
    audit = AuditRequest(protocol="screen")
    return ScanRequest.make(audit, samples=None, folder=str(folder), trust_code=True)


def through_queue(engine: Engine, models: Sequence[ZooEntry], request: ScanRequest) -> float:
    """Milliseconds an audit, from the first one's end to the last one's; all must be done."""
    scan_id, jobs = Store(engine).create_scan("local", request.to_json(), models, queue="cpu")
    Leases(engine).mark_sent([job.audit_id for job in jobs])
    send([Unsent(job.audit_id, request.seconds) for job in jobs], "cpu")
    wait_for(engine, scan_id)
    return time_scan(engine, scan_id, len(models))


def wait_for(engine: Engine, scan_id: int) -> None:
    """Wait until a scan has ended."""
    while _pending(engine, scan_id):
        time.sleep(0.5)


def time_scan(engine: Engine, scan_id: int, audits: int) -> float:
    """Milliseconds an audit, from the first one's end to the last one's; all must be done at the first attempt."""
    ends = text(
        "SELECT COUNT(*), EXTRACT(EPOCH FROM MAX(finished_at) - MIN(finished_at)) FROM audits"
        " JOIN scan_audits ON audit_id = audits.id WHERE scan_id = :scan AND state = 'done' AND attempt = 1"
    )
    with engine.connect() as connection:
        done, seconds = connection.execute(ends, {"scan": scan_id}).one()
    if done != audits:
        raise SystemExit(f"expected {audits} audits done at the first attempt, got {done}")
    return 1000 * float(seconds) / (done - 1)


def _pending(engine: Engine, scan_id: int) -> int:
    with engine.connect() as connection:
        return connection.scalar(text("SELECT pending FROM scans WHERE id = :scan"), {"scan": scan_id}) or 0


@dataclass(frozen=True)
class Cost:
    """What has been used so far: transactions of a database, CPU seconds of processes."""

    transactions: int
    cpu: dict[str, float]

    @classmethod
    def now(cls, engine: Engine, family: Sequence[psutil.Process]) -> "Cost":
        time.sleep(11)  # PostgreSQL's idle backends tell their statistics every ten seconds
        with engine.connect() as connection:
            query = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
            transactions = connection.scalar(text(query)) or 0
            backends = connection.scalars(
                text("SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
            ).all()
        cpu = dict.fromkeys(("parents", "pools", "reapers", "PostgreSQL"), 0.0)
        for process in family:
            cpu[_part(process)] += _seconds(process)
        cpu["PostgreSQL"] = sum(_seconds(psutil.Process(pid)) for pid in backends if psutil.pid_exists(pid))
        return cls(transactions, cpu)

    def since(self, before: "Cost", audits: int) -> str:
        parts = (f"{part} {1000 * (self.cpu[part] - before.cpu[part]) / audits:.1f}" for part in self.cpu)
        number = (self.transactions - before.transactions) / audits
        return f"{number:.1f} transactions; CPU ms: {', '.join(parts)}"


def _part(process: psutil.Process) -> str:
    if "workers.reaper" in process.cmdline():
        return "reapers"
    return "pools" if process.cmdline() == psutil.Process(process.ppid()).cmdline() else "parents"


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def no_ops(engine: Engine, sizes: Sequence[int], number: int, folder: Path) -> None:
    with workers("benchmarks.no_op_worker", number, folder) as family:
        through_queue(engine, entries(folder, 20, f"warm-{number}"), screen(folder))
        before = Cost.now(engine, family)
        for size in sizes:
            took = through_queue(engine, entries(folder, size, f"no-op-{number}-{size}"), screen(folder))
            print(f"{size:,} no-op audits, {number} workers: {took:.1f} ms an audit", flush=True)
            alive = [process for process in family if process.is_running()]
            after = Cost.now(engine, alive)
            cost = after.since(before, size) if alive == family else "cost unknown: a pool replaced its processes"
            print(f"  an audit: {cost}", flush=True)
            before, family = after, alive
        memory = sum(process.memory_info().rss for process in family)
        print(
            f"  {number} workers with reapers: {memory / 1e6:,.0f} MB resident, shared pages counted in each",
            flush=True,
        )


def isolated(engine: Engine, server: str, audits: int, number: int, folder: Path) -> None:
    zoo = make_zoo(folder / "zoo", audits)
    with workers("workers", number, folder):
        took = through_queue(engine, zoo.entries(), screen(zoo.folder))
    print(f"{audits} screen audits of tiny models, {number} workers: {took:.0f} ms an audit", flush=True)
    command = [sys.executable, "-m", "auditor", "scan", "local", str(zoo.folder), "--here", "--trust-code"]
    for jobs in dict.fromkeys((1, number)):
        with scratch_database(server) as url:
            subprocess.run(
                [*command, "--protocol", "screen", "--jobs", str(jobs), "--format", "json"],
                env=os.environ | {"AUDITOR_DATABASE_URL": url},
                check=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            query = "SELECT EXTRACT(EPOCH FROM MAX(finished_at) - MIN(finished_at)) FROM audits WHERE state = 'done'"
            with create_engine(url).connect() as connection:
                seconds = float(connection.scalar(text(query)) or 0)
        print(f"the same, auditor scan --here --jobs {jobs}: {1000 * seconds / (audits - 1):.0f} ms an audit")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", default="postgresql+psycopg://postgres@127.0.0.1:5432/")
    parser.add_argument("--broker", default="redis://127.0.0.1:6379/9")
    parser.add_argument("--sizes", default="50,500,5000,20000")
    parser.add_argument("--workers", default="1,4,16", help="one measurement for each number of workers")
    parser.add_argument("--isolated", type=int, default=40, help="real audits for comparison; 0 for none")
    options = parser.parse_args()
    with scratch_database(options.server) as url, tempfile.TemporaryDirectory() as folder:
        os.environ |= {"AUDITOR_DATABASE_URL": url, "AUDITOR_BROKER_URL": options.broker}
        settings.cache_clear()
        if count_waiting("cpu"):
            raise SystemExit(f"the queue cpu of {options.broker} holds messages: name another broker with --broker")
        engine = open_database(url)
        for number in map(int, options.workers.split(",")):
            no_ops(engine, [int(size) for size in options.sizes.split(",")], number, Path(folder))
        if options.isolated:
            isolated(engine, options.server, options.isolated, 2, Path(folder))
        engine.dispose()


if __name__ == "__main__":
    main()
