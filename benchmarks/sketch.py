"""What a sketch of C costs and how far off it is, against the exact C, for networks of 1,000 classes.

    python benchmarks/sketch.py [--repeats 3] [--threads 1]

One line a network and number of probes R. The exact C is computed once a network, each sketch `--repeats` times with
seeds of its own: seconds are medians, errors root mean squares over the repeats. Reach: a tenth of the exact way's time
at a gap that is off by less than 0.02. The superclasses are ImageNet's. Seconds are of this machine; ratios and errors
are not, but for the noise.
"""

import argparse
import runpy
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from safetensors.torch import load_file
from torch import nn

from auditor.clustering import (
    clustering_scores,
    correlation,
    effective_rank,
    gap_error,
    sketched_correlation,
    sketched_rank,
)
from auditor.data import CLASSES, load_hierarchy
from auditor.linear import template_gram, template_sketch

EXAMPLE = Path(__file__).parent.parent / "examples" / "efficientnet_lite0.py"
PROBES = (32, 64, 128)


def trained_efficientnet() -> nn.Module:
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "weights.safetensors"
        runpy.run_path(str(EXAMPLE))["write_weights"](file)
        network.load_state_dict(load_file(file))
    return network


def wide_network() -> nn.Module:
    """Two layers, and as many random features as make the templates of 1,000 classes nearly orthogonal."""
    return nn.Sequential(nn.Conv2d(3, 64, 5, 2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(64 * 32 * 32, 1000))


def networks() -> Iterator[tuple[str, nn.Module, int]]:
    yield "EfficientNet-Lite0, trained, 224x224", trained_efficientnet(), 224
    torch.manual_seed(0)
    yield "EfficientNet-Lite0, untrained, 224x224", timm.create_model("tf_efficientnet_lite0", pretrained=False), 224
    yield "ResNet-18, untrained, 224x224", timm.create_model("resnet18", pretrained=False), 224
    yield "wide convolutional network, untrained, 64x64", wide_network(), 64


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    found = function()
    return time.perf_counter() - started, found


def root_mean_square(values: Any) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def compare(name: str, network: nn.Module, side: int, repeats: int) -> None:
    network.eval().requires_grad_(False)
    size, superclasses = (3, side, side), load_hierarchy("imagenet", CLASSES["imagenet"]).superclasses
    template_sketch(network, size, probes=8)  # warms up
    seconds, exact = timed(lambda: template_gram(network, size))
    c = correlation(exact.gram.numpy())
    gap, off = clustering_scores(c, superclasses, permutations=1).gap, ~np.eye(len(c), dtype=bool)
    print(f"{name}: exact in {seconds:.1f} s, {exact.dtype}, gap {gap:.4f}, effective rank {effective_rank(c):.1f}")
    for probes in PROBES:
        times, entries, gaps, stated, ranks = [], [], [], [], []
        for seed in range(repeats):
            took, found = timed(
                lambda probes=probes, seed=seed: template_sketch(network, size, probes=probes, seed=seed)
            )
            rows = found.responses.numpy()
            sketched = sketched_correlation(rows)
            times.append(took)
            entries.append(root_mean_square((sketched - c)[off]))
            gaps.append(clustering_scores(sketched, superclasses, permutations=1).gap - gap)
            stated.append(gap_error(rows, superclasses))
            ranks.append(sketched_rank(rows))
        took = statistics.median(times)
        print(
            f"  R = {probes}: {took:.2f} s, {took / seconds:.3f} of exact; "
            f"entries off by {root_mean_square(entries):.4f}, gap by {root_mean_square(gaps):.4f} "
            f"(at most {max(map(abs, gaps)):.4f}), stated {root_mean_square(stated):.4f}; "
            f"effective rank {min(ranks):.1f} to {max(ranks):.1f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for name, network, side in networks():
        compare(name, network, side, options.repeats)


if __name__ == "__main__":
    main()
