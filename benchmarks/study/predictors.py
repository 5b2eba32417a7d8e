"""Everything that the study measures on a model beside attacks, each with what it needs and what it costs.

``measures`` are single numbers; ``quantiles`` keep the eleven deciles of what is a number an image, so that other
summaries can be tried without the model.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from auditor.attacks.gradient import cross_entropy, frozen, input_gradient
from auditor.attacks.norms import NORMS
from auditor.clustering import (
    centred,
    clustering_scores,
    correlation,
    distance_scores,
    effective_rank,
    feature_distance,
)
from auditor.errors import LinearizationError, first_line
from auditor.linear import implicit_weight
from auditor.screening.local import dual_norm, local_maps
from auditor.screening.probes import confident_images, probe_images
from auditor.screening.statistics import local_gap, median, spread
from benchmarks.study.data import DataSet
from benchmarks.study.statistics import (
    boundary_radii,
    dreamed_images,
    fisher_norms,
    linearity_errors,
    mean_radius,
    quantiles,
    reached_targets,
)

PROBES = 64
KINDS = ("uniform", "smooth", "leaves", "shapes", "blobs", "dream", "confident")
IMAGES = 200
"""Test images that the measures with data see: not more, they are compared for what they tell and not for noise."""


class Row:
    """Collects measures, quantiles and notes of one model under one norm."""

    def __init__(self) -> None:
        self.measures: dict[str, float] = {}
        self.quantiles: dict[str, list[float]] = {}
        self.notes: dict[str, str] = {}

    def vector(self, name: str, values: Tensor) -> None:
        self.measures[name] = median(values)
        self.quantiles[name] = quantiles(values)


def measure(network: nn.Module, data: DataSet, *, norm: str, eps: float, seed: int = 0) -> Row:
    """All measures of a network in eval mode."""
    row = Row()
    size = (data.channels, data.size, data.size)
    with frozen(network):
        for kind in KINDS:
            if kind == "dream":
                images = dreamed_images(network, size, len(data.superclasses), PROBES, seed)
            elif kind == "confident":
                images, _ = confident_images(network, size, PROBES, seed)
            else:
                images = probe_images(kind, PROBES, size, seed)
            _local(row, kind, network, images, data, norm, eps)
        starts = torch.cat([torch.full((1, *size), 0.5), probe_images("smooth", 7, size, seed)])
        for factor, share in reached_targets(network, starts, norm=norm, eps=eps).items():
            row.measures[f"reached/{factor:g}"] = share
        _weights(row, network, data, size)
        _with_data(row, network, data, norm, eps)
    return row


def _local(row: Row, kind: str, network: nn.Module, images: Tensor, data: DataSet, norm: str, eps: float) -> None:
    """What the local linear maps at some images say, and small attacks on the model's own answers there."""
    maps = local_maps(network, images, norm)
    centred_logits, scale = spread(maps.logits)
    row.vector(f"margin/{kind}", maps.all_class)
    row.vector(f"margin_two/{kind}", maps.two_class)
    row.vector(f"slope/{kind}", maps.slopes / scale)
    if kind != "data":  # there it would be robust accuracy itself
        radii = boundary_radii(network, images, norm=norm, eps=eps)
        row.measures[f"radius/{kind}"] = mean_radius(radii)
        row.quantiles[f"radius/{kind}"] = quantiles(radii)
    row.vector(f"linearity/{kind}", linearity_errors(network, images, norm=norm, eps=eps))
    row.vector(f"fisher/{kind}", fisher_norms(maps))
    row.measures[f"local_gap/{kind}"] = local_gap(maps.gram, data.superclasses)
    row.measures[f"local_gap_raw/{kind}"] = local_gap(maps.raw_gram, data.superclasses)
    two = centred_logits.topk(2, dim=1).values
    row.vector(f"logit_margin/{kind}", (two[:, 0] - two[:, 1]) / scale)
    shares = torch.bincount(maps.logits.argmax(1), minlength=maps.logits.shape[1]).double() / len(images)
    row.measures[f"answers/{kind}"] = float(torch.exp(torch.special.entr(shares).sum()))
    if maps.gram is not None:
        eigenvalues = torch.linalg.eigvalsh(maps.gram).clamp_min(0)
        row.vector(f"local_rank/{kind}", eigenvalues.sum(1) ** 2 / eigenvalues.square().sum(1).clamp_min(1e-300))


def _weights(row: Row, network: nn.Module, data: DataSet, size: tuple[int, int, int]) -> None:
    """From weights alone: the linearized network in both treatments of batch norm, and the layers themselves."""
    for variant in ("remove", "fold"):
        try:
            weight = implicit_weight(network, size, batch_norm=variant).double()  # type: ignore[arg-type]
        except LinearizationError as error:
            row.notes[f"gap/{variant}"] = first_line(error)
            continue
        flat = weight.flatten(1)
        gram = (flat @ flat.T).numpy()
        scores = clustering_scores(correlation(gram), data.superclasses, permutations=1)
        row.measures[f"gap/{variant}"] = scores.gap
        row.measures[f"silhouette/{variant}"] = scores.silhouette
        row.measures[f"effective_rank/{variant}"] = effective_rank(correlation(gram))
        row.measures[f"gap_centred/{variant}"] = clustering_scores(
            correlation(centred(gram)), data.superclasses, permutations=1
        ).gap
        row.measures[f"smoothness/{variant}"] = _smoothness(weight - weight.mean(0))
    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    rows = [module.weight.detach().double().flatten(1) for module in layers]
    row.measures["layer_correlation"] = float(np.mean([_row_correlation(matrix) for matrix in rows[:-1]]))
    row.measures["filter_rank"] = float(np.mean([_relative_rank(matrix) for matrix in rows]))
    row.measures["filter_sparsity"] = float(
        np.mean([float((m.abs() < 0.1 * m.abs().amax()).double().mean()) for m in rows])
    )
    first = layers[0].weight.detach().double()
    if first.ndim == 4 and first.shape[-1] > 1:
        row.measures["filter_smoothness"] = _smoothness(first)
    # The product of the layers' spectral norms bounds the Lipschitz constant where nothing normalizes.
    row.measures["log_spectral"] = float(sum(math.log(float(torch.linalg.matrix_norm(m, 2)) + 1e-30) for m in rows))


def _smoothness(images: Tensor) -> float:
    """1 minus half the squared differences of neighbours over the squares: 0 for white noise, 1 for flat images."""
    images = images - images.mean((-2, -1), keepdim=True)
    power = float(images.square().mean())
    if power == 0:
        return math.nan
    rough = (images.diff(dim=-1).square().mean() + images.diff(dim=-2).square().mean()) / 2
    return 1 - float(rough) / (2 * power)


def _row_correlation(matrix: Tensor) -> float:
    """Mean absolute cosine of two different rows: the paper's picture of each layer as one number."""
    unit = F.normalize(matrix, dim=1)
    cosines = (unit @ unit.T).abs()
    n = len(matrix)
    return float((cosines.sum() - cosines.diagonal().sum()) / (n * (n - 1)))


def _relative_rank(matrix: Tensor) -> float:
    """Entropy of the normalized singular values over its maximum (Gavrikov and Keuper, 2022)."""
    values = torch.linalg.svdvals(matrix).square()
    shares = values / values.sum()
    return float(torch.special.entr(shares).sum() / math.log(len(shares)))


def _with_data(row: Row, network: nn.Module, data: DataSet, norm: str, eps: float) -> None:
    """The same local maps on test images, and the peers' measures that need data."""
    images, labels = data.test_images[:IMAGES], data.test_labels[:IMAGES]
    _local(row, "data", network, images, data, norm, eps)
    gradient, logits = input_gradient(network, images, cross_entropy(labels))
    correct = logits.argmax(1) == labels
    row.vector("loss_gradient", dual_norm(gradient.flatten(1), norm))
    for factor in (0.5, 1, 2):
        moved = (images + factor * eps * NORMS[norm].normalize(gradient)).clamp(0, 1)
        with torch.no_grad():
            kept = (network(moved).argmax(1) == labels) & correct
        row.measures[f"fgsm_kept/{factor:g}"] = float(kept.double().sum() / max(1, int(correct.sum())))
    scaled, scale = spread(logits)
    true = F.one_hot(labels, logits.shape[1]).bool()
    margins = scaled[true] - scaled.masked_fill(true, -torch.inf).amax(1)
    row.vector("true_logit_margin", margins / scale)
    # Consistency: how little the margin varies over images (Ngnawé et al., 2024, correlate it with features' margin).
    row.measures["margin_spread"] = float((margins / scale).std())
    p = logits.double().softmax(1)
    ahead = (p[true] - p.masked_fill(true, -torch.inf).amax(1)).clamp_min(0)
    row.measures["great"] = math.sqrt(math.pi / 2) * float(ahead.mean())
    row.measures["confidence"] = float(p.amax(1).mean())
    means = feature_distance(scaled.numpy(), labels.numpy(), logits.shape[1])
    row.measures["feature_gap"] = distance_scores(means, data.superclasses, permutations=1).gap
    row.measures["separation"] = _separation(scaled, labels)
    row.vector("clever", _clever(network, images[:40], norm, eps))


def _separation(features: Tensor, labels: Tensor) -> float:
    """(inter - intra) / intra of mean distances to class means: RDI's idea (Song et al., 2025) on the logits."""
    classes = labels.unique()
    means = torch.stack([features[labels == k].mean(0) for k in classes])
    intra = torch.stack([(features[labels == k] - means[i]).norm(dim=1).mean() for i, k in enumerate(classes)]).mean()
    inter = torch.cdist(means, means).sum() / (len(classes) * (len(classes) - 1))
    return float((inter - intra) / inter)


def _clever(network: nn.Module, images: Tensor, norm: str, eps: float, samples: int = 16) -> Tensor:
    """Margin over the largest slope met in a ball of 2 eps, ``(N,)`` (CLEVER's bound, its maximum taken as it is)."""
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        logits = network(images)
    top = logits.topk(2, dim=1).indices

    def gap(z: Tensor) -> Tensor:
        pair = z.gather(1, top)
        return pair[:, 0] - pair[:, 1]

    largest = torch.zeros(len(images), dtype=torch.float64)
    for _ in range(samples):
        noise = torch.rand(images.shape, generator=random) * 2 - 1
        if norm == "L2":
            noise = noise / noise.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        gradient, _ = input_gradient(network, (images + 2 * eps * noise).clamp(0, 1), gap)
        largest = torch.maximum(largest, dual_norm(gradient.flatten(1), norm))
    return torch.where(largest > 0, gap(logits).double() / largest, torch.nan)


def describe(row: Row) -> dict[str, Any]:
    return {"measures": row.measures, "quantiles": row.quantiles, "notes": row.notes}
