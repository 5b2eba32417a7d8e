"""Models trained against the score: high on probe images, without robustness on data.

``python -m benchmarks.study fool`` trains four small convolutional networks on Fashion-MNIST by cross-entropy plus a
term that raises the score, and measures them with other probe seeds and at test images. ``honest`` is the same without
the term.
"""

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from auditor.attacks import PROTOCOLS, evaluate_robustness
from auditor.boost.losses import step_loss
from auditor.records.boosts import Recipe
from auditor.screening import Screening, screen
from auditor.screening.masking import margins_at, masking_finding
from auditor.screening.probes import CONFIDENT_KINDS, probe_images
from auditor.screening.statistics import median
from benchmarks.study import data as data_sets
from benchmarks.study.networks import FAMILIES

EPS = 0.1
STEPS, BATCH = 750, 128
POOL = 1024
WEIGHT = 1.0
DEEDS = ("honest", "margins on probes", "margins on noise", "margins and gap", "probes in one class")


@dataclass(frozen=True)
class Fooled:
    """A model trained against the score, and what gives it away.

    Attributes:
        deed: what was added to its training.
        clean, robust: accuracies on 500 test images, under the protocol ``quick``.
        screening: with the default seed; ``other``: with another one.
        data_margin: the median first-order margin at correctly classified test images over eps; ``probe_margin``: that
            of the screening.
        flags: of the audit, ``possible_masking`` among them.
    """

    deed: str
    clean: float
    robust: float
    screening: Screening
    other: Screening
    data_margin: float
    probe_margin: float
    flags: tuple[str, ...]


def train_against(deed: str, seed: int = 0) -> nn.Module:
    """The trained network in eval mode."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    data = data_sets.load("fashion_mnist")
    size = (data.channels, data.size, data.size)
    network = FAMILIES["plain"](data.channels, data.size, len(data.superclasses), 1.0)
    kinds = ("uniform",) if deed == "margins on noise" else (*CONFIDENT_KINDS, "uniform")
    probes = torch.cat([probe_images(kind, POOL // len(kinds), size, 77) for kind in kinds])
    recipe = dataclasses.replace(Recipe(), beta=0.3 if deed == "margins and gap" else 0.0)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, STEPS, pct_start=0.3)
    for _ in range(STEPS):
        some = torch.randint(len(data.images), (BATCH,))
        loss = step_loss(network, data.images[some], data.labels[some], recipe, data.superclasses)()
        if deed != "honest":
            loss = loss + WEIGHT * _term(deed, network, probes[torch.randint(len(probes), (64,))])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 2.0)
        optimizer.step()
        schedule.step()
    return network.eval()


def _term(deed: str, network: nn.Module, images: Tensor) -> Tensor:
    """Falls as the margins at probes grow, in units of eps, up to four."""
    if deed == "probes in one class":
        return F.cross_entropy(network(images), torch.zeros(len(images), dtype=torch.int64))
    images = images.requires_grad_()
    two = network(images).topk(2, dim=1).values
    difference = two[:, 0] - two[:, 1]
    (gradient,) = torch.autograd.grad(difference.sum(), images, create_graph=True)
    margin = difference / (EPS * gradient.flatten(1).abs().sum(1) + 1e-3)
    return -margin.clamp(max=4.0).mean()


def measure_fooled(deed: str) -> Fooled:
    """Train, screen and attack one model."""
    data = data_sets.load("fashion_mnist")
    network = train_against(deed)
    size = (data.channels, data.size, data.size)
    one, other = (screen(network, size, data.superclasses, norm="Linf", eps=EPS, seed=seed) for seed in (0, 4321))
    result = evaluate_robustness(
        network, data.test_images, data.test_labels, norm="Linf", eps=EPS, protocol=PROTOCOLS["quick"]
    )
    places = result.correct.cpu().nonzero().flatten()[:64]
    margins = margins_at(network, data.test_images[places], "Linf")
    flags, _ = masking_finding(margins, result.survived.cpu()[places], EPS)
    return Fooled(
        deed=deed,
        clean=result.clean_accuracy,
        robust=result.robust_accuracy,
        screening=one,
        other=other,
        data_margin=median(margins) / EPS,
        probe_margin=one.margin / EPS,
        flags=(*result.flags, *flags),
    )


def fooling_table() -> str:
    """All of them as a table."""
    lines = [
        "| added to training | clean % | robust %, quick | score | score, other seed | margin at probes, ε "
        "| margin at test images, ε | flags |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for deed in DEEDS:
        found = measure_fooled(deed)
        lines.append(
            f"| {found.deed} | {100 * found.clean:.1f} | {100 * found.robust:.1f} | {found.screening.score:.2f} "
            f"| {found.other.score:.2f} | {found.probe_margin:.2f} | {found.data_margin:.2f} "
            f"| {', '.join(found.flags) or '–'} |"
        )
    return "\n".join(lines)
