"""One scan over all pretrained networks of timm, and one over RobustBench: planned, queued, worked off, reported.

    OMP_NUM_THREADS=1 python -m benchmarks.whole_zoo [--server URL] [--broker redis://127.0.0.1:6379/9] [--workers 2]

Nothing is downloaded and no network is constructed: `auditor scan --queue` lists the zoo and stores its audits, workers
that measure nothing end them (benchmarks.no_op_worker), and the commands that report read them. One line a command: its
seconds and the most memory that it had (resident set). Reach: 1,000 MB for the plans, most of it torch and timm,
and 500 MB for the reports; 15 ms an audit in the queue. The broker's queue must be empty and nobody else's.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sqlalchemy import Engine, text

from auditor.config import settings
from auditor.db.session import open_database
from auditor.jobs.queue import count_waiting
from benchmarks.queue import time_scan, wait_for, workers
from benchmarks.scratch import scratch_database

SCANS = (("timm", "--pretrained-only"), ("robustbench",))
PLAN_MB, REPORT_MB = 1000, 500


PEAK = """
import resource, subprocess, sys
ended = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(ended)
"""
"""A small process that starts a command: Linux counts the memory of whoever starts it in the command's peak."""


def command_line(words: list[str], reach: int) -> str:
    """Run `auditor` with these words; what it took."""
    started = time.perf_counter()
    command = [sys.executable, "-I", "-S", "-c", PEAK, sys.executable, "-m", "auditor", *words]
    peak = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    seconds, size = time.perf_counter() - started, int(peak) * 1024 / 1e6
    shown = " ".join(Path(word).name if word.startswith("/") else word for word in words)
    return f"auditor {shown}: {seconds:.1f} s, at most {size:,.0f} MB (reach: {reach:,} MB)"


def measure(engine: Engine, number: int, folder: Path) -> None:
    for scan_id, words in enumerate(SCANS, 1):
        print(command_line(["scan", *words, "--protocol", "screen", "--queue"], PLAN_MB), flush=True)
        with engine.connect() as connection:
            query = text("SELECT pending FROM scans WHERE id = :scan")
            planned = connection.execute(query, {"scan": scan_id}).scalar_one()
        with workers("benchmarks.no_op_worker", number, folder):
            wait_for(engine, scan_id)
        took = time_scan(engine, scan_id, planned)
        print(f"  {planned:,} audits, {number} workers: {took:.1f} ms an audit (reach: 15 ms)", flush=True)
        for report in (
            ["scans", "show", str(scan_id)],
            ["results", "list", "--scan", str(scan_id), "--format", "json"],
            ["report", str(scan_id), "-o", str(folder / f"{scan_id}.html")],
        ):
            print(f"  {command_line(report, REPORT_MB)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", default="postgresql+psycopg://postgres@127.0.0.1:5432/")
    parser.add_argument("--broker", default="redis://127.0.0.1:6379/9")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    with scratch_database(options.server) as url, tempfile.TemporaryDirectory() as folder:
        os.environ |= {"AUDITOR_DATABASE_URL": url, "AUDITOR_BROKER_URL": options.broker, "HF_HUB_OFFLINE": "1"}
        settings.cache_clear()
        if count_waiting("cpu"):
            raise SystemExit(f"the queue cpu of {options.broker} holds messages: name another broker with --broker")
        engine = open_database(url)
        measure(engine, options.workers, Path(folder))
        engine.dispose()


if __name__ == "__main__":
    main()
