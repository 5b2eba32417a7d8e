"""How near the attacks' passes are to what a core can do: multiply-adds of a network against those of a matrix product.

    OMP_NUM_THREADS=1 python -m benchmarks.limit [--images 64] [--repeats 9]

The demo's residual network and the copy of it that attacks run, each in a forward pass and in a forward pass with the
gradient at the input; beside them the product of two matrices of side 1,024, all in float32 and in turns. Operations
are counted by torch's FlopCounterMode. What an attack takes beyond its passes is not in here.
"""

import statistics
import time
from collections.abc import Callable, Iterator

import torch
from torch.utils.flop_counter import FlopCounterMode

from auditor.attacks.attack_copy import make_attack_copy
from auditor.attacks.gradient import cross_entropy, input_gradient
from benchmarks.autoattack import ROBUST, load, test_images
from benchmarks.side_by_side import print_lines

SIDE, TIMES = 1024, 20


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds of one call, over a few."""
    began = time.process_time()
    for _ in range(TIMES):
        work()
    return (time.process_time() - began) / TIMES


def operations(work: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def lines(images: int = 64, repeats: int = 9) -> Iterator[str]:
    model = load(ROBUST)
    pixels, labels = test_images(images)
    with torch.no_grad():
        copy = make_attack_copy(model, pixels, labels, model(pixels))

    def forward(network: torch.nn.Module) -> torch.Tensor:
        with torch.no_grad():
            logits: torch.Tensor = network(pixels)
        return logits

    matrix = torch.rand(SIDE, SIDE)
    passes: dict[str, Callable[[], object]] = {"matrix product": lambda: matrix @ matrix}
    for name, network in (("model", model), ("attacked copy", copy)):
        passes[f"{name}, forward"] = lambda network=network: forward(network)
        passes[f"{name}, with gradient"] = lambda network=network: input_gradient(
            network, pixels, cross_entropy(labels)
        )
    work = {name: operations(each) for name, each in passes.items()}
    times = [{name: seconds(each) for name, each in passes.items()} for _ in range(repeats + 1)][1:]
    rates = {name: statistics.median(work[name] / once[name] for once in times) for name in passes}
    for name, rate in rates.items():
        share = statistics.median(
            (work[name] / once[name]) / (work["matrix product"] / once["matrix product"]) for once in times
        )
        milliseconds = 1000 * statistics.median(once[name] for once in times)
        yield f"{name}: {rate / 1e9:.0f} GFLOP/s, {share:.2f} of a matrix product's rate ({milliseconds:.2f} ms)"


if __name__ == "__main__":
    print_lines(__doc__, lines, images=64, repeats=9)
