"""Pages and answers of `auditor serve` over a database of 100,000 audits, with many readers, idle and during a scan.

    OMP_NUM_THREADS=1 python -m benchmarks.web [--models 1000] [--nights 100] [--server URL] [--repeats 40]  # 5 minutes

A real server in a process of its own, on a database that is made for it: SQLite's, and one of the PostgreSQL server,
dropped afterwards. One line a page, one reader, a warm server: the median and the longest of the repeats, each after
something was written to the database, so that the page is made again; then the median of repeats without a write, for
which the server sends what it kept. Reach: 25 ms after a write, and 60 ms for the zoo plot.

Then 50 readers at once, each asking again as soon as it was answered, for all pages in turn: first on the idle server,
reach 200 answers a second; then while `auditor scan demo` writes to the same database, reach a median under 300 ms.
No answer may be an error. The seconds are of this machine; readers, server and scan share its cores.
"""

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import update

from auditor.db.models import Worker
from auditor.db.session import open_database
from benchmarks.scratch import scratch_database
from tests.factories.large_zoo import fill_zoo

READERS = 50
SECONDS = 20
PAGES = (
    "/",
    "/?dataset=cifar10&protocol=standard&sort=-gap",
    "/?match=trades",
    "/?flagged=false",
    "/zoo",
    "/audits/{zoo.done}",
    "/compare?model={zoo.compared[0]}&model={zoo.compared[1]}",
    "/scans",
    "/scans/{zoo.scan}",
    "/boosts",
    "/boosts/{zoo.jobs.boost}",
    "/adaptations",
    "/checkpoints",
    "/workers",
    "/schedules",
    "/api/v1/results?limit=100",
    "/api/v1/models?limit=100",
    "/api/v1/results?history=true&sort=-started_at&limit=100",
    "/api/v1/results/{zoo.done}",
    "/api/v1/scans",
    "/api/v1/checkpoints",
    "/static/style.css",
)
REACH, REACH_ZOO = 25, 60
"""Milliseconds."""


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
                _, output = one.communicate()
            if not stop.is_set() and one.returncode:
                raise RuntimeError(f"the scan failed: {output.decode().strip()}")

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


def page_line(address: str, path: str, repeats: int, write: Callable[[], None]) -> str:
    connection = HTTPConnection(address, timeout=60)
    first = ask(connection, path)
    assert first[0] == 200, f"{path}: {first[0]}"
    new = []
    for _ in range(repeats):
        write()
        new.append(ask(connection, path)[1])
    kept = [ask(connection, path)[1] for _ in range(repeats)]
    reach = REACH_ZOO if path == "/zoo" else REACH
    took = f"median {statistics.median(new):.0f} ms, longest {max(new):.0f} ms (reach: {reach} ms)"
    return f"{path}: {took}; kept {statistics.median(kept):.1f} ms; {first[2] / 1000:.0f} kB"


def crowd_line(address: str, paths: tuple[str, ...], reach: str) -> str:
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
        f"{READERS} readers for {SECONDS} s: {len(found) / SECONDS:.0f} answers a second, median "
        f"{statistics.median(times):.0f} ms, longest {max(times):.0f} ms, {errors} errors (reach: {reach}, no error)"
    )


def measure(url: str, models: int, nights: int, repeats: int) -> None:
    engine = open_database(url)
    zoo = fill_zoo(engine, models=models, nights=nights)
    print(f"{engine.dialect.name}, {zoo.audits:,} audits of {models:,} models:", flush=True)

    def write() -> None:
        """A heartbeat."""
        with engine.begin() as connection:
            connection.execute(update(Worker).values(seen_at=datetime.now(UTC)))

    paths = tuple(quote(path.format(zoo=zoo), safe="/?&=") for path in PAGES)
    with serving(url) as address:
        for path in paths:
            print(f"  {page_line(address, path, repeats, write)}", flush=True)
        print(f"  {crowd_line(address, paths, '200 answers a second')}", flush=True)
        with scanning(url):
            print(f"  during a scan: {crowd_line(address, paths, 'a median under 300 ms')}", flush=True)
    engine.dispose()


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
