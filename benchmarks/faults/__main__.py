"""Audits by real workers while processes, services and links fail; each result must be that of a local run.

    OMP_NUM_THREADS=1 python -m benchmarks.faults [--audits 300] [--only NAME …] [--write docs/service-measured.md]

Each scenario has PostgreSQL, Redis and workers of its own, on free ports, and audits the same zoo of tiny models under
`quick`. In the end every audit must be done once, the queue be empty, no attack's progress be left, and every figure
and verdict be that of one run without workers, bit for bit. What is in the store is done already; a scenario that
failed runs again. It needs root (network namespaces, a tmpfs), and Debian's packages postgresql, redis-server and
iproute2. The exit code is 1 if anything else than expected is found.
"""

import argparse
import hashlib
import json
import signal
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.faults import database, links, page, processes, upgrade
from benchmarks.faults.reference import measure_reference
from benchmarks.faults.scenario import Scenario, run
from benchmarks.faults.stage import Options
from benchmarks.scratch import make_zoo

SCENARIOS: tuple[type[Scenario], ...] = (
    processes.WorkersKilled,
    processes.WorkersStopped,
    processes.BrokerFlushed,
    processes.BrokerKilled,
    processes.BrokerReplaced,
    links.BrokerCutOff,
    links.WorkersCutOff,
    database.DatabaseRestarted,
    database.ConnectionsEnded,
    database.DiskFull,
    database.DatabaseReadOnly,
    processes.TwoBeats,
    upgrade.Upgraded,
    database.Restored,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audits", type=int, default=300)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0, help="draws the workers")
    parser.add_argument("--minutes", type=float, default=16, help="that a scenario may take")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=[kind.name for kind in SCENARIOS])
    parser.add_argument("--store", type=Path, default=Path("benchmarks/runs/faults"))
    parser.add_argument("--stored", action="store_true", help="run nothing; show what is stored, of any options")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="write the figures into this page")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that services, mounts and namespaces are removed
    options = Options(given.audits, given.samples, given.workers, given.seed, given.minutes)
    given.store.mkdir(parents=True, exist_ok=True)
    chosen = [kind for kind in SCENARIOS if not given.only or kind.name in given.only]
    if given.stored:
        rows = [row for kind in chosen if (row := load(file_of(kind, given.store), {})) is not None]
    else:
        with tempfile.TemporaryDirectory(dir="/tmp", prefix="auditor-faults-") as folder:
            rows = run_all(options, chosen, given.store, Path(folder))
    print(page.table(rows))
    if given.write:
        page.write(given.write, rows)
    wrong = [f"{row['scenario']}: {line}" for row in rows for line in row["wrong"]]
    if wrong:
        sys.exit("FAILED:\n" + "\n".join(wrong))


def run_all(options: Options, chosen: list[type[Scenario]], store: Path, folder: Path) -> list[dict[str, Any]]:
    """The rows of the chosen scenarios, from the store or from a run."""
    zoo = make_zoo(folder / "zoo", options.audits).folder
    same = {"audits": options.audits, "samples": options.samples}
    here = same | {"machine": machine()}  # another kind of processor rounds otherwise, and so does another torch
    local = load(store / "local.json", here)
    if local is None:
        local = here | measure_reference(zoo, options.samples, folder)
        save(store / "local.json", local)
    print(f"{options.audits} audits in one process, without workers: {local['seconds']:.0f} s", flush=True)
    same |= {"workers": options.workers, "seed": options.seed, "wrong": []}
    rows = []
    for kind in chosen:
        file = file_of(kind, store)
        row = load(file, same)
        if row is None:
            print(f"{kind.name}: {kind.fault}", flush=True)
            began = time.monotonic()
            row = run(kind(), zoo, options, local["digests"])
            save(file, row)
            print(f"  {page.sentence(row)} ({time.monotonic() - began:.0f} s in all)", flush=True)
        rows.append(row)
    return rows


def machine() -> str:
    """The processor and torch, on which the last bits of a figure depend."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    parts = dict(line.partition(":")[::2] for line in lines if line.startswith(("model name", "flags")))
    digest = hashlib.sha256(repr(sorted(parts.items())).encode()).hexdigest()[:12]
    return f"{digest}, torch {version('torch')}"


def file_of(kind: type[Scenario], store: Path) -> Path:
    return store / f"{kind.name.replace(' ', '-')}.json"


def load(file: Path, same: dict[str, Any]) -> dict[str, Any] | None:
    """A stored row, if it is one of the same options."""
    if not file.exists():
        return None
    row: dict[str, Any] = json.loads(file.read_text())
    return row if all(row.get(name) == value for name, value in same.items()) else None


def save(file: Path, row: dict[str, Any]) -> None:
    file.write_text(json.dumps(row, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
