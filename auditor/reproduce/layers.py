"""Correlation of the filters of each convolution, ``|W W^T - I|`` with unit rows, standard against PGD-AT."""

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from auditor.plots import save
from auditor.records import Matrix
from auditor.reproduce.bench import Bench, Network
from auditor.reproduce.correlation import over_families
from auditor.reproduce.records import Cell, Claim, Column, ExperimentResult, Table
from auditor.reproduce.rules import over_units

FIGURE = "layers.png"
COLUMNS = (
    Column("layer"),
    Column("filters", "count"),
    Column("standard", "number"),
    Column("PGD-AT", "number"),
    Column("difference", "number"),
    Column("95 % over seeds", "interval"),
)


def filter_correlation(weight: Tensor) -> Matrix:
    """``|W W^T - I|`` of a convolution's weight ``(n, C, k, k)``, a row a filter, rows of unit length; ``(n, n)``."""
    rows = nn.functional.normalize(weight.detach().double().flatten(1), dim=1)
    found: Matrix = (rows @ rows.T - torch.eye(len(rows), dtype=rows.dtype)).abs().numpy()
    return found


def mean_correlation(weight: Tensor) -> float:
    """The mean of :func:`filter_correlation` over pairs of different filters; NaN for a single filter."""
    found = filter_correlation(weight)
    return float(found[~np.eye(len(found), dtype=bool)].mean()) if len(found) > 1 else float("nan")


def convolutions(model: nn.Module) -> dict[str, Tensor]:
    """The weights of a network's convolutions by the names of the layers."""
    return {name: layer.weight for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d)}


def run(bench: Bench) -> ExperimentResult:
    """Compare each layer of the first family, and the mean over layers of every family."""
    networks = {
        family: {
            method: [bench.network(method, seed, family=family) for seed in bench.seeds]
            for method in ("standard", "at")
        }
        for family in bench.settings.families
    }
    means = {
        family: {method: [_by_layer(one) for one in found] for method, found in by_method.items()}
        for family, by_method in networks.items()
    }
    families = tuple((family, *_cells(found, None)) for family, found in means.items())
    filters = {name: len(weight) for name, weight in convolutions(networks[bench.family]["at"][0].model).items()}
    layers = tuple((name, count, *_cells(means[bench.family], name)) for name, count in filters.items())
    path = bench.work.folder / FIGURE
    save(_draw(networks[bench.family]["standard"][0], networks[bench.family]["at"][0]), path)
    return ExperimentResult(
        experiment="layers",
        dataset=bench.settings.dataset,
        claims=(_claim(means),),
        tables=(
            Table(
                title=f"Mean over pairs of filters, {bench.family}, by layer",
                columns=COLUMNS,
                rows=layers,
            ),
            Table(
                title="Mean over pairs of filters and over layers, by family",
                columns=(Column("family"), *COLUMNS[2:]),
                rows=families,
            ),
        ),
        notes=("A layer with one filter has no pairs. The figure shows the networks of seed 0.",),
        figures=(str(path),),
    )


def _by_layer(network: Network) -> dict[str, float]:
    return {name: mean_correlation(weight) for name, weight in convolutions(network.model).items()}


Means = dict[str, list[dict[str, float]]]
"""By method, seed and layer."""


def _values(found: Means, method: str, layer: str | None) -> list[float]:
    """One value for each seed: of the layer, or the mean of all layers."""
    return [float(np.nanmean(list(one.values()))) if layer is None else one[layer] for one in found[method]]


def _cells(found: Means, layer: str | None) -> tuple[Cell, ...]:
    standard, robust = (_values(found, method, layer) for method in ("standard", "at"))
    change = over_units([after - before for before, after in zip(standard, robust, strict=True)], "seeds")
    return float(np.mean(standard)), float(np.mean(robust)), change.value, (change.low, change.high)


def _claim(means: dict[str, Means]) -> Claim:
    """The source shows heatmaps and states no direction, so that nothing can be reproduced or not."""
    changes = {
        family: [
            after - before
            for before, after in zip(_values(found, "standard", None), _values(found, "at", None), strict=True)
        ]
        for family, found in means.items()
    }
    return Claim(
        text="Filters of PGD-AT networks are correlated otherwise than those of standard networks",
        kind="number",
        estimate=over_families(changes),
        verdict="not decided",
        because="the source shows heatmaps and states no direction; the estimate is PGD-AT minus standard",
    )


def _draw(standard: Network, robust: Network) -> Figure:
    """The heatmaps of all layers: one column a layer, the standard network above the robust one."""
    both = [convolutions(network.model) for network in (standard, robust)]
    figure = Figure(figsize=(1.5 * len(both[0]), 4.4), layout="constrained")
    axes = figure.subplots(2, len(both[0]), squeeze=False)
    for line, title, weights in zip(axes, ("standard", "PGD-AT"), both, strict=True):
        for place, (name, weight) in zip(line, weights.items(), strict=True):
            picture = place.imshow(filter_correlation(weight), cmap="viridis", vmin=0, vmax=1)
            place.set_title(f"{title}\n{name}", fontsize=8)
            place.set_xticks([])
            place.set_yticks([])
    figure.colorbar(picture, ax=axes, shrink=0.8, label="|W Wᵀ − I|")
    return figure
