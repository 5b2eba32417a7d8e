"""Checks and measures auditor on a GPU, step by step, within minutes.

    python -m benchmarks.gpu --json FILE                      # on the first GPU
    python -m benchmarks.gpu --device cpu --small             # the same steps at a small size, without a GPU
    python -m benchmarks.gpu --write docs/performance.md      # also write the page's section; only on a GPU

Prints its progress. Each step has a process of its own: one that fails or takes too long stops no other. What checks
comes before what only measures. Exit code 1 if anything failed; a measurement that lacked the time has not failed.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from auditor.files import write_atomically
from benchmarks.gpu.page import put_section, render_section
from benchmarks.gpu.runner import Outcome, Run, run_steps
from benchmarks.gpu.steps import STEPS

SECONDS = 470.0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("steps", nargs="*", metavar="STEP", help=f"only these, of: {', '.join(STEPS)}")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="small sizes, to try the steps")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="in all; %(default)s by default")
    parser.add_argument("--json", type=Path, help="write all findings to this file, after each step")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="write them into this page, if they are of a GPU")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.steps if name not in STEPS]:
        parser.error(f"no step named {unknown[0]!r}; there is: {', '.join(STEPS)}")
    card = find_card(options.device)
    if card is None:
        parser.error(f"torch finds no GPU for {options.device!r}; --device cpu --small tries the steps without one")
    if options.write is not None and (options.small or options.device == "cpu" or options.steps):
        parser.error("--write needs all steps, in full size, on a GPU")
    print(f"{card}, {describe_versions()}", flush=True)
    outcomes = run_steps(
        [step for step in STEPS.values() if not options.steps or step.name in options.steps],
        Run(options.device, options.small),
        seconds=options.seconds,
        report=lambda line: print(line, flush=True),
        done=lambda outcomes: store(options.json, outcomes, card) if options.json else None,
    )
    section = render_section(outcomes, card, str(datetime.now(UTC).date()), describe_versions())
    print(f"\n{section}", flush=True)
    if options.write is not None:
        options.write.write_text(put_section(options.write.read_text(), section))
    failed = [outcome.name for outcome in outcomes if not outcome.passed]
    if missed := [outcome.name for outcome in outcomes if outcome.missed is not None]:
        print(f"not measured: {', '.join(missed)}", flush=True)
    print(f"failed: {', '.join(failed)}" if failed else "no step failed", flush=True)
    return 1 if failed else 0


def find_card(device: str) -> str | None:
    """The name of the GPU, or ``CPU``; None if there is no such device."""
    import torch

    if device == "cpu":
        return "CPU"
    if not device.startswith("cuda") or not torch.cuda.is_available():
        return None
    return torch.cuda.get_device_name(device)


def describe_versions() -> str:
    return f"Python {sys.version.split()[0]}, torch {version('torch')}, torchvision {version('torchvision')}"


def store(file: Path, outcomes: Sequence[Outcome], card: str) -> None:
    content = {"card": card, "versions": describe_versions(), "steps": [outcome.as_json() for outcome in outcomes]}
    with write_atomically(file) as out:
        out.write(json.dumps(content, indent=1).encode())


if __name__ == "__main__":
    sys.exit(main())
