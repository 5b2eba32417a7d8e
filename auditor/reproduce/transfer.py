"""Transferred attacks and the black-box attack Square against networks with and without the regularizer."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from auditor.attacks import Protocol
from auditor.attacks.gradient import cross_entropy, frozen, pgd
from auditor.attacks.norms import LINF
from auditor.attacks.protocols import Attack
from auditor.records import METHOD_VERSION
from auditor.reproduce.bench import Bench, Network, recipe_name
from auditor.reproduce.data import Labelled
from auditor.reproduce.records import Cell, Claim, Column, ExperimentResult, Table
from auditor.reproduce.rules import compare_verdicts

STEPS = 20
SURROGATES = ("standard", "at")
Flags = NDArray[np.bool_]


def run(bench: Bench) -> ExperimentResult:
    """Attack each target by images made on surrogates of another family, and by Square."""
    surrogate = (*bench.settings.families[1:], bench.family)[0]
    attacks = [f"from {surrogate} {recipe_name(method, 0)}" for method in SURROGATES] + ["Square"]
    found: dict[tuple[str, float], list[dict[str, Flags]]] = {}
    for method in ("at", "trades"):
        for beta in (0.0, bench.settings.beta):
            each = []
            for seed in bench.seeds:
                target = bench.network(method, seed, beta=beta)
                # A seed that no target has, so that a surrogate of the same family is another network.
                networks = [bench.network(kind, bench.settings.seeds, family=surrogate) for kind in SURROGATES]
                flags = [survives_transfer(bench, network, target, bench.data.test) for network in networks]
                flags.append(bench.verdicts(target, bench.data.test, protocol=square(bench.settings.queries)).survived)
                each.append(dict(zip(attacks, flags, strict=True)))
            found[method, beta] = each
    rows: list[tuple[Cell, ...]] = [
        (recipe_name(method, beta), *(float(np.mean([one[name] for one in each])) for name in attacks))
        for (method, beta), each in found.items()
    ]
    columns = (Column("training"), *(Column(name, "percent") for name in attacks))
    return ExperimentResult(
        experiment="transfer",
        dataset=bench.settings.dataset,
        claims=tuple(_claims(bench, attacks, found)),
        tables=(Table(title="Images still classified correctly", columns=columns, rows=tuple(rows)),),
        notes=(
            f"Targets: {bench.family}, last epoch, beta {bench.settings.beta:g}. Transferred: PGD-{STEPS} of steps "
            f"eps / 4 on the surrogate. Square: {bench.settings.queries} queries.",
        ),
    )


def square(queries: int) -> Protocol:
    """Square alone, with so many queries."""
    attack = Attack("square", "autoattack", {"queries": queries, "restarts": 1})
    return Protocol("square", None, (attack,), "Square")


def survives_transfer(bench: Bench, surrogate: Network, target: Network, images: Labelled) -> Flags:
    """``(N,)``: the target is right on the clean image and on the one that PGD made on the surrogate."""
    eps = bench.settings.eps

    def measure() -> dict[str, list[int]]:
        bench.work.report(f"{target.name}: attacked from {surrogate.name}")
        points = attack_images(surrogate, images, eps)
        with torch.no_grad():
            right = [target.model(x).argmax(1) == images.labels for x in (images.images, points)]
        return {"survived": (right[0] & right[1]).int().tolist()}

    inputs = {
        "surrogate": surrogate.digest, "target": target.digest, "images": images.digest, "eps": eps, "steps": STEPS,
        "method": METHOD_VERSION,
    }  # fmt: skip
    return np.array(bench.work.part("transfer", inputs, measure)["survived"], bool)


def attack_images(surrogate: Network, images: Labelled, eps: float) -> torch.Tensor:
    """PGD on the surrogate to the last step, because images that fool it early transfer worse."""
    with frozen(surrogate.model):
        start = LINF.random_start(images.numbers, images.images, eps, seed=0, name="transfer")
        parts = [
            pgd(
                surrogate.model, x, cross_entropy(y), norm=LINF, eps=eps, steps=STEPS, step_size=eps / 4, start=noise
            )
            for x, y, noise in zip(
                *(torch.split(part, 250) for part in (images.images, images.labels, start)), strict=True
            )
        ]  # fmt: skip
    return torch.cat(parts)


def _claims(
    bench: Bench, attacks: Sequence[str], found: dict[tuple[str, float], list[dict[str, Flags]]]
) -> list[Claim]:
    claims = []
    for method in ("at", "trades"):
        for name in attacks:
            with_it = [one[name] for one in found[method, bench.settings.beta]]
            without = [one[name] for one in found[method, 0.0]]
            what = "Square" if name == "Square" else f"attacks transferred {name}"
            text = f"The regularizer helps {recipe_name(method, 0)} against {what}"
            claims.append(compare_verdicts(text, with_it, without))
    return claims
