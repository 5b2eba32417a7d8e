"""Train the demo zoo: ``python -m auditor.zoo.demo.build``.

This is a program that uses data, attacks and boost; no module imports it. Each model is trained on one thread from
its own seed, so that the same machine and versions give the same bytes. A model is not trained again if the manifest
holds the same recipe and the digest of its file.
"""

import argparse
import dataclasses
import hashlib
import json
import os
import platform
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from auditor.attacks.gradient import cross_entropy, frozen, pgd
from auditor.attacks.norms import LINF
from auditor.boost.training import Epoch, train
from auditor.data.fashion_mnist import CLASSES, load_split
from auditor.data.hierarchies import load_hierarchy
from auditor.interpreter import leave_working_directory
from auditor.records.boosts import Recipe
from auditor.zoo.demo import WEIGHTS
from auditor.zoo.demo.interval_training import IntervalRecipe, interval_margins, train_with_intervals
from auditor.zoo.demo.networks import ARCHITECTURES
from auditor.zoo.demo.recipes import DEMO_MODELS, DemoModel
from auditor.zoo.digest import state_dict_digest

EPS = 0.1
TRAINING_IMAGES = 55_000  # the last 5,000 of the 60,000 are only for validation


def build_one(model: DemoModel, out: Path) -> dict[str, Any]:
    """Train one model, write its safetensors file, and return its row of the manifest."""
    torch.set_num_threads(1)
    torch.manual_seed(model.recipe.seed)
    started = time.perf_counter()
    images, labels = _training_set()
    network = ARCHITECTURES[model.architecture]()

    def report(epoch: Epoch) -> None:
        print(
            f"{model.name}: epoch {epoch.number}/{model.recipe.epochs}, loss {epoch.loss:.3f}, {epoch.seconds:.0f} s",
            file=sys.stderr,
            flush=True,
        )

    some, classes = images[:TRAINING_IMAGES], labels[:TRAINING_IMAGES]
    if isinstance(model.recipe, IntervalRecipe):
        train_with_intervals(network, some, classes, model.recipe, lambda *epoch: report(Epoch(*epoch)))
    else:
        network = network.to(memory_format=torch.channels_last)
        superclasses = load_hierarchy("fashion_mnist", CLASSES).superclasses
        train(network, some, classes, model.recipe, superclasses, report)
    weights = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    content = save(weights)
    (out / f"{model.name}.safetensors").write_bytes(content)
    return {
        **_description(model),
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "file_sha256": hashlib.sha256(content).hexdigest(),
        "weights_sha256": state_dict_digest(weights),
        "validation": _validate(network, images[TRAINING_IMAGES:], labels[TRAINING_IMAGES:], model.recipe),
        "training_seconds": round(time.perf_counter() - started),
        "torch": torch.__version__,
        "machine": platform.machine(),
    }


def _description(model: DemoModel) -> dict[str, Any]:
    return dataclasses.asdict(model)


def _training_set() -> tuple[Tensor, Tensor]:
    images, labels = load_split("train")
    return torch.from_numpy(images.copy()).unsqueeze(1).float() / 255, torch.from_numpy(labels)


def _validate(network: nn.Module, images: Tensor, labels: Tensor, recipe: Recipe | IntervalRecipe) -> dict[str, Any]:
    """Clean and PGD-20 accuracy on the validation images, at ``EPS`` and at the radius of the training.

    The latter shows whether adversarial training was stable: after catastrophic overfitting it is near 0. For training
    with interval bounds also the share of images whose margins are bounded above 0.
    """

    def accuracy(batch: Tensor) -> float:
        hits: Tensor = network(batch).argmax(1) == labels
        return round(hits.float().mean().item(), 4)

    found: dict[str, Any] = {"n": len(images), "pgd20_accuracy": {}}
    with frozen(network):
        found["clean_accuracy"] = accuracy(images)
        for eps in sorted({EPS, recipe.eps} - {0.0}):
            torch.manual_seed(recipe.seed)
            start = torch.empty_like(images).uniform_(-eps, eps)
            attack: dict[str, Any] = {"norm": LINF, "eps": eps, "steps": 20, "step_size": eps / 4}
            attacked = [
                pgd(network, x, cross_entropy(y), start=noise, labels=y, **attack)
                for x, y, noise in zip(*(torch.split(part, 250) for part in (images, labels, start)), strict=True)
            ]
            found["pgd20_accuracy"][f"{eps:g}"] = accuracy(torch.cat(attacked))
        if isinstance(recipe, IntervalRecipe):
            margins = interval_margins(network, images, labels, EPS)
            others = margins.scatter(1, labels.unsqueeze(1), torch.inf)
            found["interval_accuracy"] = round((others > 0).all(1).float().mean().item(), 4)
    return found


def validate_again(model: DemoModel, out: Path) -> dict[str, Any]:
    """Measure the validation part of a model's row again, from its file."""
    torch.set_num_threads(1)
    images, labels = _training_set()
    network = ARCHITECTURES[model.architecture]()
    network.load_state_dict(load_file(out / f"{model.name}.safetensors"))
    return _validate(network, images[TRAINING_IMAGES:], labels[TRAINING_IMAGES:], model.recipe)


def is_built(model: DemoModel, row: dict[str, Any] | None, out: Path) -> bool:
    """Whether the manifest's row has this recipe and the digest of the file."""
    file = out / f"{model.name}.safetensors"
    if row is None or not file.is_file():
        return False
    same = all(row[key] == value for key, value in _description(model).items())
    return same and hashlib.sha256(file.read_bytes()).hexdigest() == row["file_sha256"]


def main() -> None:
    leave_working_directory()
    parser = argparse.ArgumentParser(prog="python -m auditor.zoo.demo.build", description=__doc__)
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder of the weights and manifest.json")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="models trained at once")
    parser.add_argument("--only", action="append", metavar="NAME", help="train this model only; repeatable")
    parser.add_argument(
        "--validate", action="store_true", help="measure the validation accuracies again, train nothing"
    )
    options = parser.parse_args()
    unknown = set(options.only or []) - {model.name for model in DEMO_MODELS}
    if unknown:
        parser.error(f"no demo model named {', '.join(sorted(unknown))}")
    options.out.mkdir(parents=True, exist_ok=True)
    rows = _read_manifest(options.out)
    chosen = [model for model in DEMO_MODELS if not options.only or model.name in options.only]
    built = {model.name for model in chosen if is_built(model, rows.get(model.name), options.out)}
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        if options.validate:
            tasks = {pool.submit(validate_again, m, options.out): m.name for m in chosen if m.name in built}
        else:
            # The longest first, so that all processes end at about the same time.
            todo = sorted((m for m in chosen if m.name not in built), key=_work, reverse=True)
            tasks = {pool.submit(build_one, model, options.out): model.name for model in todo}
        for done in as_completed(tasks):
            name, found = tasks[done], done.result()
            rows[name] = {**rows[name], "validation": found} if options.validate else found
            _write_manifest(options.out, rows)
            print(f"{name}: {rows[name]['validation']}", file=sys.stderr, flush=True)


def _work(model: DemoModel) -> float:
    return model.recipe.epochs * (1 + model.recipe.steps)


def _read_manifest(out: Path) -> dict[str, dict[str, Any]]:
    manifest = out / "manifest.json"
    content = json.loads(manifest.read_text()) if manifest.exists() else {"models": []}
    return {row["name"]: row for row in content["models"]}


def _write_manifest(out: Path, rows: dict[str, dict[str, Any]]) -> None:
    """Write the manifest atomically, in the order of the recipes."""
    ordered = [rows[model.name] for model in DEMO_MODELS if model.name in rows]
    partial = out / "manifest.json.part"
    partial.write_text(json.dumps({"eps": EPS, "models": ordered}, indent=1) + "\n")
    partial.replace(out / "manifest.json")


if __name__ == "__main__":
    main()
