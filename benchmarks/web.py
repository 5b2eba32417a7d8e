"""Pages and answers of `auditor serve` over a database of 100,000 audits, with many readers, while a scan goes on.

    OMP_NUM_THREADS=1 python -m benchmarks.web [--models 1000] [--nights 100] [--server URL] [--repeats 40]  # 3 minutes

A real server in a process of its own, on a database that is made for it: SQLite's, and one of the PostgreSQL server,
dropped afterwards. One line a page: the median and the longest of the repeats from a warm server, one reader. Reach:
the leaderboard under 150 ms. Then 50 readers at once, each asking again as soon as it was answered, while
`auditor scan demo` writes to the same database: how many answers, how many of them errors (reach: none), how long they
took. The seconds are of this machine; readers, server and scan share its cores.
"""

import argparse
import contextlib
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Engine, insert, text

from auditor.db.codec import pack_matrix
from auditor.db.models import Audit, Clustering, Model
from auditor.db.session import open_database
from benchmarks.scratch import scratch_database

READERS = 50
SECONDS = 20
PAGES = (
    "/",
    "/?dataset=cifar10&protocol=standard&sort=-gap",
    "/?match=model-00",
    "/?flagged=false",
    "/zoo",
    "/audits/{last}",
    "/compare",
    "/scans",
    "/api/v1/results?limit=100",
    "/api/v1/models?limit=100",
    "/api/v1/results?history=true&sort=-started_at&limit=100",
)
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
MATRIX = pack_matrix(np.corrcoef(np.random.default_rng(0).normal(size=(10, 20))))
SUPERCLASSES = ["vehicle", "vehicle", *["animal"] * 6, "vehicle", "vehicle"]


def seed(engine: Engine, models: int, nights: int) -> None:
    """So many models, each audited every night: the last night's audits are the latest."""
    draw, began = random.Random(0), datetime(2026, 1, 1, tzinfo=UTC)
    with engine.begin() as connection:
        connection.execute(insert(Model), [_model(number) for number in range(1, models + 1)])
        for night in range(nights):
            ids = range(night * models + 1, (night + 1) * models + 1)
            last, at = night == nights - 1, began + timedelta(days=night)
            connection.execute(insert(Audit), [_audit(id, id - night * models, last, at, draw.random()) for id in ids])
            connection.execute(insert(Clustering), [_clustering(id, draw) for id in ids])
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT setval('audits_id_seq', (SELECT MAX(id) FROM audits))"))
            connection.execute(text("SELECT setval('models_id_seq', (SELECT MAX(id) FROM models))"))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))


def _model(number: int) -> dict[str, Any]:
    return {
        "id": number, "name": f"timm:model-{number:04}", "source": "timm", "description": "a network of the benchmark",
        "dataset": "cifar10", "architecture": {"name": f"family{number % 12}"},
        "training": {"method": ("at", "trades", "standard")[number % 3], "eps": 0.031},
    }  # fmt: skip


def _audit(number: int, model: int, last: bool, at: datetime, robust: float) -> dict[str, Any]:
    return {
        "id": number, "model_id": model, "identity": f"{number:064}", "state": "done", "attempt": 1, "latest": last,
        "latest_done": last, "dataset": "imagenet" if model % 3 == 0 else "cifar10", "threat_model": "Linf",
        "norm": "Linf", "eps": 8 / 255, "protocol": "quick" if model % 2 else "standard", "samples": 1000,
        "linearization": "remove", "seed": 0, "parameters": {"attacks": [{"name": "pgd-20", "steps": 20}]},
        "hierarchy": "cifar10", "classes": CLASSES, "superclasses": SUPERCLASSES, "weights_sha256": f"{model:064}",
        "images_sha256": "i" * 64, "n": 1000, "clean_accuracy": 0.8, "robust_accuracy": round(robust, 3),
        "robust_low": robust * 0.9, "robust_high": min(1.0, robust * 1.1), "affinity_error": 1e-7,
        "flags": ["randomized"] if model % 20 == 0 else [], "notes": ["a note"], "not_measurable": [], "seconds": 60.0,
        "device": "cpu", "batch_size": 256, "versions": {"auditor": "0.1.0", "torch": "2.10"}, "queued_at": at,
        "started_at": at + timedelta(seconds=model), "finished_at": at + timedelta(seconds=model + 60),
        "confirmed_at": at + timedelta(seconds=model + 60),
    }  # fmt: skip


def _clustering(audit: int, draw: random.Random) -> dict[str, Any]:
    scores = ("intra", "inter", "gap", "silhouette", "rand_index", "cophenetic", "p_value")
    return {
        "audit_id": audit, "kind": "weights", "effective_rank": 1 + 8 * draw.random(), "leaf_order": list(range(10)),
        "reasons": {}, "size": 10, "matrix": MATRIX, **{name: draw.random() for name in scores},
    }  # fmt: skip


@contextlib.contextmanager
def serving(url: str) -> Iterator[str]:
    """The address of a server of this database."""
    command = [sys.executable, "-m", "auditor", "serve", "--port", "0", "--rate", "100000000"]
    environment = os.environ | {"AUDITOR_DATABASE_URL": url}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        address = process.stderr.readline().strip()
        try:
            yield address.removeprefix("http://").rstrip("/")
        finally:
            process.terminate()


@contextlib.contextmanager
def scanning(url: str) -> Iterator[None]:
    """A scan into this database, begun again whenever it has ended."""
    command = [sys.executable, "-m", "auditor", "scan", "demo", "--protocol", "quick", "--force"]
    environment, stop = os.environ | {"AUDITOR_DATABASE_URL": url}, threading.Event()

    def scan() -> None:
        while not stop.is_set():
            with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as one:
                while one.poll() is None and not stop.wait(0.1):
                    pass
                one.terminate()
                _, said = one.communicate()
            if not stop.is_set() and one.returncode:
                raise RuntimeError(f"the scan failed: {said.decode().strip()}")

    thread = threading.Thread(target=scan)
    thread.start()
    try:
        time.sleep(8)  # until it measures
        yield
    finally:
        stop.set()
        thread.join()


def ask(connection: HTTPConnection, path: str) -> tuple[int, float, int]:
    """Status, milliseconds and bytes of an answer."""
    started = time.perf_counter()
    connection.request("GET", path)
    answer = connection.getresponse()
    size = len(answer.read())
    return answer.status, 1000 * (time.perf_counter() - started), size


def page_line(address: str, path: str, repeats: int) -> str:
    connection = HTTPConnection(address, timeout=60)
    first = ask(connection, path)
    assert first[0] == 200, f"{path}: {first[0]}"
    times = [ask(connection, path)[1] for _ in range(repeats)]
    reach = ", reach under 150 ms" if path == "/" else ""
    took = f"median {statistics.median(times):.0f} ms, longest {max(times):.0f} ms"
    return f"{path}: {took}, {first[2] / 1000:.0f} kB{reach}"


def crowd_line(address: str, paths: tuple[str, ...]) -> str:
    """Many readers, each on its own connection, through all pages in turn."""
    found: list[tuple[int, float, int]] = []
    until = time.perf_counter() + SECONDS

    def read(offset: int) -> None:
        connection, turn = HTTPConnection(address, timeout=120), offset
        while time.perf_counter() < until:
            try:
                found.append(ask(connection, paths[turn % len(paths)]))
            except OSError:
                found.append((0, 0.0, 0))
                connection.close()
            turn += 1

    readers = [threading.Thread(target=read, args=(number,)) for number in range(READERS)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    times, errors = [ms for _, ms, _ in found], sum(status != 200 for status, _, _ in found)
    return (
        f"{READERS} readers for {SECONDS} s during a scan: {len(found)} answers, {errors} errors (reach: 0), "
        f"median {statistics.median(times):.0f} ms, longest {max(times):.0f} ms"
    )


def measure(url: str, models: int, nights: int, repeats: int) -> None:
    engine = open_database(url)
    print(f"{engine.dialect.name}, {models * nights:,} audits of {models:,} models:", flush=True)
    seed(engine, models, nights)
    engine.dispose()
    paths = tuple(path.format(last=models * nights) for path in PAGES)
    with serving(url) as address:
        for path in paths:
            print(f"  {page_line(address, path, repeats)}", flush=True)
        with scanning(url):
            print(f"  {crowd_line(address, paths)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", default="postgresql+psycopg://postgres@127.0.0.1:5432/")
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--nights", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=40)
    options = parser.parse_args()
    numbers = (options.models, options.nights, options.repeats)
    with tempfile.TemporaryDirectory(prefix="auditor-bench-") as folder:
        measure(f"sqlite:///{Path(folder) / 'audits.db'}", *numbers)
    with scratch_database(options.server) as url:
        measure(url, *numbers)


if __name__ == "__main__":
    main()
