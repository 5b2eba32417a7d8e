"""What a scan costs beside its measuring, and how that grows with processes, images and models.

    python -m benchmarks.scan [overhead | jobs | busy | images | models | estimate]     # 8 minutes of two idle cores

One line a ratio. Scans are of the real command line in a process of its own, each with a fresh SQLite database in which
everything is stored. Threads are AUDITOR_THREADS, 1 unless stated otherwise.

overhead: wall time of `auditor scan demo --protocol quick` over the sum of the `seconds` that it stored. These are
    taken inside an audit: linearizing, scoring, attacking. Not in them, and so the scan's own, are the start of
    processes, the import of torch, the making of the database, loading images and weights, and storing. Reach: 1.15.
jobs: wall time of the same scan as it is by default over one process of all threads that spin while they wait, which
    was the default once, in turns. Reach: at most 0.8.
busy: wall time of the same scan beside one process that keeps a core busy, over its time without, in turns: as it is by
    default, and with one process of all threads, as workers, boosts and adaptations have it. Reach: at most 2.6.
images: an image's cost in an audit of 256 over one of 64, after `screen`'s seconds, the constant, are subtracted.
    Reach: at most 1.25.
models: a `screen` scan of a made-up zoo of 200 linear classifiers. Wall time of its second half over its first, reach
    at most 1.1; and the largest resident memory of its processes, measured from outside, at the last models and around
    the 20th, reach at most 1.1.
estimate: what `--dry-run` says an audit takes, over what it then took. The cost model: the passes that the attacks make
    on a few of the images, the templates of a few classes, and what these take. Nothing is fitted, so all models are
    new to it. Reach: within a factor of 1.5 for four of five models.
"""

import argparse
import contextlib
import json
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.scratch import make_zoo
from benchmarks.side_by_side import AUDITOR, environment, in_turns, ratio_line, run

FEW = ("at-eps0.10", "trades-eps0.05", "plain-at-eps0.10")
"""Of both of the demo zoo's architectures, and not all broken at once."""
QUICK = ("demo", "--protocol", "quick")
SPINS = "300000"
"""So often GNU's OpenMP looks before a thread sleeps, as it does by default with no more threads than cores."""
POLL = 0.02


@dataclass(frozen=True)
class Scanned:
    """A scan that has ended: its wall time, and the seconds that it stored, by model without its source."""

    wall: float
    seconds: dict[str, float]


def scan(folder: Path, *arguments: str, threads: int | None = 1, **variables: str) -> Scanned:
    """Scan with a fresh database in the folder; ``threads``: None leaves them to the scan."""
    file = fresh(folder)
    cost = run([*AUDITOR, "scan", *arguments], **of_database(file, threads), **variables)
    return Scanned(cost.wall, stored(file))


def fresh(folder: Path) -> Path:
    return Path(tempfile.mkdtemp(dir=folder)) / "audits.db"


def of_database(file: Path, threads: int | None) -> dict[str, str]:
    number = "" if threads is None else str(threads)  # an empty variable counts as unset
    return {"AUDITOR_DATABASE_URL": f"sqlite:///{file}", "AUDITOR_THREADS": number, "OMP_NUM_THREADS": number}


def stored(file: Path) -> dict[str, float]:
    query = (
        "SELECT name, seconds FROM audits JOIN models ON models.id = model_id WHERE state = 'done' ORDER BY audits.id"
    )
    with sqlite3.connect(file) as connection:
        return {name.partition(":")[2]: seconds for name, seconds in connection.execute(query)}


def models_of(names: tuple[str, ...]) -> list[str]:
    return [part for name in names for part in ("--model", name)]


def overhead(folder: Path, repeats: int) -> Iterator[str]:
    pairs = []
    for _ in range(repeats):
        found = scan(folder, "demo", "--protocol", "quick", "--jobs", "1")
        pairs.append((found.wall, sum(found.seconds.values())))
    yield ratio_line(f"wall time of a quick scan of {len(found.seconds)} models / its measuring", pairs, 1.15)


def jobs(folder: Path, repeats: int) -> Iterator[str]:
    def ours() -> float:
        return scan(folder, *QUICK, threads=None).wall

    def theirs() -> float:
        return scan(folder, *QUICK, "--jobs", "1", threads=None, GOMP_SPINCOUNT=SPINS).wall

    pairs = in_turns(ours, theirs, repeats, warm_up=False)
    yield ratio_line("quick scan by default / one process of all threads, which spin", pairs, 0.8)


@contextlib.contextmanager
def one_busy_core() -> Iterator[None]:
    """A process that never waits."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def busy(folder: Path, repeats: int) -> Iterator[str]:
    for name, more in (("by default", ()), ("one process of all threads", ("--jobs", "1"))):

        def idle(more: tuple[str, ...] = more) -> float:
            return scan(folder, *QUICK, *more, threads=None).wall

        def beside(idle: Callable[[], float] = idle) -> float:
            with one_busy_core():
                return idle()

        pairs = in_turns(beside, idle, repeats, warm_up=False)
        yield ratio_line(f"quick scan beside one busy core / without, {name}", pairs, 2.6)


def images(folder: Path, repeats: int) -> Iterator[str]:
    counts = (64, 128, 256)
    found: dict[int, list[float]] = {count: [] for count in counts}
    for _ in range(repeats):
        constant = sum(scan(folder, "demo", *models_of(FEW), "--protocol", "screen").seconds.values())
        for count in counts:
            whole = scan(folder, "demo", *models_of(FEW), "--protocol", "quick", "--samples", str(count))
            found[count].append((sum(whole.seconds.values()) - constant) / count / len(FEW))
    each = ", ".join(f"{1000 * statistics.median(found[count]):.1f} ms at {count}" for count in counts)
    yield ratio_line(f"cost of an image at 256 / at 64 ({each})", list(zip(found[256], found[64], strict=True)), 1.25)


@dataclass
class Watched:
    """A scan watched from outside: when each model ended, and the tree's resident memory as time went on."""

    ended: list[float] = field(default_factory=list)
    memory: list[tuple[int, int]] = field(default_factory=list)

    def peak(self, first: int, last: int) -> float:
        """Largest resident memory while the models from ``first`` to ``last`` were measured, in MB."""
        return max(held for model, held in self.memory if first <= model <= last) / 1e6


def watch(arguments: list[str], file: Path) -> Watched:
    """Run a scan; off a terminal it prints a line on stderr as each model ends."""
    watched = Watched()
    child = subprocess.Popen(
        [sys.executable, *AUDITOR, "scan", *arguments],
        env=environment(**of_database(file, 1)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )

    def follow() -> None:
        assert child.stderr is not None
        watched.ended += (time.perf_counter() for line in child.stderr if line.rstrip().endswith(": done"))

    reading = threading.Thread(target=follow)
    reading.start()
    while child.poll() is None:
        watched.memory.append((len(watched.ended) + 1, resident(child.pid)))
        time.sleep(POLL)
    reading.join()
    if child.returncode:
        raise RuntimeError(f"the scan ended with exit code {child.returncode}")
    return watched


def resident(pid: int) -> int:
    """Bytes of a process and all below it; pages that forks share count for each."""
    held = 0
    try:
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            held += process.memory_info().rss
    except psutil.Error:
        pass  # one has ended meanwhile: what was counted is less than there was, and no peak
    return held


def models(folder: Path, number: int) -> Iterator[str]:
    make_zoo(folder / "zoo", number)
    arguments = ["local", str(folder / "zoo"), "--trust-code", "--protocol", "screen"]
    watched = watch(arguments, fresh(folder))
    middle = number // 2
    halves = (watched.ended[-1] - watched.ended[middle], watched.ended[middle - 1] - watched.ended[0])
    yield ratio_line(f"wall time of the second half of {number} models / the first", [halves], 1.1)
    last, early = watched.peak(number - 9, number), watched.peak(11, 20)
    yield (
        f"resident memory at the end of {number} models / at the 20th: {last / early:.2f} "
        f"({last:.0f} MB against {early:.0f} MB), reach at most 1.1"
    )


def estimate(folder: Path, repeats: int) -> Iterator[str]:
    for protocol in (("screen",), ("quick", "--samples", "64"), ("quick",)):
        ratios: dict[str, list[float]] = {}
        for _ in range(repeats):
            arguments = ["demo", "--protocol", *protocol]
            estimates = dry_run(fresh(folder), arguments)
            took = scan(folder, *arguments).seconds
            for model, seconds in took.items():
                ratios.setdefault(model, []).append(estimates[model] / seconds)
        medians = {model: statistics.median(values) for model, values in ratios.items()}
        good = sum(1 / 1.5 <= ratio <= 1.5 for ratio in medians.values())
        yield (
            f"estimated / measured seconds, {' '.join(protocol)}: {min(medians.values()):.2f} to "
            f"{max(medians.values()):.2f} (median {statistics.median(medians.values()):.2f}), "
            f"within a factor of 1.5 for {good} of {len(medians)}, reach four of five"
        )


def dry_run(file: Path, arguments: list[str]) -> dict[str, float]:
    command = [sys.executable, *AUDITOR, "scan", *arguments, "--dry-run", "--format", "json"]
    done = subprocess.run(
        command, env=environment(**of_database(file, 1)), check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    return {row["model"].partition(":")[2]: row["seconds"] for row in json.loads(done.stdout)}


PARTS: dict[str, Callable[[Path, int, int], Iterator[str]]] = {
    "overhead": lambda folder, repeats, _: overhead(folder, repeats),
    "jobs": lambda folder, repeats, _: jobs(folder, repeats),
    "busy": lambda folder, repeats, _: busy(folder, repeats),
    "images": lambda folder, repeats, _: images(folder, repeats),
    "models": lambda folder, _, number: models(folder, number),
    "estimate": lambda folder, _, __: estimate(folder, 1),
}


def lines(part: str | None = None, *, repeats: int = 2, number: int = 200) -> Iterator[str]:
    for name, measure in PARTS.items():
        if part in (None, name):
            with tempfile.TemporaryDirectory(prefix="auditor-bench-") as folder:
                yield from measure(Path(folder), repeats, number)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=PARTS, help="only this one")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--models", type=int, default=200)
    options = parser.parse_args()
    for line in lines(options.part, repeats=options.repeats, number=options.models):
        print(line, flush=True)


if __name__ == "__main__":
    main()
