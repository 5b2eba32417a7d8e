"""Small mistakes in the code of claims, leases, reaper and dispatch, each of which a simulation or a test must notice.

    python -m tests.simulation.mutants [--interleavings 2000] [--store FILE] [--write PAGE] [NAME ...]

Each mutant is a copy of the source tree with one text in place of another. The simulation runs on it, a fifth as long
if the mutant names tests; if nothing is noticed, these tests run. A simulation of the unchanged copy must pass first.
Results are stored as they come, so that a run that was interrupted continues; ``--store`` names the file.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
COPIED = ("auditor", "workers", "migrations", "tests", "pyproject.toml")
START, END = "<!-- mutants -->", "<!-- end of mutants -->"


@dataclass(frozen=True)
class Mutant:
    """One mistake: ``new`` in place of ``old``, which the file has once. ``tests`` run if the simulation passes."""

    name: str
    file: str
    old: str
    new: str
    tests: str = ""


MUTANTS = tuple(Mutant(**row) for row in tomllib.loads(Path(__file__).with_suffix(".toml").read_text())["mutant"])


def apply(mutant: Mutant | None, folder: Path) -> Path:
    """Copy the source tree to ``folder``, with one text replaced; returns the copy.

    Raises:
        ValueError: the text does not occur exactly once.
    """
    copy = folder / "tree"
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir(parents=True)
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, copy / name, copy_function=os.link, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            os.link(ROOT / name, copy / name)
    if mutant is not None:
        path = copy / mutant.file
        text = path.read_text()
        if text.count(mutant.old) != 1:
            raise ValueError(f"{mutant.name}: {mutant.old!r} occurs {text.count(mutant.old)} times in {mutant.file}")
        path.unlink()  # the file itself is linked
        path.write_text(text.replace(mutant.old, mutant.new))
    return copy


def judge(mutant: Mutant | None, folder: Path, interleavings: int) -> dict[str, Any]:
    """What noticed a mutant, and how soon; ``by`` is None for one that survives."""
    copy, began = apply(mutant, folder), time.monotonic()
    if mutant is not None and mutant.tests:
        interleavings //= 5
    environment = os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.simulation", "--interleavings", str(interleavings), "--processes", "1"]
    run = subprocess.run(
        [*command, "--seed", "mutants", "--verify-every", "0"],
        cwd=copy,
        env=environment,
        capture_output=True,
        text=True,
    )
    result: dict[str, Any] = {"by": None, "detail": "", "seconds": 0.0}
    failed = next((line for line in run.stdout.splitlines() if line.startswith("schedule ")), None)
    if run.returncode:
        where, _, what = (failed or run.stderr.strip().splitlines()[-1]).partition(": ")
        number = int(where.rpartition("-")[2]) + 1 if failed else 0
        result |= {"by": "simulation", "detail": what, "interleavings": number}
    elif mutant is not None and mutant.tests:
        tests = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *mutant.tests.split()]
        run = subprocess.run(tests, cwd=copy, env=environment, capture_output=True, text=True)
        failed = next((line for line in run.stdout.splitlines() if line.startswith("FAILED ")), None)
        if run.returncode == 1 and failed:
            result |= {"by": "test", "detail": failed.removeprefix("FAILED ").partition(" - ")[0]}
    return result | {"seconds": round(time.monotonic() - began, 1)}


def table(results: dict[str, Any]) -> str:
    """The mutants as a Markdown table."""
    lines = ["| mistake | in | noticed by |", "| --- | --- | --- |"]
    for mutant in MUTANTS:
        found = results.get(mutant.name)
        if found is not None:
            seen = {
                "simulation": f"simulation, interleaving {found.get('interleavings')}",
                "test": f"`{found['detail']}`",
            }
            lines.append(f"| {mutant.name} | `{mutant.file}` | {seen.get(found['by'], '**nothing**')} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.mutants")
    parser.add_argument("names", nargs="*", help="only these mutants")
    parser.add_argument("--interleavings", type=int, default=2000)
    parser.add_argument("--store", type=Path, default=ROOT / "build/mutants.json")
    parser.add_argument("--write", type=Path, help="replace the table in this page")
    options = parser.parse_args()
    store: Path = options.store
    results: dict[str, Any] = json.loads(store.read_text()) if store.exists() else {}
    chosen = [mutant for mutant in MUTANTS if not options.names or mutant.name in options.names]
    (ROOT / "build").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mutants-", dir=ROOT / "build") as folder:
        if "unchanged" not in results:
            results["unchanged"] = judge(None, Path(folder), options.interleavings)
        if results["unchanged"]["by"] is not None:
            print(f"the unchanged code fails: {results['unchanged']}")
            return 1
        for mutant in chosen:
            text = json.dumps(asdict(mutant))
            if results.get(mutant.name, {}).get("mutant") != text:
                results[mutant.name] = judge(mutant, Path(folder), options.interleavings) | {"mutant": text}
                store.parent.mkdir(parents=True, exist_ok=True)
                store.write_text(json.dumps(results, indent=1))
            found = results[mutant.name]
            print(
                f"{mutant.name}: {found['by'] or 'SURVIVES'} {found['detail'][:150]} ({found['seconds']} s)", flush=True
            )
    if options.write is not None:
        page = options.write.read_text()
        before, rest = page.split(START)
        options.write.write_text(f"{before}{START}\n{table(results)}\n{END}{rest.split(END)[1]}")
    alive = [mutant.name for mutant in chosen if results[mutant.name]["by"] is None]
    print(f"{len(chosen)} mutants, {len(alive)} survive{': ' + ', '.join(alive) if alive else ''}")
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main())
