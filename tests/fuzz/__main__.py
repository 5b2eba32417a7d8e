"""Search for hostile inputs: ``python -m tests.fuzz [--minutes 60] [--target NAME …]``, which ``make fuzz`` runs.

All targets take turns. The corpus stays in ``.fuzz/`` and the next run goes on from there. A finding is written to
``tests/fuzz/findings/TARGET``, where an ordinary test reads it until it is mended.
"""

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.fuzz.contract import Target
from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).parents[2]
WORK = ROOT / ".fuzz"
FINDINGS = Path(__file__).parent / "findings"
SHORTEST, LONGEST = 30, 180
"""Seconds of one turn."""
FIGURES = "as `python -m tests.fuzz --write docs/fuzzing.md` wrote them:\n\n"
"""What precedes the table in docs/fuzzing.md."""


@dataclass
class Tally:
    """What became of one target in all runs so far."""

    executions: int = 0
    seconds: float = 0.0
    branches: int = 0


def main(arguments: Sequence[str]) -> int:
    """Run all turns, and print the table; 1 if there was a new finding."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="of all targets together")
    parser.add_argument("--target", action="append", choices=TARGETS, help="only these; by default all")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="replace the figures at the end of this page")
    options = parser.parse_args(arguments)
    chosen = [TARGETS[name] for name in options.target or TARGETS]
    end = time.monotonic() + 60 * options.minutes
    turn = int(min(max(60 * options.minutes / len(chosen) / 2, SHORTEST), LONGEST))
    tallies, found = _load(), 0
    while time.monotonic() < end:
        for target in sorted(chosen, key=lambda one: tallies.setdefault(one.name, Tally()).seconds):
            if time.monotonic() < end:
                found += _take_turn(target, turn, tallies[target.name])
                _save(tallies)
    print(table := as_table(tallies))
    if options.write:
        text, heading, _ = options.write.read_text(encoding="utf-8").partition(FIGURES)
        options.write.write_text(f"{text}{heading}{table}\n", encoding="utf-8")
    return 1 if found else 0


def _take_turn(target: Target, seconds: int, tally: Tally) -> int:
    """Search in a process of its own; returns the number of findings."""
    corpus, findings = WORK / "corpus" / target.name, FINDINGS / target.name
    if not corpus.exists():
        corpus.mkdir(parents=True)
        for number, data in enumerate(target.seeds()):
            (corpus / f"seed-{number}").write_bytes(data)
    began = time.monotonic()
    words = [sys.executable, "-m", "tests.fuzz.search", target.name, corpus, findings, str(seconds)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, errors="replace", check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("FINDING ")]
    if done.returncode != 0:
        lines += _explain_end(done, findings)
    tally.seconds += time.monotonic() - began
    tally.executions += max(map(int, re.findall(r"^#(\d+)\s", done.stderr, re.MULTILINE)), default=0)
    tally.branches = max([tally.branches, *map(int, re.findall(r" cov: (\d+) ", done.stderr))])
    print(f"{target.name}: {tally.executions} executions, {tally.branches} branches", *lines, sep="\n  ", flush=True)
    return len(lines)


def _explain_end(done: "subprocess.CompletedProcess[str]", findings: Path) -> list[str]:
    """Keep the input that ended the process: it took too long, or crashed the interpreter."""
    place = re.search(r"Test unit written to (\S+)", done.stderr)
    if place is None:
        return [f"FINDING the process ended with {done.returncode}: {done.stderr[-300:]!r}"]
    path = Path(place[1])
    findings.mkdir(parents=True, exist_ok=True)
    kept = findings / f"{path.name.replace('-', '')[:16]}.bin"
    kept.write_bytes(path.read_bytes())
    return [f"FINDING {kept.stem} {path.name.partition('-')[0]}"]


def _load() -> dict[str, Tally]:
    path = WORK / "tallies.json"
    content = json.loads(path.read_text()) if path.exists() else {}
    return {name: Tally(**values) for name, values in content.items() if name in TARGETS}


def _save(tallies: dict[str, Tally]) -> None:
    (WORK / "tallies.json").write_text(json.dumps({name: asdict(tally) for name, tally in tallies.items()}, indent=1))


def as_table(tallies: dict[str, Tally]) -> str:
    """The figures of all runs so far as a table in Markdown."""
    rows = [
        "| target | executions | minutes | corpus | branches | findings |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    totals = [0, 0.0, 0, 0]
    for name, tally in sorted(tallies.items()):
        corpus = sum(1 for _ in (WORK / "corpus" / name).glob("*"))
        found = sum(1 for _ in (FINDINGS / name).glob("*.bin"))
        rows.append(
            f"| {name} | {tally.executions:,} | {tally.seconds / 60:.1f} | {corpus:,} | {tally.branches:,} | {found} |"
        )
        for place, value in enumerate((tally.executions, tally.seconds / 60, corpus, found)):
            totals[place] += value
    rows.append(f"| all | {totals[0]:,} | {totals[1]:.1f} | {totals[2]:,} | | {totals[3]} |")
    return "\n".join(rows)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
