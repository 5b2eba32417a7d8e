"""docs/performance.md: every benchmark's own lines, run one after the other on an idle machine.

    OMP_NUM_THREADS=1 python -m benchmarks.performance --write docs/performance.md    # some 20 minutes
    OMP_NUM_THREADS=1 python -m benchmarks.performance pgd epoch                      # these alone, printed

A benchmark that fails is named with its last line, and the command ends with exit code 1.
"""

import argparse
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch

from benchmarks.gpu.page import find_section, put_section
from benchmarks.side_by_side import ROOT

PARTS = {
    "autoattack": "AutoAttack-standard against pyautoattack",
    "limit": "Passes against the machine's matrix products",
    "pgd": "PGD-20 against foolbox and torchattacks",
    "epoch": "A boosting epoch against a plain loop",
    "scan": "A whole scan, processes, growth, estimates",
    "commands": "Commands that only read",
    "linearize": "W and C",
    "sketch": "Sketched C, 1,000 classes",
    "screening": "Screening beside linearizing",
    "permutation": "The permutation test",
    "database": "Lists of a million audits in PostgreSQL",
    "web": "The dashboard over 100,000 audits",
    "queue": "The queue",
    "whole_zoo": "All of timm and RobustBench in the queue",
}
HEAD = """\
# Performance

This page has the output of `make bench`: {when}, {machine}, torch {torch}, one thread unless a line says otherwise.
Each ratio was measured side by side in one run, with the two sides taking turns. Seconds are those of this machine, and
on another machine the ratios may differ. `python -m benchmarks.NAME` repeats a part; its docstring says what is timed.
`make bench-long` repeats the comparison with pyautoattack on 500 images and can be resumed. *Reach* is the goal of a
ratio.

Some ratios are above their reach, for these reasons:

- AutoAttack on a robust model: nearly all of the time is passes through the network, the same number on both sides.
  `limit` compares these passes with the core's rate in matrix products. Square, which needs only forward passes, has
  the least left to gain. A shorter number format would be faster, but it changes gradients, so audits do not use it.
- A quick scan: about 3.4 s are its start and end, mostly the import of torch; then 0.1 s per model for its process.
- `--jobs 2`: those 3.4 s are part of both runs, and no second process shortens them.
"""


LONG = ROOT / "benchmarks/runs/autoattack"


def run(name: str, *options: str) -> tuple[bool, str, float]:
    """Whether the benchmark ended well, what it printed, and the seconds that it took."""
    began = time.perf_counter()
    command = [sys.executable, "-W", "ignore", "-m", f"benchmarks.{name}", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    output = done.stdout.strip() if done.returncode == 0 else f"failed: {(done.stderr.strip() or '?').splitlines()[-1]}"
    return done.returncode == 0, output, time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.performance",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="these alone; by default all")
    parser.add_argument("--write", type=Path, help="the page")
    options = parser.parse_args()
    well, blocks = True, []
    for name in options.parts or PARTS:
        ended, output, seconds = run(name)
        well &= ended
        print(f"== {name}, {seconds:.0f} s\n{output}", flush=True)
        blocks.append(f"## {PARTS[name]}\n\n`python -m benchmarks.{name}`, {seconds:.0f} s\n\n```\n{output}\n```\n")
    if options.write:
        if len(list(LONG.glob("*.json"))) == 9:  # `make bench-long` has been through both models
            _, output, _ = run("autoattack", "--images", "500", "--store", str(LONG))
            blocks.insert(1, f"## The same on 500 images\n\n`make bench-long`\n\n```\n{output}\n```\n")
        machine = f"{platform.machine()}, {torch.get_num_threads()} thread(s) of torch"
        head = HEAD.format(when=datetime.now(UTC).date(), machine=machine, torch=version("torch"))
        page, before = "\n".join([head, *blocks]), options.write.read_text() if options.write.exists() else ""
        measured = find_section(before)  # on another machine
        options.write.write_text(put_section(page, measured) if measured else page)
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    main()
