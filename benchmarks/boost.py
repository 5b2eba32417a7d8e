"""Does the clustering regularizer help fine-tuning? Runs on Fashion-MNIST that anybody can repeat.

    OMP_NUM_THREADS=1 python -m benchmarks.boost explore             # validation images only; about 2 hours on one core
    OMP_NUM_THREADS=1 python -m benchmarks.boost explore --share 0/2 # the first of two processes that share the work
    OMP_NUM_THREADS=1 python -m benchmarks.boost show                # what is stored so far
    OMP_NUM_THREADS=1 python -m benchmarks.boost cost                # a step with `linear` against one with `logits`
    OMP_NUM_THREADS=1 python -m benchmarks.boost confirm             # the one comparison, on the 10,000 test images
    OMP_NUM_THREADS=1 python -m benchmarks.boost verdict             # what that one says

Each run is stored in `--store FOLDER` as it ends, and is not done again. Exploring trains on the first 30,000 training
images (the `long` runs on 55,000), and looks at the last 5,000, which no demo model was trained on; the test images are
not touched.
"""

import argparse
import dataclasses
import itertools
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from scipy.stats import t
from torch import Tensor, nn

from auditor.attacks import evaluate_robustness
from auditor.attacks.protocols import Attack, Protocol
from auditor.boost import fine_tune, linear_regularizer
from auditor.boost.fine_tuning import validate
from auditor.boost.losses import step_loss
from auditor.boost.regularizers import model_gap
from auditor.data.fashion_mnist import CLASSES, load_split
from auditor.data.hierarchies import load_hierarchy
from auditor.records.boosts import Recipe, Regularizer
from auditor.zoo.demo import DemoZoo

SUPERCLASSES = load_hierarchy("fashion_mnist", CLASSES).superclasses
STARTS = {"at-eps0.10": 0.02, "standard": 0.1}
"""The demo models that runs begin with, and the peak learning rate from each."""
BASE = Recipe(
    method="at", eps=0.1, steps=5, step_size=0.04, epochs=2, batch_size=128, ema=0.99, beta=0.0, regularizer="none"
)
SHORT, VALIDATION = 30_000, 5_000
LONG = {"epochs": 6}
"""The runs named `long`, which see all training images but the last 5,000."""
CONFIRMED, CONFIRMED_SEEDS = "at-eps0.10", (10, 11, 12, 13)
"""Of the one comparison: its beginning, and seeds that no exploration has used."""
CONFIRMING = Protocol(
    "confirm",
    None,
    (
        Attack("apgd-ce", "autoattack", {"iterations": 100, "restarts": 1}),
        Attack("apgd-t", "autoattack", {"iterations": 100, "restarts": 1, "targets": 3}),
    ),
    "two attacks of AutoAttack, the targeted one on the three likeliest other classes",
)


def recipes() -> dict[str, tuple[str, Recipe]]:
    """Every run by name: the model that it begins with, and its recipe. Three seeds of the grid, one of the rest."""
    pulls: list[tuple[Regularizer, float]] = [("none", 0.0), ("logits", 0.1), ("linear", 0.1)]
    runs = _grid(0, pulls) | _grid(1, pulls) | _grid(2, pulls)
    for start, (kind, beta) in itertools.product(STARTS, pulls):
        runs[f"{start}/at/{kind}-{beta:g}/long/0"] = start, _recipe(start, 0, regularizer=kind, beta=beta, **LONG)
    for start, kind, beta in itertools.product(STARTS, ("logits", "linear"), (0.02, 0.5)):
        runs[f"{start}/at/{kind}-{beta:g}/plain/0"] = start, _recipe(start, 0, regularizer=kind, beta=beta)
    helpers: dict[str, dict[str, Any]] = {
        "no-ema": {"ema": 0.0},
        "awp-0.005": {"awp": 0.005},
        "smooth-0.1": {"label_smoothing": 0.1},
        "lr-0.05": {"max_lr": 0.05},
    }
    for start, (helper, changes) in itertools.product(STARTS, helpers.items()):
        runs[f"{start}/at/none-0/{helper}/0"] = start, _recipe(start, 0, **changes)
    for start in STARTS:
        runs[f"{start}/at/none-0/long-no-ema/0"] = start, _recipe(start, 0, ema=0.0, **LONG)
    return runs


def _grid(seed: int, pulls: list[tuple[Regularizer, float]]) -> dict[str, tuple[str, Recipe]]:
    return {
        f"{start}/{method}/{kind}-{beta:g}/plain/{seed}": (
            start,
            _recipe(start, seed, method=method, regularizer=kind, beta=beta),
        )
        for start, method, (kind, beta) in itertools.product(STARTS, ("at", "trades"), pulls)
    }


def _recipe(start: str, seed: int, **changes: Any) -> Recipe:
    return dataclasses.replace(BASE, **({"max_lr": STARTS[start], "seed": seed} | changes))


def training_data() -> tuple[Tensor, Tensor]:
    images, labels = load_split("train")
    return torch.from_numpy(images.copy()).unsqueeze(1), torch.from_numpy(labels)


def load_start(name: str) -> nn.Module:
    zoo = DemoZoo()
    entry = next(entry for entry in zoo.entries() if entry.model == f"demo:{name}")
    return zoo.load(entry).model.to(memory_format=torch.channels_last)


def run(start: str, recipe: Recipe) -> dict[str, Any]:
    """One run: what validation says of the model that it ends with, and how it got there."""
    images, labels = training_data()
    held = images[-VALIDATION:], labels[-VALIDATION:]
    count = len(images) - VALIDATION if recipe.epochs == LONG["epochs"] else SHORT
    model, began = load_start(start), time.perf_counter()
    few = held[0][:1000], held[1][:1000]
    found = fine_tune(model, (images[:count], labels[:count]), few, recipe, SUPERCLASSES)
    seconds = time.perf_counter() - began
    clean, robust = validate(model, *held, recipe)
    return {
        "start": start,
        "recipe": dataclasses.asdict(recipe),
        "clean_accuracy": clean,
        "pgd_accuracy": robust,
        "gap": model_gap(model, (1, 28, 28), SUPERCLASSES),
        "history": [dataclasses.asdict(score) for score in found.history],
        "stopped": found.stopped,
        "seconds": seconds,
    }


def explore(store: Path, share: str) -> None:
    number, processes = (int(part) for part in share.split("/"))
    store.mkdir(parents=True, exist_ok=True)
    for name, (start, recipe) in list(recipes().items())[number::processes]:
        file = store / f"{name.replace('/', '_')}.json"
        if not file.exists():
            scratch = file.with_suffix(".part")
            scratch.write_text(json.dumps({"name": name, **run(start, recipe)}))
            scratch.replace(file)
            print(name, json.loads(file.read_text())["pgd_accuracy"], flush=True)


def show(store: Path) -> None:
    """A row for each kind of run: mean over its seeds, and the sample standard deviation where there are several."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for file in sorted(store.glob("*_*_*_*_*.json")):
        found = json.loads(file.read_text())
        rows.setdefault(found["name"].rpartition("/")[0], []).append(found)
    for name, found in rows.items():
        cells = [_spread([one[key] for one in found]) for key in ("pgd_accuracy", "clean_accuracy", "gap", "seconds")]
        print(f"{name:40s} n={len(found)}  " + "  ".join(cells))


def _spread(values: list[float]) -> str:
    mean = f"{statistics.mean(values):8.4f}"
    return f"{mean} ± {statistics.stdev(values):.4f}" if len(values) > 1 else f"{mean}         "


def cost(repeats: int = 30) -> None:
    """Seconds of a training step with each regularizer, taking turns; the median over repeats."""
    images, labels = training_data()
    x, y = images[:128].float() / 255, labels[:128]
    seconds: dict[str, list[float]] = {"none": [], "logits": [], "linear": []}
    model = load_start("at-eps0.10")
    for _, name in itertools.product(range(repeats), seconds):
        recipe = dataclasses.replace(BASE, regularizer="logits", beta=0.1 if name == "logits" else 0.0)
        began = time.perf_counter()
        step_loss(model, x, y, recipe, SUPERCLASSES)().backward()  # type: ignore[no-untyped-call]
        if name == "linear":
            linear_regularizer(model, (1, 28, 28), SUPERCLASSES).backward()  # type: ignore[no-untyped-call]
        seconds[name].append(time.perf_counter() - began)
    none, logits, linear = (statistics.median(found) for found in seconds.values())
    rare = none + (linear - none) / BASE.linear_every
    print(f"a step with linear, at every step / a step with logits: {linear / logits:.3f}")
    print(f"a step with linear, at every {BASE.linear_every}th / a step with logits: {rare / logits:.3f}")


def confirmations() -> dict[str, Recipe | None]:
    """The comparison of docs/boosting.md, both arms in turn; None is the model that they begin with."""
    begin, runs = CONFIRMED, {"begin/0": None}
    for seed in CONFIRMED_SEEDS:
        runs[f"none-0/{seed}"] = _recipe(begin, seed)
        runs[f"logits-0.1/{seed}"] = _recipe(begin, seed, regularizer="logits", beta=0.1)
    return runs


def confirm(store: Path, share: str) -> None:
    """Train on the first 30,000 training images, attack on all test images; verdicts by sample are kept."""
    number, processes = (int(part) for part in share.split("/"))
    store.mkdir(parents=True, exist_ok=True)
    images, labels = load_split("test")
    x, y = torch.from_numpy(images.copy()).unsqueeze(1).float() / 255, torch.from_numpy(labels)
    for name, recipe in list(confirmations().items())[number::processes]:
        file = store / f"confirm_{name.replace('/', '_')}.json"
        if file.exists():
            continue
        model = load_start(CONFIRMED)
        if recipe is not None:
            train_images, train_labels = training_data()
            few = train_images[-VALIDATION:][:1000], train_labels[-VALIDATION:][:1000]
            fine_tune(model, (train_images[:SHORT], train_labels[:SHORT]), few, recipe, SUPERCLASSES)
        judged = evaluate_robustness(model, x, y, norm="Linf", eps=0.1, protocol=CONFIRMING)
        found = {
            "name": name,
            "clean_accuracy": judged.clean_accuracy,
            "robust_accuracy": judged.robust_accuracy,
            "gap": model_gap(model, (1, 28, 28), SUPERCLASSES),
            "flags": list(judged.flags),
            "attacks": [dataclasses.asdict(attack) for attack in judged.attacks],
            "survived": judged.survived.int().tolist(),
        }
        scratch = file.with_suffix(".part")
        scratch.write_text(json.dumps(found))
        scratch.replace(file)
        print(name, found["clean_accuracy"], found["robust_accuracy"], flush=True)


def verdict(store: Path) -> None:
    """Mean and standard deviation of each arm, and the paired difference over seeds with its 95 % t interval."""
    files = {name: store / f"confirm_{name.replace('/', '_')}.json" for name in confirmations()}
    found = {name: json.loads(file.read_text()) for name, file in files.items() if file.exists()}
    print(f"{len(found)} of {len(files)} runs are stored")
    for name, one in found.items():
        print(f"{name:14s}", *(f"{one[key]:8.4f}" for key in ("clean_accuracy", "robust_accuracy", "gap")))
    for key in ("clean_accuracy", "robust_accuracy", "gap"):
        pairs = [
            (found[f"none-0/{seed}"][key], found[f"logits-0.1/{seed}"][key])
            for seed in CONFIRMED_SEEDS
            if f"none-0/{seed}" in found and f"logits-0.1/{seed}" in found
        ]
        if len(pairs) > 1:
            none, logits = zip(*pairs, strict=True)
            differences = [after - before for before, after in pairs]
            reach = t.ppf(0.975, len(pairs) - 1) * statistics.stdev(differences) / len(pairs) ** 0.5
            mean = statistics.mean(differences)
            print(f"{key}: none {_spread(list(none))}, logits {_spread(list(logits))}, n = {len(pairs)} seeds")
            print(f"  difference {mean:+.4f}, 95 % interval {mean - reach:+.4f} to {mean + reach:+.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.boost", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=["explore", "show", "cost", "confirm", "verdict"])
    parser.add_argument("--store", type=Path, default=Path("benchmarks/runs/boost"), help="folder of the stored runs")
    parser.add_argument("--share", default="0/1", help="N/M: every M-th run, from the N-th on")
    options = parser.parse_args()
    if options.part == "explore":
        explore(options.store, options.share)
    elif options.part == "confirm":
        confirm(options.store, options.share)
    elif options.part in ("show", "verdict"):
        {"show": show, "verdict": verdict}[options.part](options.store)
    else:
        cost()


if __name__ == "__main__":
    main()
