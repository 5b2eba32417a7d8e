"""A boosting epoch against a plain PyTorch loop of the same attack and loss, without the regularizer.

    OMP_NUM_THREADS=1 python -m benchmarks.epoch [--images 2048] [--repeats 5]     # some 2 minutes

PGD-10 adversarial training of `demo:at-eps0.10`, batches of 128 Fashion-MNIST images. Here it is an epoch of
`auditor.boost.training.Trainer` as `auditor boost` runs it, with `logits` at 0.1 and its moving average of the weights;
there a loop as people write it, with neither. Epochs take turns. What follows an epoch, its validation, is not in it.
"""

import copy
import statistics
import time
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from auditor.boost.training import Trainer
from auditor.records.boosts import Recipe
from benchmarks.autoattack import EPS, load, test_images
from benchmarks.boost import SUPERCLASSES
from benchmarks.side_by_side import print_lines

RECIPE = Recipe(
    method="at", eps=EPS, steps=10, step_size=EPS / 4, epochs=50, max_lr=0.02, ema=0.99, beta=0.1, regularizer="logits"
)
REACH = 1.05


class PlainLoop:
    """Adversarial training as in Madry et al. (2018), with torch's optimizer and schedule."""

    def __init__(self, model: nn.Module, images: Tensor, labels: Tensor) -> None:
        self.model, self.images, self.labels = model, images, labels
        settings = {"lr": RECIPE.max_lr, "momentum": RECIPE.momentum, "weight_decay": RECIPE.weight_decay}
        self.optimizer = torch.optim.SGD(model.parameters(), nesterov=True, **settings)
        steps = len(images) // RECIPE.batch_size
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, max_lr=RECIPE.max_lr, epochs=RECIPE.epochs, steps_per_epoch=steps
        )

    def epoch(self) -> None:
        order = torch.randperm(len(self.images))
        for chosen in order.split(RECIPE.batch_size):
            x, y = self.images[chosen], self.labels[chosen]
            attacked = self.attack(x, y)
            self.model.train()
            loss = F.cross_entropy(self.model(attacked), y)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.schedule.step()

    def attack(self, x: Tensor, y: Tensor) -> Tensor:
        self.model.eval()
        attacked = (x + torch.empty_like(x).uniform_(-EPS, EPS)).clamp(0, 1)
        for _ in range(RECIPE.steps):
            attacked.requires_grad_()
            (gradient,) = torch.autograd.grad(F.cross_entropy(self.model(attacked), y), attacked)
            attacked = attacked.detach() + RECIPE.step_size * gradient.sign()
            attacked = torch.min(torch.max(attacked, x - EPS), x + EPS).clamp(0, 1)
        return attacked


def lines(images: int, repeats: int) -> Iterator[str]:
    start = load("at-eps0.10").requires_grad_(True)
    x, y = test_images(images)
    trainer = Trainer(copy.deepcopy(start), x, y, RECIPE, SUPERCLASSES)
    plain = PlainLoop(copy.deepcopy(start), x, y)
    torch.manual_seed(0)
    seconds: dict[str, list[float]] = {"ours": [], "plain": []}
    for _ in range(repeats + 1):
        for name, side in (("ours", trainer), ("plain", plain)):
            began = time.perf_counter()
            side.epoch()
            seconds[name].append(time.perf_counter() - began)
    ours, theirs = (statistics.median(found[1:]) for found in seconds.values())
    yield (
        f"boosting epoch with PGD-10 and the regularizer, {images} images: {ours / theirs:.3f} of a plain loop's time "
        f"without it ({ours:.2f} s and {theirs:.2f} s), reach at most {REACH}"
    )


if __name__ == "__main__":
    print_lines(__doc__, lines, images=2048, repeats=5)
