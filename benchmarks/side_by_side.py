"""Two programs side by side: what child processes cost, in turns, and the one line that says so."""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
AUDITOR = ("-c", "import sys; from auditor.cli import main; sys.exit(main(prog_name='auditor'))")
"""What the installed script `auditor` does."""


@dataclass(frozen=True)
class Cost:
    """Of one process: ``cpu`` its seconds in user and system, ``wall`` of the clock."""

    cpu: float
    wall: float


def environment(**variables: str) -> dict[str, str]:
    """The environment of a child: with these variables, and with this checkout in front of an installed auditor."""
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return os.environ | {"PYTHONPATH": paths} | variables


def run(arguments: Sequence[str], **variables: str) -> Cost:
    """Run this interpreter; the cost is of that process, not of those that it leaves to others to wait for."""
    started = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, *arguments],
        env=environment(**variables),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert child.stderr is not None
    output = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"{arguments}: exit code {child.returncode}: {output.decode(errors='replace')[-2000:]}")
    return Cost(usage.ru_utime + usage.ru_stime, time.perf_counter() - started)


def in_turns(
    ours: Callable[[], float], theirs: Callable[[], float], repeats: int, *, warm_up: bool = True
) -> list[tuple[float, float]]:
    """Pairs of the two, each measured once a repeat; the first pair, which finds cold caches, does not count."""
    pairs = [(ours(), theirs()) for _ in range(repeats + warm_up)]
    return pairs[warm_up:]


def ratio_line(what: str, pairs: Sequence[tuple[float, float]], reach: float) -> str:
    """``what: 1.52 (1.43 to 1.60, 9 repeats; …), reach at most 2``."""
    ratios = [ours / theirs for ours, theirs in pairs]
    medians = [1000 * statistics.median(side) for side in zip(*pairs, strict=True)]
    return (
        f"{what}: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}, {len(pairs)} repeats; "
        f"{medians[0]:.0f} ms against {medians[1]:.0f} ms), reach at most {reach:g}"
    )


def print_lines(about: str | None, lines: Callable[..., Iterator[str]], **numbers: int) -> None:
    """The command line of a benchmark that takes numbers alone; these are the defaults of its options."""
    spec = sys.modules["__main__"].__spec__
    parser = argparse.ArgumentParser(
        prog=f"python -m {spec.name}" if spec else None,
        description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for name, default in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    for line in lines(**vars(parser.parse_args())):
        print(line, flush=True)
