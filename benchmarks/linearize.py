"""What W and C cost, side by side with other ways to get there.

    python -m benchmarks.linearize [--repeats 5] [--threads 2]     # some 4 minutes

One line a ratio: the median over repeats, the two sides measured in turn. `implicit_weight` and `class_correlation`
are measured whole, with their copy of the network, their check and their comparison with forward passes.

1. Against one forward and input-gradient pass of the untouched network over K images: reach at most 0.8.
2. Against the work of the paper's observation script: for each of 128 images and each class one backward pass through
   the whole batch of 128. A slice of it is timed and scaled. Reach: 1,000 times faster, with C equal to 1e-4. Its C is
   computed here image by image from the same linearized network, for a few of the images.
3. Peak resident memory of `class_correlation` for 1,000 classes at 224x224, in a process of its own: at most 2.5 GB.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import timm
import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from auditor.linear import class_correlation, implicit_weight, linearize

PAPER_BATCH, SLICE = 128, 2


def cifar_resnet18() -> nn.Module:
    """ResNet-18 as CIFAR papers use it: a 3x3 stem without pooling."""
    network = resnet18(num_classes=10)
    network.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    network.maxpool = nn.Identity()
    return network.eval().requires_grad_(False)


def imagenet_resnet18() -> nn.Module:
    return resnet18().eval().requires_grad_(False)


def efficientnet_lite0() -> nn.Module:
    return timm.create_model("tf_efficientnet_lite0").eval()


MEMORY = {"ResNet-18": imagenet_resnet18, "EfficientNet-Lite0": efficientnet_lite0}


def input_gradient_passes(network: nn.Module, images: int, side: int, classes: int, batch: int = 50) -> None:
    """One forward and input-gradient pass over K images, in batches that fit into memory."""
    for first in range(0, images, batch):
        count = min(batch, images - first)
        pixels = torch.rand(count, 3, side, side).requires_grad_()
        logits = network(pixels)
        cotangent = torch.zeros(count, classes)
        cotangent[range(count), range(first, first + count)] = 1
        torch.autograd.grad(logits, pixels, cotangent)


def seconds(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def against_gradients(name: str, network: nn.Module, classes: int, side: int, repeats: int) -> None:
    pairs = []
    cold = int(repeats > 1)  # the first pair warms up; where one takes minutes, that is nothing
    for number in range(repeats + cold):
        ours = seconds(lambda: implicit_weight(network, (3, side, side)))
        theirs = seconds(lambda: input_gradient_passes(network, classes, side, classes))
        if number >= cold:
            pairs.append((ours, theirs))
    ratios = [ours / theirs for ours, theirs in pairs]
    print(
        f"implicit_weight / forward and input gradient over K images, {name}: "
        f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}, {repeats} repeats; "
        f"{statistics.median(o for o, _ in pairs):.2f} s against {statistics.median(t for _, t in pairs):.2f} s)",
        flush=True,
    )


def against_observation(network: nn.Module, classes: int, side: int, repeats: int) -> None:
    """The paper's script keeps, of each backward pass through the batch, one image's gradient of one logit."""
    linear = linearize(network)
    images = torch.rand(PAPER_BATCH, 3, side, side)

    def sliced() -> None:
        for number in range(SLICE):
            batch = images.clone().requires_grad_()
            torch.autograd.grad(linear(batch)[number, number], batch)

    ratios = []
    for _ in range(repeats):
        whole = seconds(sliced) / SLICE * PAPER_BATCH * classes
        ratios.append(whole / seconds(lambda: class_correlation(network, (3, side, side))))
    seen = torch.stack([_templates(linear, image, classes) for image in images[:3]]).mean(0).double()
    theirs = nn.functional.cosine_similarity(seen[:, None], seen[None], dim=2)
    apart = (theirs - class_correlation(network, (3, side, side))).abs().max().item()
    print(
        f"the paper's observation script / class_correlation, CIFAR ResNet-18, K = {classes}: "
        f"{statistics.median(ratios):.0f} ({min(ratios):.0f} to {max(ratios):.0f}, {repeats} repeats, {SLICE} of "
        f"{PAPER_BATCH * classes} backward passes timed); C differs by {apart:.0e}",
        flush=True,
    )


def _templates(linear: nn.Module, image: Tensor, classes: int) -> Tensor:
    """``(K, D)``: the gradients of all logits at one image."""
    pixels = image[None].clone().requires_grad_()
    logits = linear(pixels)[0]
    rows = [torch.autograd.grad(logits[k], pixels, retain_graph=True)[0].flatten() for k in range(classes)]
    return torch.stack(rows)


def peak_memory() -> int:
    """Bytes that this process has held at most (Linux); getrusage would count its parent's, too."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


def memory(name: str, double: bool) -> None:
    network = MEMORY[name]()
    before = peak_memory()
    network, kind = (network.double(), "float64") if double else (network, "float32")
    taken = seconds(lambda: class_correlation(network, (3, 224, 224)))
    print(
        f"class_correlation, {name}, K = 1,000, 224x224: peak memory {peak_memory() / 1e9:.2f} GB in {kind} "
        f"({taken:.0f} s); {before / 1e9:.2f} GB before",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--memory", choices=MEMORY, help="measure only this one's memory, in this process")
    parser.add_argument("--double", action="store_true", help="memory in float64; some 4 minutes more for both")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.memory:
        memory(options.memory, options.double)
        return
    against_gradients("CIFAR ResNet-18, K = 10, 32x32", cifar_resnet18(), 10, 32, options.repeats)
    against_gradients("ImageNet ResNet-18, K = 1,000, 224x224", imagenet_resnet18(), 1000, 224, 1)
    against_observation(cifar_resnet18(), 10, 32, min(3, options.repeats))
    for name in MEMORY:
        command = [sys.executable, "-m", "benchmarks.linearize", "--memory", name, "--threads", str(options.threads)]
        subprocess.run([*command, *(["--double"] if options.double else [])], check=True)


if __name__ == "__main__":
    main()
