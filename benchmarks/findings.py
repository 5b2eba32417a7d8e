"""What the method finds, and how much of that is chance: the measurements behind docs/findings.md.

    OMP_NUM_THREADS=1 python -m benchmarks.findings [PART ...]   # all parts, about half an hour
    python -m benchmarks.findings none --calibrate               # auditor/data/gap_calibration.toml from the store
    python -m benchmarks.findings none --write docs/findings.md  # the page from the store

To be run in the checkout's root, with the extra `test` and timm installed. Each measurement is stored as it ends in
`--store FOLDER`/findings.json, and is not done again; so an interrupted run goes on where it was.
"""

import argparse
import fcntl
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from auditor import clustering
from auditor.data.hierarchies import Hierarchy, load_hierarchy
from auditor.data.known import CLASSES
from auditor.errors import LinearizationError
from auditor.linear import template_gram
from auditor.linear.mode import BatchNorm
from benchmarks import calibration, efficientnet, findings_page
from benchmarks.random_networks import DEMO, DEPTHS, FAMILIES, Architecture, layers

VARIANTS: tuple[BatchNorm, ...] = ("remove", "fold")
SEEDS, DEMO_SEEDS, WIDE_SEEDS, DEPTH_SEEDS = 10, 200, 3, 3


class Store:
    """Measurements by name, ``PART/…``, in one JSON file; several processes may fill it, each with its own parts."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.file = folder, folder / "findings.json"
        self.found = self._read()

    def _read(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.file.read_text()) if self.file.exists() else {}
        return found

    def once(self, name: str, measure: Callable[[], Any]) -> None:
        if name not in self.found:
            self.put(name, measure())

    def put(self, name: str, value: Any) -> None:
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.found = self._read() | {name: value}
            scratch = self.file.with_suffix(".part")
            scratch.write_text(json.dumps(self.found, indent=1))
            scratch.replace(self.file)


def measure_random(
    architecture: Architecture, classes: int, seed: int, variant: BatchNorm, hierarchy: Hierarchy
) -> dict[str, Any]:
    """Gap, p-value and effective rank of one network with random weights."""
    network = architecture.random(classes, seed)
    try:
        gram = template_gram(network, architecture.input_size, batch_norm=variant).gram.numpy()
    except LinearizationError as error:
        return {"not_measurable": str(error)}
    scores = clustering.clustering_scores(clustering.correlation(gram), hierarchy.superclasses)
    return {"gap": scores.gap, "p": scores.p_value, "rank": scores.effective_rank, "layers": layers(network)}


def run_efficientnet(store: Store) -> None:
    for variant in VARIANTS:
        store.once(f"efficientnet/{variant}", partial(efficientnet.measure, variant, store.folder))
    store.once("efficientnet/random", efficientnet.measure_random)


def run_depth(store: Store) -> None:
    """Effective rank of 100 templates against depth."""
    hierarchy = _known("cifar100")
    for family, members in DEPTHS.items():
        for architecture in members:
            for seed in range(DEPTH_SEEDS):
                name = f"depth/{family}/{architecture.name}/{seed}"
                store.once(name, partial(measure_random, architecture, 100, seed, "remove", hierarchy))


def run_null(store: Store) -> None:
    """Gaps of random networks: ten classes in many architectures and in the demo zoo's two, a hundred in many."""
    ten, hundred = _known("cifar10"), _known("cifar100")
    demo = _known("fashion_mnist")
    for seed in range(SEEDS):
        for variant in VARIANTS:
            for architecture in FAMILIES:
                name = f"null/cifar10/{variant}/{architecture.name}/{seed}"
                store.once(name, partial(measure_random, architecture, 10, seed, variant, ten))
    for variant in VARIANTS:
        for architecture in DEMO.values():
            for seed in range(DEMO_SEEDS):
                name = f"null/fashion_mnist/{variant}/{architecture.name}/{seed}"
                store.once(name, partial(measure_random, architecture, 10, seed, variant, demo))
    for seed in range(WIDE_SEEDS):
        for architecture in FAMILIES:
            name = f"null/cifar100/remove/{architecture.name}/{seed}"
            store.once(name, partial(measure_random, architecture, 100, seed, "remove", hundred))


def run_batchnorm(store: Store) -> None:
    """The demo zoo as `auditor scan demo` sees it, batch norm removed and folded, and README's strong attacks."""
    for variant in VARIANTS:
        for protocol in ("screen", "quick") if variant == "remove" else ("screen",):
            store.once(f"demo/{protocol}/{variant}", partial(scan_demo, protocol, variant))
    store.put("demo/standard", readme_table(Path("README.md").read_text(encoding="utf-8")))


def scan_demo(protocol: str, variant: str) -> dict[str, dict[str, Any]]:
    """Rows of `auditor scan demo` by model, with effective rank."""
    return {
        whole["model"]: {
            "gap": whole["gap"], "p": whole["p_value"], "rank": whole["clusterings"]["weights"]["effective_rank"],
            "robust": whole["robust_accuracy"], "flags": whole["flags"],
            "regularized": bool(whole["training"].get("beta")),
        }
        for whole in _scan_demo(protocol, variant)
    }  # fmt: skip


def run_errors(store: Store) -> None:
    """What the attacks of `auditor scan demo --protocol quick` turn images into."""
    store.once("demo/errors", scan_errors)


def scan_errors() -> dict[str, dict[str, Any]]:
    """The errors by class of `auditor scan demo --protocol quick --targeted superclass` by model, without matrices."""
    found = {}
    for whole in _scan_demo("quick", "remove", "--targeted", "superclass"):
        errors, success = whole["errors"], whole["errors"]["attack_success"]
        found[whole["model"]] = {
            **{name: value for name, value in errors.items() if isinstance(value, int | float)},
            "robust": whole["robust_accuracy"], "flags": whole["flags"], "n": whole["n"],
            "success_gap": success["gap"], "success_p": success["p_value"], "targeted": whole["targeted"],
        }  # fmt: skip
    return found


def _scan_demo(protocol: str, variant: str, *options: str) -> list[dict[str, Any]]:
    """All results of `auditor scan demo` in full, from a database of their own."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"AUDITOR_DATABASE_URL": f"sqlite:///{folder}/auditor.db"}
        auditor = [sys.executable, "-m", "auditor"]
        scan = ["scan", "demo", "--protocol", protocol, "--linearization", variant, *options, "--format", "json"]
        rows = json.loads(subprocess.run([*auditor, *scan], check=True, capture_output=True, env=environment).stdout)
        found = []
        for row in rows:
            show = [*auditor, "results", "show", row["model"], "--format", "json"]
            (whole,) = json.loads(subprocess.run(show, check=True, capture_output=True, env=environment).stdout)
            found.append(whole)
        return found


def readme_table(text: str) -> dict[str, float]:
    """Robust accuracies, 0 to 1, by model, of README's table ``standard, …, n = 500``."""
    table = text[re.search(r"^standard, .*n = 500$", text, re.M).end() :].split("```")[0]
    rows = re.findall(r"^\s*(?:\d+|–)\s+(demo:\S+)\s+[\d.]+\s+([\d.]+) \(", table, re.M)
    return {model: float(accuracy) / 100 for model, accuracy in rows}


def _known(name: str) -> Hierarchy:
    return load_hierarchy(name, CLASSES[name])


PARTS = {
    "efficientnet": run_efficientnet,
    "batchnorm": run_batchnorm,
    "null": run_null,
    "depth": run_depth,
    "errors": run_errors,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, "none"], default=list(PARTS))
    parser.add_argument("--store", type=Path, default=Path(".findings"))
    parser.add_argument("--calibrate", action="store_true", help="write auditor/data/gap_calibration.toml")
    parser.add_argument("--write", type=Path, metavar="PAGE")
    options = parser.parse_args()
    store = Store(options.store)
    for part in options.parts:
        if part != "none":
            PARTS[part](store)
    if options.calibrate:
        calibration.write(store.found, Path("auditor/data/gap_calibration.toml"))
    if options.write:
        options.write.write_text(findings_page.page(store.found), encoding="utf-8")


if __name__ == "__main__":
    main()
