"""Do robust and clustered features adapt better to subclasses never seen? On Fashion-MNIST, so that anybody can repeat.

    OMP_NUM_THREADS=1 python -m benchmarks.adapt run               # about an hour on one core
    OMP_NUM_THREADS=1 python -m benchmarks.adapt run --share 0/2   # the first of two processes that share the work
    python -m benchmarks.adapt show                                # the tables of what is stored so far
    python -m benchmarks.adapt plot                                # docs/adaptation.png

Each run, a source model of one assignment, recipe and seed with all that is adapted from it, is stored in
`--store FOLDER` as it ends, and is not done again. Accuracies are of test images of the target classes.
"""

import argparse
import dataclasses
import json
import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy.stats import t as student

from auditor.records.adaptations import (
    AdaptRequest,
    AdaptResult,
    AdaptScore,
    Tuning,
    result_from,
    result_to,
)
from auditor.records.assignments import PRESETS

ARMS = ("standard", "robust", "robust+clustered")
SEEDS = (0, 1, 2)
MAIN = "fashion-mnist"
OTHERS = (
    "fashion-mnist/T-shirt/top+sandal",
    "fashion-mnist/pullover+sneaker",
    "fashion-mnist/dress+ankle boot",
    "fashion-mnist/coat+sandal",
    "fashion-mnist/shirt+sneaker",
)
"""One top and one kind of footwear left out, each class at least once; one seed each."""
HELD_OUT = 600
SHOTS = (0, 1, 5, 20, 100)
HEAD, ALL = Tuning(), Tuning(layers="all")
PLOT = Path("docs/adaptation.png")


@dataclass(frozen=True)
class Run:
    """A source model, and the ways of tuning that begin with it."""

    name: str
    request: AdaptRequest
    tunings: tuple[Tuning, ...]


def runs() -> list[Run]:
    """Seed by seed, so that what is stored is always a comparison of all arms."""
    main = [_run(MAIN, arm, seed, SHOTS, (HEAD, ALL)) for seed in SEEDS for arm in ARMS]
    control = [_run(MAIN, "standard+clustered", seed, SHOTS, (HEAD,)) for seed in SEEDS]
    others = [_run(name, arm, 0, (1, 20), (HEAD,)) for name in OTHERS for arm in ARMS]
    return main + others + control


def _run(preset: str, arm: str, seed: int, shots: tuple[int, ...], tunings: tuple[Tuning, ...]) -> Run:
    request = AdaptRequest(
        assignment=PRESETS[preset], start=arm, seeds=(seed,), shots=shots, held_out=HELD_OUT, tuning=tunings[0]
    )
    return Run(f"{preset}/{arm}/{seed}", request, tunings)


def run(store: Path, share: str) -> None:
    from auditor.adapt.splits import load_data

    number, processes = (int(part) for part in share.split("/"))
    store.mkdir(parents=True, exist_ok=True)
    data = load_data("fashion_mnist")
    for one in runs()[number::processes]:
        file = _file(store, one)
        if not file.exists():
            found = [result_to(result) for result in _results(one, data)]
            scratch = file.with_suffix(".part")
            scratch.write_text(json.dumps({"name": one.name, "results": found}))
            scratch.replace(file)
            print(one.name, *(f"{score.adapted.robust:.3f}" for score in result_from(found[0]).scores), flush=True)


def _file(store: Path, one: Run) -> Path:
    return store / f"{one.name.replace('/', '_').replace(' ', '-')}.json"


def _results(one: Run, data: Any) -> Iterator[AdaptResult]:
    """One a way of tuning, from the same source model."""
    from auditor.adapt.run import adapted_scores, source_model, source_score

    began, seed = time.perf_counter(), one.request.seeds[0]
    model, members = source_model(one.request, seed, data)
    source = source_score(one.request, seed, data, model, members)
    for tuning in one.tunings:
        shots = one.request.shots if tuning is one.tunings[0] else tuple(n for n in one.request.shots if n)
        request = dataclasses.replace(one.request, tuning=tuning, shots=shots)
        scores = adapted_scores(request, seed, data, model, members)
        seconds = time.perf_counter() - began
        yield AdaptResult(
            request=request, scores=tuple(scores), sources=(source,), data_sha256=data.digests, seconds=seconds
        )


Cell = tuple[str, str, str, int]
"""Preset, arm, layers tuned, shots."""


def stored(store: Path) -> tuple[dict[Cell, list[AdaptScore]], dict[tuple[str, str], list[AdaptResult]]]:
    """All scores by cell, and the results of each preset and arm, in the order of the runs and so of the seeds."""
    cells: dict[Cell, list[AdaptScore]] = {}
    sources: dict[tuple[str, str], list[AdaptResult]] = {}
    for one in runs():
        if not _file(store, one).exists():
            continue
        preset, arm = one.name.rsplit("/", 2)[:2]
        for content in json.loads(_file(store, one).read_text())["results"]:
            result = result_from(content)
            if result.request.tuning == one.tunings[0]:
                sources.setdefault((preset, arm), []).append(result)
            for score in result.scores:
                cells.setdefault((preset, arm, result.request.tuning.layers, score.shots), []).append(score)
    return cells, sources


def show(store: Path) -> None:
    """The tables of docs/adaptation.md, in its own form."""
    cells, sources = stored(store)
    _show_sources(sources)
    for layers in ("head", "all"):
        _show_main(cells, layers)
    _show_differences(cells)
    _show_others(cells)


def _show_sources(sources: dict[tuple[str, str], list[AdaptResult]]) -> None:
    print("\n| source model | clean | robust | seeds |\n| --- | ---: | ---: | ---: |")
    for (preset, arm), found in sources.items():
        if preset == MAIN:
            accuracies = [result.sources[0].accuracy for result in found]
            cells = _spread([one.clean for one in accuracies]), _spread([one.robust for one in accuracies])
            print(f"| {arm} | {' | '.join(cells)} | {len(found)} |")


def _show_main(cells: dict[Cell, list[AdaptScore]], layers: str) -> None:
    print(f"\n{layers}: clean / robust\n\n| target images a class |", end="")
    arms = [arm for arm in (*ARMS, "standard+clustered") if any(cell[1:3] == (arm, layers) for cell in cells)]
    print(f" {' | '.join(arms)} | nearest mean |\n| ---: |{' --- |' * (len(arms) + 1)}")
    for shots in SHOTS:
        row = [cells.get((MAIN, arm, layers, shots), []) for arm in arms]
        if any(row):
            texts = [_both([(one.adapted.clean, one.adapted.robust) for one in found]) for found in row]
            means = [one.baseline for one in max(row, key=len) if one.baseline is not None]
            print(f"| {shots} | {' | '.join(texts)} | {_both([(one.clean, one.robust) for one in means])} |")


def _show_differences(cells: dict[Cell, list[AdaptScore]]) -> None:
    """Paired by seed: the same target images, and the same random numbers where two arms use any."""
    print("\n| tuned | images | robust − standard | clustered − robust | robust − nearest mean |")
    print("| --- | ---: | --- | --- | --- |")
    for layers in ("head", "all"):
        for shots in SHOTS:
            standard, robust, clustered = (cells.get((MAIN, arm, layers, shots), []) for arm in ARMS)
            pairs = [(robust, standard, _robust), (clustered, robust, _robust), (robust, robust, _over_baseline)]
            texts = [_difference(first, second, of) for first, second, of in pairs]
            if robust:
                print(f"| {layers} | {shots} | {' | '.join(texts)} |")


def _robust(first: AdaptScore, second: AdaptScore) -> float:
    return first.adapted.robust - second.adapted.robust


def _over_baseline(first: AdaptScore, _: AdaptScore) -> float:
    return math.nan if first.baseline is None else first.adapted.robust - first.baseline.robust


def _difference(
    first: list[AdaptScore], second: list[AdaptScore], of: Callable[[AdaptScore, AdaptScore], float]
) -> str:
    """Mean difference over seeds in points, with its 95 % interval from Student's t."""
    other = {score.seed: score for score in second}
    values = [100 * of(score, other[score.seed]) for score in first if score.seed in other]
    if not values or math.isnan(values[0]):
        return "–"
    if len(values) < 2:
        return f"{values[0]:+.1f}"
    reach = float(student.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))
    mean = statistics.mean(values)
    return f"{mean:+.1f} ({mean - reach:+.1f} to {mean + reach:+.1f})"


def _show_others(cells: dict[Cell, list[AdaptScore]]) -> None:
    print(f"\n| targets | images | {' | '.join(ARMS)} | nearest mean |\n| --- | ---: |{' --- |' * (len(ARMS) + 1)}")
    for preset in OTHERS:
        for shots in (1, 20):
            row = [cells.get((preset, arm, "head", shots), []) for arm in ARMS]
            if any(row):
                texts = [_both([(one.adapted.clean, one.adapted.robust) for one in found]) for found in row]
                means = [one.baseline for one in max(row, key=len) if one.baseline is not None]
                targets = " | ".join(", ".join(group.targets) for group in PRESETS[preset].superclasses)
                nearest = _both([(one.clean, one.robust) for one in means])
                print(f"| {targets.replace(' | ', '; ')} | {shots} | {' | '.join(texts)} | {nearest} |")


def _both(pairs: list[tuple[float, float]]) -> str:
    if not pairs:
        return "–"
    clean, robust = zip(*pairs, strict=True)
    return f"{_spread(clean)} / {_spread(robust)}"


def _spread(values: Any) -> str:
    """Mean of fractions in percent, and the sample standard deviation where there are several."""
    mean = f"{100 * statistics.mean(values):.1f}"
    return f"{mean} ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else mean


def plot(store: Path, out: Path) -> None:
    """Robust and clean accuracy against shots, head tuned, a line an arm, with all seeds as points."""
    from matplotlib.figure import Figure

    from auditor.plots.model import PALETTE

    cells, _ = stored(store)
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    for axes, kind in zip(figure.subplots(1, 2, sharey=True), ("clean", "robust"), strict=True):
        for number, arm in enumerate((*ARMS, "nearest mean on pixels")):
            points = list(_points(cells, arm, kind))
            color = PALETTE[number]
            axes.plot([x for x, _ in points], [statistics.mean(ys) for _, ys in points], "o-", color=color, label=arm)
            for x, ys in points:
                axes.plot([x] * len(ys), ys, "_", color=color, markersize=9)
        axes.axhline(50, color="#999999", linewidth=0.8, linestyle=":")
        axes.set_xscale("symlog", linthresh=1)
        axes.set_xticks(SHOTS, [str(shots) for shots in SHOTS])
        axes.minorticks_off()
        axes.set_xlabel("target images a class")
        axes.set_title(f"{kind} superclass accuracy, %", loc="left", fontsize=11)
        axes.grid(color="#dddddd", linewidth=0.6)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    axes.legend(frameon=False, fontsize=9, loc="lower right")
    figure.savefig(out, dpi=110)


def _points(cells: dict[Cell, list[AdaptScore]], arm: str, kind: str) -> Iterator[tuple[int, list[float]]]:
    for shots in SHOTS:
        found = cells.get((MAIN, arm if arm in ARMS else ARMS[0], "head", shots), [])
        chosen = [score.adapted if arm in ARMS else score.baseline for score in found]
        values = [100 * float(getattr(one, kind)) for one in chosen if one is not None]
        if values:
            yield shots, values


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.adapt", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=["run", "show", "plot"])
    parser.add_argument("--store", type=Path, default=Path("benchmarks/runs/adapt"), help="folder of the stored runs")
    parser.add_argument("--share", default="0/1", help="N/M: every M-th run, from the N-th on")
    parser.add_argument("--out", type=Path, default=PLOT, help="the plot's file")
    options = parser.parse_args()
    if options.part == "run":
        run(options.store, options.share)
    elif options.part == "show":
        show(options.store)
    else:
        plot(options.store, options.out)


if __name__ == "__main__":
    main()
