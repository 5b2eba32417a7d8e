"""Trains one model of the study zoo from its recipe and seed, on one thread: the same machine gives the same bytes."""

import dataclasses
import time
from collections.abc import Hashable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from auditor.boost.losses import step_loss
from benchmarks.study.data import DataSet
from benchmarks.study.networks import FAMILIES
from benchmarks.study.recipes import ADAPTIVE, StudyModel


def build(model: StudyModel, data: DataSet) -> nn.Module:
    classes = len(data.superclasses)
    return FAMILIES[model.family](data.channels, data.size, classes, model.width).to(memory_format=torch.channels_last)


def train(model: StudyModel, data: DataSet, order_seed: int | None = None) -> tuple[nn.Module, float]:
    """The trained network in eval mode, and the seconds it took.

    ``order_seed``: for the order of the data and all else that is random after the initial weights; None uses the
    recipe's seed.
    """
    torch.set_num_threads(1)
    torch.manual_seed(model.recipe.seed)
    started, recipe = time.perf_counter(), model.recipe
    network = build(model, data)
    if order_seed is not None:
        torch.manual_seed(order_seed)
    optimizer: torch.optim.Optimizer
    if model.family in ADAPTIVE:
        optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.max_lr, weight_decay=recipe.weight_decay)
    else:
        optimizer = torch.optim.SGD(
            network.parameters(), lr=recipe.max_lr, momentum=0.9, nesterov=True, weight_decay=recipe.weight_decay
        )
    steps = recipe.epochs * (len(data.images) // recipe.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.max_lr, steps, pct_start=0.3)
    done = 0
    for _ in range(recipe.epochs):
        order = torch.randperm(len(data.images))[: steps // recipe.epochs * recipe.batch_size]
        for chosen in torch.split(order, recipe.batch_size):
            x, y = data.images[chosen], data.labels[chosen]
            loss = _loss(model, network, x, y, data.superclasses, min(1.0, (done + 1) / (steps * model.ramp)))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), 2.0)
            optimizer.step()
            schedule.step()
            done += 1
    return network.eval(), time.perf_counter() - started


def _loss(
    model: StudyModel, network: nn.Module, x: Tensor, y: Tensor, superclasses: Sequence[Hashable], ramp: float
) -> Tensor:
    recipe = model.recipe
    if recipe.method != "standard":
        recipe = dataclasses.replace(recipe, eps=recipe.eps * ramp, step_size=recipe.step_size * ramp)
    if recipe.augment:
        x = augment(x)
    if recipe.noise:
        x = (x + recipe.noise * torch.randn_like(x)).clamp(0, 1)
    if not model.jacobian:
        return step_loss(network, x, y, recipe, superclasses)()
    network.train()
    x = x.requires_grad_()
    logits = network(x)
    direction = torch.randn_like(logits)
    direction = direction / direction.norm(dim=1, keepdim=True)
    (gradient,) = torch.autograd.grad((logits * direction).sum(), x, create_graph=True)
    # An unbiased estimate of the squared Frobenius norm of the Jacobian, a logit (Hoffman et al., 2019).
    return F.cross_entropy(logits, y) + model.jacobian * gradient.flatten(1).square().sum(1).mean()


def augment(x: Tensor) -> Tensor:
    """Random affine maps, contrast and erasing, image by image, without flips: glyphs have a left and a right."""
    n, _, height, width = x.shape
    turn, scale = 0.3 * (torch.rand(n) - 0.5), 1 + 0.3 * (torch.rand(n) - 0.5)
    maps = torch.stack(
        [
            torch.stack([turn.cos() * scale, -turn.sin() * scale, 0.3 * (torch.rand(n) - 0.5)], 1),
            torch.stack([turn.sin() * scale, turn.cos() * scale, 0.3 * (torch.rand(n) - 0.5)], 1),
        ],
        1,
    )
    x = F.grid_sample(x, F.affine_grid(maps, list(x.shape), align_corners=False), align_corners=False)
    x = (x * (0.7 + 0.6 * torch.rand(n, 1, 1, 1))).clamp(0, 1)
    rows, columns = torch.arange(height).view(1, -1, 1), torch.arange(width).view(1, 1, -1)
    top, left = torch.randint(height, (n, 1, 1)), torch.randint(width, (n, 1, 1))
    erased = (rows >= top) & (rows < top + height // 4) & (columns >= left) & (columns < left + width // 4)
    return x.masked_fill(erased[:, None], 0.5)
