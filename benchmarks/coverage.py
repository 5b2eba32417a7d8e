"""What linearizes: every architecture family of timm and every architecture class of RobustBench, one line each.

    python -m benchmarks.coverage [--store FILE] [--match GLOB] [--shard 1/2]   # resumable; some 40 minutes of one core
    python -m benchmarks.coverage --match none --write docs/coverage.md         # the page, from the store

Each network has random weights, all of them perturbed by noise, and its batch norm has random statistics. It runs in
float64, once with batch norm removed and, where it has any, once with it folded. What is in the store is done already.
"""

import argparse
import gc
import json
import time
import warnings
from collections.abc import Callable
from fnmatch import fnmatchcase
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from auditor.errors import LinearizationError, first_line
from auditor.linear import template_gram
from benchmarks.architectures import Built, cases, perturb

LIMIT = 1e-8
INTRODUCTION = """\
`python -m benchmarks.coverage` makes this page; do not edit it. It has the smallest architecture of each family of timm
(a family is all names that differ only in size) and one entry of every architecture class of RobustBench. Weights are
random and perturbed by noise, batch-norm statistics are random, and everything runs in float64. timm's networks have
four classes and the smallest input that they take. Of RobustBench's networks with 100 classes or more, the first four
logits are measured. Seconds are those of one core. Published weights were not available.
""".splitlines()
VARIANTS = ("remove", "fold")
EXPLAINED = {
    "cifar10/Linf/Kang2021Stable": "its last layers solve a differential equation, in steps that the solver chooses by "
    "the input's values, and the adjoint method hides them from the gradient (`torchdiffeq.odeint_adjoint`). Neither "
    "the choice of steps nor the hidden path has a linear stand-in",
}


def measure(family: str, name: str, build: Callable[[], Built]) -> dict[str, Any]:
    """One network's line: affinity error, norm of W and seconds by variant, or the reason why there are none."""
    row: dict[str, Any] = {"family": family, "model": name}
    torch.manual_seed(0)
    try:
        model, size = build()
    except Exception as error:
        return row | {"unbuilt": f"{type(error).__name__}: {first_line(error)}"}
    perturb(model)
    row |= {"size": size, "parameters": sum(tensor.numel() for tensor in model.parameters())}
    row["remove"] = examine(model, size, "remove")
    if any(getattr(module, "running_mean", None) is not None for module in model.modules()):
        row["fold"] = examine(model, size, "fold")
    return row


def examine(model: nn.Module, size: tuple[int, int, int], batch_norm: Any) -> dict[str, Any]:
    started = time.perf_counter()
    try:
        found = template_gram(model, size, batch_norm=batch_norm, double=True)
    except LinearizationError as error:
        return {"reason": str(error), "seconds": time.perf_counter() - started}
    return {"error": found.affinity_error, "norm": found.norm, "seconds": time.perf_counter() - started}


def failures(row: dict[str, Any]) -> list[str]:
    """Why a network counts as not linearized; nothing for one that does."""
    found = [row[variant] for variant in VARIANTS if variant in row]
    reasons = [part["reason"] for part in found if "reason" in part]
    reasons += [f"affinity error {part['error']:.0e}" for part in found if part.get("error", 0) > LIMIT]
    return [row["unbuilt"]] if "unbuilt" in row else list(dict.fromkeys(reasons))


def page(rows: list[dict[str, Any]]) -> str:
    good = [row for row in rows if not failures(row)]
    lines = [
        "# What linearizes",
        "",
        *INTRODUCTION,
        "",
        f"{len(good)} of {len(rows)} are affine within {LIMIT:.0e}, with W ≠ 0, under both treatments of batch norm "
        f"(torch {version('torch').split('+')[0]}, timm {version('timm')}, robustbench {version('robustbench')}). "
        "[method.md](method.md) says what replaces each operation.",
        "",
        "## What does not linearize",
        "",
        *(
            f"- `{row['model']}`: {EXPLAINED.get(row['model'], '; '.join(failures(row)))}"
            for row in rows
            if failures(row)
        ),
        "",
        "## All of them",
        "",
        "| family | architecture | input | affinity error | ‖W‖ | affinity error, folded | ‖W‖, folded | seconds |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in sorted(rows, key=lambda row: (row["family"], row["model"])):
        cells = [row["family"].removeprefix("timm.models."), row["model"], str(row.get("size", ["–", "–"])[1])]
        for variant in VARIANTS:
            part = row.get(variant, {})
            cells += [f"{part[key]:.0e}" if key in part else "–" for key in ("error", "norm")]
        seconds = sum(row[variant]["seconds"] for variant in VARIANTS if variant in row)
        lines.append(f"| {' | '.join(cells)} | {seconds:.1f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, default=Path(".coverage-store.jsonl"))
    parser.add_argument("--match", default="*", help="only families or names that match")
    parser.add_argument("--shard", default="1/1", metavar="I/N", help="every N-th network, from the I-th")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--write", type=Path, metavar="PAGE")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    part, parts = map(int, options.shard.split("/"))
    stored = options.store.read_text().splitlines() if options.store.exists() else []
    done = {json.loads(line)["model"] for line in stored}
    for number, (family, name, build) in enumerate(cases()):
        chosen = fnmatchcase(name, options.match) or fnmatchcase(family, options.match)
        if number % parts != part - 1 or name in done or not chosen:
            continue
        row = measure(family, name, build)
        with options.store.open("a") as store:
            store.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)
        gc.collect()
    if options.write:
        rows = [json.loads(line) for line in options.store.read_text().splitlines()]
        options.write.write_text(page(rows))


if __name__ == "__main__":
    main()
