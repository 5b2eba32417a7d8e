"""Statistics of local maps and of small attacks at random images: the study compares them, the score uses none."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from auditor.attacks.gradient import frozen, input_gradient, margin, pgd
from auditor.attacks.norms import NORMS
from auditor.attacks.targeted import target_margin
from auditor.screening.local import LocalMaps
from auditor.screening.probes import Size, probe_images
from auditor.screening.statistics import spread

RADII = tuple(2.0**power for power in range(-3, 4))
"""Multiples of eps at which probes are attacked."""


def fisher_norms(maps: LocalMaps) -> Tensor:
    """The square root of the Fisher information's largest eigenvalue at each image, of logits scaled to unit spread.

    The Fisher information of the input is ``J^T (diag(p) - p p^T) J``; its non-zero eigenvalues are those of
    ``(diag(p) - p p^T) J J^T``, ``(K, K)``. Logits are divided by their standard deviation over all images and classes
    first: without it the norm would follow the scale of the logits.
    """
    if maps.gram is None:
        return torch.full((len(maps.logits),), torch.nan, dtype=torch.float64)
    logits, scale = spread(maps.logits)
    p = (logits / scale).softmax(1)
    weight = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    product = weight @ (maps.gram / scale**2)
    usable = torch.isfinite(product).all(2).all(1)
    largest = torch.full((len(p),), torch.nan, dtype=torch.float64)
    if usable.any():
        largest[usable] = torch.linalg.eigvals(product[usable]).real.amax(1).clamp_min(0).sqrt().cpu()
    return largest


def boundary_radii(model: nn.Module, images: Tensor, *, norm: str, eps: float, steps: int = 10) -> Tensor:
    """For each image, in eps, the smallest of ``RADII`` at which an attack changes the model's own answer: ``(N,)``.

    Infinity where the largest does not, NaN where the logits are not finite. An upper bound of the true distance.
    """
    found = torch.full((len(images),), torch.inf, dtype=torch.float64)
    with frozen(model):
        with torch.no_grad():
            logits = model(images.clone())
        labels = logits.argmax(1)
        found[~torch.isfinite(logits).all(1).cpu()] = torch.nan
        for factor in RADII:
            left = torch.isinf(found).nonzero().flatten()
            if not len(left):
                break
            radius = factor * eps
            some, own = images[left.to(images.device)], labels[left.to(images.device)]
            moved = pgd(
                model,
                some,
                margin(own),
                norm=NORMS[norm],
                eps=radius,
                steps=steps,
                step_size=2.5 * radius / steps,
                labels=own,
            )  # fmt: skip
            with torch.no_grad():
                changed = model(moved.clone()).argmax(1) != own
            found[left[changed.cpu()]] = factor
    return found


def mean_radius(radii: Tensor) -> float:
    """The mean of log2 of boundary radii in eps; where none was found, twice the largest of ``RADII`` counts."""
    return float(radii.clamp_max(2 * RADII[-1]).log2().nanmean())


def linearity_errors(model: nn.Module, images: Tensor, *, norm: str, eps: float) -> Tensor:
    """``(N,)``: the relative error of the first-order change of the two largest logits' difference over one step."""
    with frozen(model):
        with torch.no_grad():
            before = model(images.clone())
        top = before.topk(2, dim=1).indices

        def gap(logits: Tensor) -> Tensor:
            pair = logits.gather(1, top)
            return pair[:, 1] - pair[:, 0]

        gradient, _ = input_gradient(model, images, gap)
        flat = gradient.flatten(1)
        direction = gradient.sign() if norm == "Linf" else gradient / flat.norm(dim=1).view(-1, 1, 1, 1)
        step = eps * direction
        expected = (flat * step.flatten(1)).sum(1)
        with torch.no_grad():
            actual = gap(model(images + step)) - gap(before)
    return torch.where(expected > 0, (actual - expected).abs() / expected, torch.nan).double()


def reached_targets(
    model: nn.Module, images: Tensor, *, norm: str, eps: float, factors: Sequence[float] = (1, 2, 4), steps: int = 10
) -> dict[float, float]:
    """By multiple of eps, the share of pairs of image and class in which a targeted attack reaches the class."""
    shares: dict[float, float] = {}
    with frozen(model):
        with torch.no_grad():
            classes = model(images[:1].clone()).shape[1]
        targets = torch.arange(classes, device=images.device).repeat(len(images))
        starts = images.repeat_interleave(classes, 0)
        for factor in factors:
            radius = factor * eps
            moved = pgd(
                model, starts, target_margin(targets),
                norm=NORMS[norm], eps=radius, steps=steps, step_size=2.5 * radius / steps,
            )  # fmt: skip
            with torch.no_grad():
                shares[factor] = float((model(moved.clone()).argmax(1) == targets).double().mean())
    return shares


def dreamed_images(model: nn.Module, input_size: Size, classes: int, count: int, seed: int, steps: int = 20) -> Tensor:
    """Smooth probes, each changed until the model sees a class in it, the classes in turn: ``(count, C, H, W)``.

    Steps have a fixed length in pixels, so that the scale of the logits does not matter.
    """
    images = probe_images("smooth", count, input_size, seed + 7919)
    images = images.to(next((p for p in model.parameters() if p.is_floating_point()), images))
    targets = torch.arange(count, device=images.device) % classes
    with frozen(model):
        wish = target_margin(targets)
        for _ in range(steps):
            gradient, _ = input_gradient(model, images, wish)
            length = gradient.flatten(1).norm(dim=1).clamp_min(1e-30).view(-1, 1, 1, 1)
            images = (images + 0.02 * gradient[0].numel() ** 0.5 * gradient / length).clamp(0, 1).detach()
    return images


def quantiles(values: Tensor, count: int = 11) -> list[float]:
    """Evenly spaced quantiles from minimum to maximum of what is not NaN; infinity allowed; empty where nothing is."""
    known = np.sort(values[~torch.isnan(values)].double().cpu().numpy())
    if not len(known):
        return []
    places = np.round(np.linspace(0, len(known) - 1, count)).astype(int)
    return [float(value) for value in known[places]]
