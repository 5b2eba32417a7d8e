"""PGD-20 on 1,000 images against foolbox and torchattacks.

    OMP_NUM_THREADS=1 python -m benchmarks.pgd [--images 1000] [--repeats 3]     # some 2 minutes

Cross-entropy, Linf 0.1, 20 steps of eps/4 from one random start, on demo models and Fashion-MNIST test images in
batches of 256, the three in turn. Here it is the whole of `evaluate_robustness` with a protocol of this attack, with
its checks, clean accuracy and flags; there the attack, and one pass for clean and one for robust accuracy. Needs
torchattacks in the environment's folder `bench`, where `make bench` puts it.
"""

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import foolbox
import torch
from torch import Tensor, nn

from auditor.attacks import PROTOCOLS, Protocol, evaluate_robustness
from benchmarks.autoattack import EPS, load, test_images
from benchmarks.side_by_side import print_lines

BATCH, STEPS, REACH = 256, 20, 0.8
PGD = Protocol("pgd", None, tuple(a for a in PROTOCOLS["quick"].attacks if a.name == "pgd-20"), "PGD-20 alone")
Robust = Callable[[nn.Module, Tensor, Tensor], float]


def ours(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    found = evaluate_robustness(model, images, labels, norm="Linf", eps=EPS, protocol=PGD, batch_size=BATCH)
    return found.robust_accuracy


def of_foolbox(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    attack = foolbox.attacks.LinfPGD(steps=STEPS, rel_stepsize=0.25, random_start=True)
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    return _in_batches(model, images, labels, lambda x, y: attack(wrapped, x, y, epsilons=EPS)[1])


def of_torchattacks(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    sys.path.append(str(Path(sys.prefix) / "bench"))  # last: it brings a `robustbench` that is not RobustBench's
    import torchattacks

    attack = torchattacks.PGD(model, eps=EPS, alpha=EPS / 4, steps=STEPS, random_start=True)
    return _in_batches(model, images, labels, attack)


def _in_batches(model: nn.Module, images: Tensor, labels: Tensor, attack: Callable[[Tensor, Tensor], Tensor]) -> float:
    robust = 0
    for x, y in zip(images.split(BATCH), labels.split(BATCH), strict=True):
        with torch.no_grad():
            clean = model(x).argmax(1) == y
        adversarials = attack(x, y)
        with torch.no_grad():
            robust += int((clean & (model(adversarials).argmax(1) == y)).sum())
    return robust / len(images)


def lines(images: int, repeats: int) -> Iterator[str]:
    sides: dict[str, Robust] = {"auditor": ours, "foolbox": of_foolbox, "torchattacks": of_torchattacks}
    for name in ("at-eps0.10", "standard"):
        model, (x, y) = load(name), test_images(images)
        for side in sides.values():
            side(model, x[:BATCH], y[:BATCH])
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        robust = dict.fromkeys(sides, 0.0)
        for _ in range(repeats):
            for kind, side in sides.items():
                began = time.perf_counter()
                robust[kind] = side(model, x, y)
                seconds[kind].append(time.perf_counter() - began)
        took = {kind: statistics.median(found) for kind, found in seconds.items()}
        ratios = [f"{took['auditor'] / took[kind]:.2f} of {kind}'s time" for kind in sides if kind != "auditor"]
        accuracies = ", ".join(f"{kind} {accuracy:.1%}" for kind, accuracy in robust.items())
        yield (
            f"PGD-20 on demo:{name}, {images} images: {' and '.join(ratios)}, reach at most {REACH} of the faster one"
            f" (robust: {accuracies})"
        )


if __name__ == "__main__":
    print_lines(__doc__, lines, images=1000, repeats=3)
