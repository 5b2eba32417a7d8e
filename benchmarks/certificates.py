"""Both ends of the robust accuracy over the demo zoo: what bounds certify, and what attacks leave.

    OMP_NUM_THREADS=1 python -m benchmarks.certificates [--images 100] [--eps 0.1] [--protocol strong] [--only MODEL]

Prints the table of docs/certificates.md: of the first test images the shares that are correct, that survive the
attacks, and that are certified, by intervals or by lines; the number of images that are certified and broken, which is
0 if bounds and attacks are right; and seconds of processor time. The exit code is 1 if there is such an image.
"""

import argparse
import sys
import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from auditor.attacks import evaluate_robustness
from auditor.certify import certify_bounds
from auditor.data import load_images
from auditor.records.certificates import INTERVALS, LINES
from auditor.zoo.demo import DemoZoo

HEAD = (
    "| model | ε | clean | after attacks | certified | by intervals | by lines | violations | bounds, s | attacks, s |"
)


@dataclass(frozen=True)
class Ends:
    """Numbers of images of one model at one radius, and seconds of processor time.

    Attributes:
        violations: images that are certified and broken.
    """

    n: int
    correct: int
    survived: int
    by_intervals: int
    by_lines: int
    violations: int
    bounds_seconds: float
    attack_seconds: float

    @property
    def certified(self) -> int:
        return self.by_intervals + self.by_lines


def measure_ends(model: nn.Module, images: Tensor, labels: Tensor, eps: float, protocol: str) -> Ends:
    """Certify and attack a model on images ``(N, C, H, W)`` in [0, 1] within Linf balls."""
    started = time.process_time()
    verdicts = certify_bounds(model, images, labels, norm="Linf", eps=eps)
    middle = time.process_time()
    attacked = evaluate_robustness(model, images, labels, norm="Linf", eps=eps, protocol=protocol)
    return Ends(
        n=len(images),
        correct=int(attacked.correct.sum()),
        survived=int(attacked.survived.sum()),
        by_intervals=int((verdicts == INTERVALS).sum()),
        by_lines=int((verdicts == LINES).sum()),
        violations=int(((verdicts > 0) & ~attacked.survived).sum()),
        bounds_seconds=middle - started,
        attack_seconds=time.process_time() - middle,
    )


def row(name: str, eps: float, ends: Ends) -> str:
    """A row of the table, the shares in percent."""
    counts = (ends.correct, ends.survived, ends.certified, ends.by_intervals, ends.by_lines)
    shares = " | ".join(f"{100 * count / ends.n:.1f}" for count in counts)
    seconds = f"{ends.bounds_seconds:.1f} | {ends.attack_seconds:.1f}"
    return f"| `{name}` | {eps:g} | {shares} | {ends.violations} | {seconds} |"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.certificates", description=__doc__)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--eps", type=float, action="append")
    parser.add_argument("--protocol", default="strong", choices=("quick", "strong", "standard"))
    parser.add_argument("--only", action="append", metavar="MODEL")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = load_images("fashion_mnist", options.images)
    images, labels = torch.from_numpy(found.images), torch.from_numpy(found.labels)
    violations = 0
    print(f"{options.protocol}, the first {len(images)} test images, Linf; shares in percent\n\n{HEAD}")
    print("| --- " * HEAD.count(" | ") + "| --- |")
    for entry in DemoZoo().entries():
        name = entry.model.removeprefix("demo:")
        for eps in options.eps or [entry.eps] if not options.only or name in options.only else []:
            ends = measure_ends(DemoZoo().load(entry).model, images, labels, eps, options.protocol)
            violations += ends.violations
            print(row(name, eps, ends), flush=True)
    print(f"\n{violations} images are certified and broken")
    return int(violations > 0)


if __name__ == "__main__":
    sys.exit(main())
