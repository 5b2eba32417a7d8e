"""The smallest perturbation: which attack finds it, and whether its curve agrees with a protocol at five radii.

    OMP_NUM_THREADS=1 python -m benchmarks.curves candidates [--norms Linf L2 L1] [--images 32]
    OMP_NUM_THREADS=1 python -m benchmarks.curves agreement [--norm Linf] [--images 200]
    python -m benchmarks.curves print

Both take `--models`. Where fewer images than the default are stored, the lines say how many.

Demo models on Fashion-MNIST. Candidates run on the first test images, with which the search was tuned; agreement is
measured on images from number 500 on. Each part is stored in `benchmarks/curves.json` when it ends, and is not run
again. A pass is one image through the network, forward or backward, counted around the model; the passes of `standard`
on the same images are those of `benchmarks/attacks.json`.

The candidates are foolbox's FMN and DDN, adv-lib's PDPGD, pyautoattack's FAB, auditor's ascents in shrinking balls,
both of the last two, and what `--curve` runs: these two, and in L1 auditor's PDPGD as well. adv-lib needs visdom, whose
build fails with today's setuptools; `pip install --no-deps adv-lib` is enough here, because an empty module stands in
for visdom.
"""

import argparse
import json
import statistics
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from auditor.attacks import evaluate_robustness
from auditor.attacks.curve_search import PARAMETERS, MinimalSearch, check_sizes, search_settings
from auditor.attacks.norms import NORMS
from auditor.files import write_atomically
from benchmarks.attacks import FIRST, Counted, test_images
from benchmarks.attacks import PART as OTHER_PART
from benchmarks.attacks import STORE as PROTOCOLS_STORE
from benchmarks.attacks import read as read_store
from benchmarks.autoattack import load

STORE = Path(__file__).with_suffix(".json")
EPS = {"Linf": 0.1, "L2": 0.5, "L1": 5.0}
"""Near the median critical radii of demo:at-eps0.10 in L2 and L1, so that R falls between the five radii."""
RADII = (0.25, 0.5, 1.0, 1.5, 2.0)
"""In eps."""
ROBUST = ("at-eps0.10", "trades-eps0.10", "plain-at-eps0.10")
OTHERS = ("noise",)
"""Robust in L2 alone."""
COMPARED = ("at-eps0.10", "standard")
STEPS = 300
PART = 200
"""In smaller parts `strong` runs FAB and Square on all samples, because a random part of them would be too small."""

Candidate = Callable[[nn.Module, Tensor, Tensor, str], Tensor]
"""Model, images, labels and the norm to adversarial candidates ``(N, C, H, W)``."""


def of_search(**changes: Any) -> Candidate:
    def run(model: nn.Module, images: Tensor, labels: Tensor, norm: str) -> Tensor:
        known = torch.full((len(images),), torch.inf, dtype=torch.float64)
        search = MinimalSearch(
            model, model, images, labels, torch.arange(len(images)),
            norm=NORMS[norm], largest=PARAMETERS["largest"] * EPS[norm], known=known, seed=0,
        )  # fmt: skip
        search.run(search_settings(NORMS[norm]) | changes)
        return search.found

    return run


def of_foolbox(names: dict[str, str], **settings: Any) -> Candidate:
    def run(model: nn.Module, images: Tensor, labels: Tensor, norm: str) -> Tensor:
        import foolbox

        attack = getattr(foolbox.attacks, names[norm])(steps=STEPS, **settings)
        found: Tensor = attack(foolbox.PyTorchModel(model.eval(), bounds=(0, 1)), images, labels, epsilons=None)[0]
        return found

    return run


def pdpgd(model: nn.Module, images: Tensor, labels: Tensor, norm: str) -> Tensor:
    sys.modules.setdefault("visdom", types.ModuleType("visdom")).Visdom = object  # type: ignore[attr-defined]
    from adv_lib.attacks import pdpgd as attack

    p = {"Linf": float("inf"), "L2": 2, "L1": 1}[norm]
    found: Tensor = attack(model, images, labels, norm=p, num_steps=STEPS)
    return found


_FMN = {"Linf": "LInfFMNAttack", "L2": "L2FMNAttack", "L1": "L1FMNAttack"}
CANDIDATES: dict[str, Candidate] = {
    "FMN": of_foolbox(_FMN),
    "FMN, steps of 10": of_foolbox(_FMN, max_stepsize=10.0),
    "DDN": of_foolbox({"L2": "DDNAttack"}),
    "PDPGD": pdpgd,
    "FAB": of_search(fab=[[9, 50]], rounds=0, primal_dual=None),
    "ascents": of_search(fab=[], rounds=40, primal_dual=None),
    "FAB and ascents": of_search(primal_dual=None),
    "--curve": of_search(),
}


def measure_candidate(name: str, model_name: str, norm: str, images: int) -> dict[str, Any]:
    counted = Counted(load(model_name))
    pixels, labels = test_images(0, images)
    with torch.no_grad():
        correct = counted.model(pixels).argmax(1) == labels
    pixels, labels = pixels[correct], labels[correct]
    found = CANDIDATES[name](counted, pixels, labels, norm).detach().clamp(0, 1)
    sizes = check_sizes(counted.model, pixels, labels, found, NORMS[norm])
    passes = counted.passes.forward + counted.passes.backward
    return {"sizes": [round(size, 6) for size in sizes.tolist()], "passes": passes}


def measure_curve(model_name: str, norm: str, first: int, count: int) -> dict[str, Any]:
    pixels, labels = test_images(first, count)
    numbers = range(first, first + count)
    passes, sizes = [], []
    for curve in (False, True):
        counted = Counted(load(model_name))
        found = evaluate_robustness(
            counted, pixels, labels, norm=norm, eps=EPS[norm], protocol="quick", indices=numbers, curve=curve
        )
        passes.append(counted.passes.forward + counted.passes.backward)
        sizes = [] if found.curve is None else [round(float(size), 7) for size in found.curve.sizes]
    settings = search_settings(NORMS[norm])
    return {"settings": settings, "sizes": sizes, "passes": passes[1] - passes[0], "quick": passes[0]}


def measure_protocol(
    model_name: str, norm: str, first: int, count: int, radius: float, protocol: str
) -> dict[str, Any]:
    pixels, labels = test_images(first, count)
    counted = Counted(load(model_name))
    found = evaluate_robustness(
        counted, pixels, labels, norm=norm, eps=radius * EPS[norm], protocol=protocol,
        indices=range(first, first + count),
    )  # fmt: skip
    passes = counted.passes.forward + counted.passes.backward
    return {"survived": "".join(str(int(bit)) for bit in found.survived), "passes": passes}


def store(path: Sequence[str], measure: Callable[[], dict[str, Any]]) -> None:
    """Measure and store under this path, unless it is stored."""
    inner = read_store(STORE)
    for name in path:
        inner = inner.get(name, {})
    if inner:
        return
    part = measure()
    results = read_store(STORE)
    inner = results
    for name in path[:-1]:
        inner = inner.setdefault(name, {})
    inner[path[-1]] = part
    with write_atomically(STORE) as out:
        out.write(json.dumps(results, indent=1).encode())


def measure_candidates(norms: Sequence[str], models: Sequence[str], images: int) -> None:
    for norm in norms:
        for model in models:
            for name in CANDIDATES:
                if (name == "DDN" and norm != "L2") or (name == "FAB and ascents" and norm != "L1"):
                    continue
                store(
                    ("candidates", norm, model, name),
                    lambda: measure_candidate(name, model, norm, images),  # noqa: B023
                )


def measure_agreement(norm: str, models: Sequence[str], images: int, protocol: str) -> None:
    for model in models:
        for first in range(FIRST, FIRST + images, PART):
            count = min(PART, FIRST + images - first)
            store((norm, model, "curve", str(first)), lambda: measure_curve(model, norm, first, count))  # noqa: B023
            for radius in RADII:
                store(
                    (norm, model, f"{protocol} {radius:g}", str(first)),
                    lambda: measure_protocol(model, norm, first, count, radius, protocol),  # noqa: B023
                )


def candidate_lines(results: dict[str, Any]) -> Iterator[str]:
    for norm, models in results.get("candidates", {}).items():
        most = PARAMETERS["largest"] * EPS[norm]
        for model, found in models.items():
            best = [min(sizes) for sizes in zip(*(part["sizes"] for part in found.values()), strict=True)]
            for name, part in found.items():
                sizes = part["sizes"]
                near = sum(size <= 1.01 * least for size, least in zip(sizes, best, strict=True))
                mean = statistics.mean(min(size, most) for size in sizes)
                yield (
                    f"{norm}, demo:{model}, {name}: mean size {mean:.4g}, "
                    f"median {statistics.median(sizes):.4g}, within 1 % of the best on {near} of {len(sizes)}; "
                    f"{part['passes'] / len(sizes):.0f} passes an image"
                )


def agreement_lines(results: dict[str, Any]) -> Iterator[str]:
    standard = read_store(PROTOCOLS_STORE)
    for norm in EPS:
        for model, parts in results.get(norm, {}).items():
            for name in parts:
                if name == "curve":
                    continue
                common = sorted(set(parts[name]) & set(parts.get("curve", {})))
                radius = float(name.split()[1]) * EPS[norm]
                limit = radius * (1 + 2e-5) + 2e-7
                curve = [size > limit for first in common for size in parts["curve"][first]["sizes"]]
                protocol = [bit == "1" for first in common for bit in parts[name][first]["survived"]]
                if not common:
                    continue
                n = len(curve)
                only = sum(mine and not other for mine, other in zip(curve, protocol, strict=True))
                fewer = sum(other and not mine for mine, other in zip(curve, protocol, strict=True))
                yield (
                    f"{norm} {radius:g}, demo:{model}, {n} images: curve {100 * sum(curve) / n:.1f} %, "
                    f"{name.split()[0]} {100 * sum(protocol) / n:.1f} %; {fewer} broken by the curve alone, "
                    f"{only} by the protocol alone"
                )
            if "curve" in parts:
                yield cost_line(norm, model, parts, standard)


def cost_line(norm: str, model: str, parts: dict[str, Any], standard: dict[str, Any]) -> str:
    """The passes of the search beside those of the protocols on the same images; without other parts of these."""
    search = parts["curve"]
    images = sum(len(part["sizes"]) for part in search.values())
    mine = sum(part["passes"] for part in search.values())
    line = f"{norm}, demo:{model}: {mine / images:.0f} passes an image; "
    line += f"{mine / sum(part['quick'] for part in search.values()):.1f} times quick's"
    if any(part.get("settings") != search_settings(NORMS[norm]) for part in search.values()):
        line += " (by an earlier search, with other settings)"
    for protocol in ("strong", "standard"):
        known = {first: part["passes"] for first, part in parts.get(f"{protocol} 1", {}).items() if first in search}
        if known:
            line += f", {sum(search[first]['passes'] for first in known) / sum(known.values()):.2f} times {protocol}'s"
    known_there = [
        (part["forward"] + part["backward"]) / OTHER_PART
        for first, part in standard.get(model, {}).get("standard", {}).items()
        if any(int(start) <= int(first) < int(start) + PART for start in search)
    ]
    if norm == "Linf" and known_there:
        line += f", {mine / images / statistics.mean(known_there):.2f} times standard's"
    return line


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.curves", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["candidates", "agreement", "print"])
    parser.add_argument("--norms", nargs="+", choices=EPS, default=list(EPS))
    parser.add_argument("--norm", choices=EPS, default="Linf")
    parser.add_argument("--images", type=int)
    parser.add_argument("--models", nargs="+", choices=(*ROBUST, *OTHERS, "standard"))
    parser.add_argument("--protocol", default="strong")
    options = parser.parse_args()
    if options.what == "candidates":
        measure_candidates(options.norms, options.models or COMPARED, options.images or 32)
    if options.what == "agreement":
        measure_agreement(options.norm, options.models or ROBUST, options.images or 200, options.protocol)
    for line in (*candidate_lines(read_store(STORE)), *agreement_lines(read_store(STORE))):
        print(line, flush=True)


if __name__ == "__main__":
    main()
