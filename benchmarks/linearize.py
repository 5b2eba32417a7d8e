"""What W costs, against one forward and input-gradient pass of the untouched network over K images.

    python benchmarks/linearize.py [--repeats 7] [--threads 2]

One line a ratio: the median over repeats, the two measured in turn. Reach: at most 1. `implicit_weight` is measured
whole, with its copy of the network, its check and its comparison with forward passes. The time in seconds is of this
machine and says nothing elsewhere.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn
from torchvision.models import resnet18

from auditor.linear import implicit_weight


def cifar_resnet18() -> nn.Module:
    """ResNet-18 as CIFAR papers use it: a 3x3 stem without pooling."""
    network = resnet18(num_classes=10)
    network.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    network.maxpool = nn.Identity()
    return network


def input_gradient_pass(network: nn.Module, images: torch.Tensor, classes: int) -> None:
    images = images.clone().requires_grad_()
    logits = network(images)
    torch.autograd.grad(logits, images, torch.eye(classes))


def seconds(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cases = (
        ("CIFAR ResNet-18, K = 10, 32x32", cifar_resnet18(), 10, 32),
        ("ImageNet ResNet-18, one chunk of 32 classes, 224x224", resnet18(num_classes=32), 32, 224),
    )
    for name, network, classes, side in cases:
        network.eval().requires_grad_(False)
        images = torch.rand(classes, 3, side, side)
        pairs = []
        for number in range(options.repeats + 1):
            ours = seconds(lambda network=network, side=side: implicit_weight(network, (3, side, side)))
            theirs = seconds(lambda network=network, x=images, k=classes: input_gradient_pass(network, x, k))
            if number:  # the first pair warms up
                pairs.append((ours, theirs))
        ratios = [ours / theirs for ours, theirs in pairs]
        print(
            f"implicit_weight / forward and input gradient over K images, {name}: "
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}, {options.repeats} repeats; "
            f"{statistics.median(o for o, _ in pairs):.2f} s against {statistics.median(t for _, t in pairs):.2f} s)"
        )


if __name__ == "__main__":
    main()
