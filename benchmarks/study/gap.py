"""What the gap of C depends on: differences within the study zoo, and a grid of trainings of different lengths.

The zoo's rows give pairs of models of one family and data set that differ in training alone (each has its own seed).
The grid trains three families again and again: with other initial weights, with the same weights and another order of
the data, and for fewer or more epochs. ``gap.jsonl`` holds its gaps, so that an interrupted run goes on.
"""

import dataclasses
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from auditor.clustering import centred, clustering_scores, correlation
from auditor.linear import template_gram
from benchmarks.study import data as data_sets
from benchmarks.study.evaluate import Estimate, bootstrap
from benchmarks.study.fitting import event
from benchmarks.study.recipes import MODELS, StudyModel
from benchmarks.study.rows import read_rows
from benchmarks.study.training import train

Row = dict[str, Any]
FILE = Path(__file__).parent / "gap.jsonl"
GRID_FAMILIES = ("lenet", "plain", "resnet_bn")
GRID_TRAININGS = ("standard", "at")
USUAL_EPOCHS = 3
SEEDS = ((0, 0), (1, 0), (2, 0), (0, 1), (0, 2))
"""Seeds of the initial weights and of the order of the data."""
VARIANTS = ("gap/remove", "gap/fold", "gap_centred/remove", "gap_centred/fold")
LEAST_CLEAN = 0.5
WITHOUT_ATTACKS = ("standard", "smoothing", "augmented", "noise", "jacobian", "cluster")


@dataclass(frozen=True)
class Cell:
    """One training of the grid."""

    family: str
    training: str
    epochs: int
    weights_seed: int
    order_seed: int


def grid() -> Iterator[Cell]:
    """Epoch by epoch: whoever stops early has whole columns."""
    for epochs in (USUAL_EPOCHS, 1, 6):
        for weights_seed, order_seed in SEEDS if epochs == USUAL_EPOCHS else SEEDS[:3]:
            for family in GRID_FAMILIES:
                for training in GRID_TRAININGS:
                    yield Cell(family, training, epochs, weights_seed, order_seed)


def read_cells(path: Path = FILE) -> dict[Cell, dict[str, float]]:
    """The gaps of each training that is done."""
    if not path.is_file():
        return {}
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
    return {Cell(**row["cell"]): row["gaps"] for row in rows}


def run_grid(path: Path = FILE) -> None:
    """Train what is missing, and append its gaps."""
    for cell in grid():
        if cell not in read_cells(path):
            row = {"cell": dataclasses.asdict(cell), "gaps": measure_cell(cell)}
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")


def measure_cell(cell: Cell) -> dict[str, float]:
    """Train one network on Fashion-MNIST, and return its gaps and its clean accuracy on the test images."""
    like = next(
        one
        for one in MODELS
        if (one.data, one.family, one.training, one.width) == ("fashion_mnist", cell.family, cell.training, 1.0)
    )
    recipe = dataclasses.replace(like.recipe, seed=cell.weights_seed, epochs=cell.epochs)
    model: StudyModel = dataclasses.replace(like, recipe=recipe)
    data = data_sets.load("fashion_mnist")
    network, _ = train(model, data, order_seed=10_000 + cell.order_seed)
    with torch.no_grad():
        correct = (network(data.test_images).argmax(1) == data.test_labels).double().mean()
    return {"clean": float(correct), **gaps_of(network, data)}


def gaps_of(network: torch.nn.Module, data: data_sets.DataSet) -> dict[str, float]:
    """The gap of C in both treatments of batch norm, with and without what all templates share."""
    found: dict[str, float] = {}
    size = (data.channels, data.size, data.size)
    for variant in ("remove", "fold"):
        gram = template_gram(network, size, batch_norm=variant).gram.numpy()  # type: ignore[arg-type]
        for name, matrix in (("gap", gram), ("gap_centred", centred(gram))):
            found[f"{name}/{variant}"] = clustering_scores(correlation(matrix), data.superclasses, permutations=1).gap
    return found


def usable(rows: Sequence[Row]) -> list[Row]:
    """The last row of each model under Linf whose training has not failed; the final models are not looked at."""
    latest = {row["model"]: row for row in rows if row["norm"] == "Linf" and not row["final"]}
    return [row for row in latest.values() if row["clean"] >= LEAST_CLEAN and row["width"] == 1]


def differences(rows: Sequence[Row], training: str, against: str, measure: str = "gap/remove") -> list[float]:
    """``measure`` of one training minus another's, of models of one family and data set."""
    by_place = {(row["data"], row["family"], row["training"]): row["measures"].get(measure, math.nan) for row in rows}
    pairs = [
        (value, by_place.get((data, family, against), math.nan))
        for (data, family, name), value in by_place.items()
        if name == training
    ]
    return [one - other for one, other in pairs if math.isfinite(one) and math.isfinite(other)]


def mean_estimate(values: Sequence[float]) -> Estimate:
    """The mean with a 95 % bootstrap interval; NaN for fewer than four values."""
    array = np.array(values)
    return bootstrap(lambda some: float(array[some].mean()), len(array))


def by_training(rows: Sequence[Row], measure: str = "gap/remove") -> dict[str, list[float]]:
    """The values of a measure by training, in the recipes' order."""
    names = list(dict.fromkeys(model.training for model in MODELS))
    found = {
        name: [row["measures"].get(measure, math.nan) for row in rows if row["training"] == name] for name in names
    }
    return {name: [value for value in values if math.isfinite(value)] for name, values in found.items() if values}


def standard_deviations(cells: dict[Cell, dict[str, float]], measure: str = "gap/remove") -> dict[str, float]:
    """The standard deviation of the gap over initial weights, and over orders of the data, pooled over the grid."""
    pooled: dict[str, list[float]] = {"initial weights": [], "order of the data": []}
    for family in GRID_FAMILIES:
        for training in GRID_TRAININGS:
            values = {
                seeds: cells[cell][measure]
                for seeds in SEEDS
                if (cell := Cell(family, training, USUAL_EPOCHS, *seeds)) in cells
            }
            for name, chosen in (("initial weights", SEEDS[:3]), ("order of the data", (SEEDS[0], *SEEDS[3:]))):
                some = [values[seeds] for seeds in chosen if seeds in values]
                if len(some) > 1:
                    pooled[name].append(float(np.var(some, ddof=1)))
    return {name: math.sqrt(np.mean(parts)) if parts else math.nan for name, parts in pooled.items()}


def by_epochs(
    cells: dict[Cell, dict[str, float]], measure: str = "gap/remove"
) -> dict[tuple[str, str, int], list[float]]:
    """The gaps by family, training and number of epochs, over initial weights."""
    found: dict[tuple[str, str, int], list[float]] = {}
    for cell, gaps in sorted(cells.items(), key=lambda one: one[0].epochs):
        if cell.order_seed == 0:
            found.setdefault((cell.family, cell.training, cell.epochs), []).append(gaps[measure])
    return found


def section() -> str:
    """The section of docs/findings.md, from the committed measurements."""
    rows, cells = usable(read_rows()), read_cells()
    return "\n".join([
        "## What the gap depends on",
        "",
        "`python -m benchmarks.study gap` trains the grid, and `run` the study zoo ([screening.md](screening.md)).",
        "",
        *describe(rows, cells),
        "",
        "![The gap by training](gap-by-training.png)",
        "",
        "![The gap by number of epochs](gap-by-length.png)",
        "",
        *conclusions(rows, cells),
    ])  # fmt: skip


def conclusions(rows: Sequence[Row], cells: dict[Cell, dict[str, float]]) -> list[str]:
    """What a user may conclude from a gap, in numbers of the same rows."""
    lines = [
        "What a gap says, counted on these models (the event is that at least half of what is classified correctly "
        "survives at the full radius):",
        "",
        "| gap | models | with the event | of those trained without attacks |",
        "| --- | --- | --- | --- |",
    ]
    for low, high in ((-1.0, 0.2), (0.2, 0.4), (0.4, 0.6), (0.6, 0.8), (0.8, 2.0)):
        inside = [row for row in rows if low <= row["measures"].get("gap/remove", math.nan) < high]
        events = [row for row in inside if event(row)]
        plain = [row for row in inside if row["training"] in WITHOUT_ATTACKS]
        place = f"below {high:g}" if low < 0 else f"{low:g} or more" if high > 1 else f"{low:g} to {high:g}"
        lines.append(f"| {place} | {len(inside)} | {len(events)} | {sum(map(event, plain))} of {len(plain)} |")
    high_gap = [
        row for row in rows if row["measures"].get("gap/remove", math.nan) >= 0.8 and "cluster" not in row["training"]
    ]
    return [
        *lines,
        "",
        "- **The training matters most**, and not only attacks in training: noise and augmentation raise the gap, "
        "label smoothing brings it to about 0, a penalty on the Jacobian moves it either way, and the clustering "
        "regularizer raises it more than anything else, with or without robustness.",
        "",
        "- **Family and data set move the gap about as much as the training does**: one recipe gives gaps that "
        "differ by a factor of three and more. Compare gaps of one architecture and data set only.",
        "",
        "- **The length of training matters**: the gap of standard training is largest after the first epoch in all "
        "three families, and that of PGD-AT falls later in the one with batch norm (six epochs: one training each).",
        "",
        "- **The same recipe trained again gives another gap.** Initial weights matter more than the order of the "
        "data. Two gaps of one recipe that differ by less than "
        f"about {2 * max(standard_deviations(cells).values()):.1f} (two standard deviations) cannot be told apart.",
        "",
        "- **A gap of 0.4 alone says nothing.** Standard training reaches it in some families, and PGD-AT stays "
        f"below it in others. A gap of 0.8 or more without the clustering regularizer says more: "
        f"{sum(map(event, high_gap))} of {len(high_gap)} such models have the event. Robustness is what survives the "
        "attacks.",
    ]  # fmt: skip


def describe(rows: Sequence[Row], cells: dict[Cell, dict[str, float]]) -> list[str]:
    """Tables of what was measured, on usable rows."""
    lines = [
        f"{len(rows)} models of the study zoo ({len({row['family'] for row in rows})} families, two data sets), with "
        "batch norm removed unless stated otherwise. A difference is that of two models of one family and data set; a "
        "mean has its 95 % bootstrap interval over models.",
        "",
        "| training | models | mean gap | range | minus standard training |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, values in by_training(rows).items():
        pairs = differences(rows, name, "standard") if name != "standard" else []
        lines.append(
            f"| {name} | {len(values)} | {_pairs(values)} | {min(values):.2f} to {max(values):.2f} | {_pairs(pairs)} |"
        )
    lines += ["", "| compared | pairs | difference of the gap |", "| --- | --- | --- |"]
    for training, against, words in (
        ("at", "at-half", "PGD-AT at all of ε against half of it"),
        ("at-half", "at-quarter", "at half of ε against a quarter"),
        ("trades", "at", "TRADES against PGD-AT"),
        ("cluster", "standard", "the clustering regularizer on standard training"),
        ("at-cluster", "at", "the clustering regularizer on PGD-AT"),
    ):
        pairs = differences(rows, training, against)
        lines.append(f"| {words} | {len(pairs)} | {_pairs(pairs)} |")
    folded = [row["measures"].get("gap/fold", math.nan) - row["measures"].get("gap/remove", math.nan) for row in rows]
    folded = [value for value in folded if math.isfinite(value) and value != 0]
    lines.append(f"| batch norm folded against removed, models that have one | {len(folded)} | {_pairs(folded)} |")
    lines += ["", "| family | standard: gaps | PGD-AT: gaps |", "| --- | --- | --- |"]
    for family in dict.fromkeys(model.family for model in MODELS):
        own = {name: _gaps(rows, family, name) for name in ("standard", "at")}
        if any(own.values()):
            lines.append(f"| {family} | {_values(own['standard'])} | {_values(own['at'])} |")
    lines += _grid_lines(cells)
    return lines


def _gaps(rows: Sequence[Row], family: str, training: str) -> list[float]:
    chosen = [row["measures"] for row in rows if (row["family"], row["training"]) == (family, training)]
    return [measures["gap/remove"] for measures in chosen if "gap/remove" in measures]


def _grid_lines(cells: dict[Cell, dict[str, float]]) -> list[str]:
    lines = [
        "",
        f"The grid: {len(cells)} further trainings on Fashion-MNIST. Mean gap and range over initial weights:",
        "",
        "| family | training | 1 epoch | 3 epochs | 6 epochs |",
        "| --- | --- | --- | --- | --- |",
    ]
    lengths = by_epochs(cells)
    for family in GRID_FAMILIES:
        for training in GRID_TRAININGS:
            columns = [_range(lengths.get((family, training, epochs), [])) for epochs in (1, USUAL_EPOCHS, 6)]
            lines.append(f"| {family} | {training} | {' | '.join(columns)} |")
    deviations = standard_deviations(cells)
    return [
        *lines,
        "",
        "After three epochs the gap has a standard deviation of "
        + " and ".join(f"{value:.2f} over the {name}" for name, value in deviations.items())
        + ", pooled over families and trainings.",
    ]


def _pairs(values: Sequence[float]) -> str:
    return str(mean_estimate(values)) if len(values) >= 4 else _values(values)


def _values(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.2f}" for value in values) or "–"


def _range(values: Sequence[float]) -> str:
    return f"{np.mean(values):.2f} ({min(values):.2f} to {max(values):.2f})" if values else "–"


def draw(rows: Sequence[Row], cells: dict[Cell, dict[str, float]], folder: Path) -> None:
    """Two pictures: the gaps of all models by training, and the grid's gaps by number of epochs."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    groups = by_training(rows)
    families = list(dict.fromkeys(model.family for model in MODELS))
    for place, name in enumerate(groups):
        for row in rows:
            value = row["measures"].get("gap/remove", math.nan)
            if row["training"] == name and math.isfinite(value):
                offset = 0.06 * (families.index(row["family"]) - len(families) / 2)
                axes.plot(
                    place + offset, value, "o" if row["data"] == "fashion_mnist" else "^", color="#4477aa", ms=4.5
                )
        axes.plot([place - 0.35, place + 0.35], [np.mean(groups[name])] * 2, color="#333333", lw=1.5)
    axes.set_xticks(range(len(groups)), list(groups), rotation=30, ha="right")
    axes.set_ylabel("gap of C (batch norm removed)")
    axes.set_title("Gap by training: circles Fashion-MNIST, triangles glyphs, lines means", loc="left", fontsize=10)
    figure.savefig(folder / "gap-by-training.png", dpi=120)
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    for axes, family in zip(figure.subplots(1, len(GRID_FAMILIES), sharey=True), GRID_FAMILIES, strict=True):
        for training, color in zip(GRID_TRAININGS, ("#4477aa", "#ee6677"), strict=True):
            points = [
                (n, values) for (one, name, n), values in by_epochs(cells).items() if (one, name) == (family, training)
            ]
            for epochs, values in points:
                axes.plot([epochs] * len(values), values, "o", color=color, ms=4)
            axes.plot([n for n, _ in points], [np.mean(values) for _, values in points], color=color, label=training)
        axes.set_title(family, loc="left", fontsize=10)
        axes.set_xlabel("epochs")
        axes.set_xticks((1, USUAL_EPOCHS, 6))
        axes.set_xlim(0.5, 6.5)
    figure.axes[0].set_ylabel("gap of C")
    figure.axes[0].legend(frameon=False)
    figure.savefig(folder / "gap-by-length.png", dpi=120)
