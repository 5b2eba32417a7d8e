"""Domain adaptation to unseen subclasses: the authors' set-up and this project's, on the same source networks."""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from auditor.adapt.baseline import nearest_mean
from auditor.adapt.heads import superclass_head
from auditor.adapt.splits import Part
from auditor.adapt.tuning import tune
from auditor.attacks import evaluate_robustness
from auditor.records import METHOD_VERSION
from auditor.records.adaptations import Tuning
from auditor.reproduce.bench import Bench
from auditor.reproduce.data import Labelled
from auditor.reproduce.records import Cell, Claim, Column, ExperimentResult, Table
from auditor.reproduce.rules import compare_verdicts, over_images
from auditor.reproduce.sources import (
    ORDER,
    RECIPES,
    SourceRecipe,
    members,
    source_network,
    target_tests,
    target_training,
)
from auditor.text.numbers import counted

PAD = 4
AUTHORS_EPOCHS, AUTHORS_BATCH, AUTHORS_BETA = 20, 128, 2.0
Setup = Literal["authors", "authors, head only", "auditor adapt"]


@dataclass(frozen=True)
class Adapted:
    """Verdicts on the target test images: augmented and plain, and under attack; and those of the nearest mean."""

    augmented: NDArray[np.bool_]
    correct: NDArray[np.bool_]
    survived: NDArray[np.bool_]
    nearest_mean: NDArray[np.bool_]


def augment(images: Tensor, seed: int) -> Tensor:
    """Random crops of the images padded by 4 black pixels, and random horizontal flips, as the authors' test images."""
    generator = torch.Generator().manual_seed(seed)
    padded = F.pad(images, (PAD, PAD, PAD, PAD))
    height, width = images.shape[2:]
    offsets = torch.randint(0, 2 * PAD + 1, (len(images), 2), generator=generator).tolist()
    flips = (torch.rand(len(images), generator=generator) < 0.5).tolist()
    crops = [
        image[:, top : top + height, left : left + width] for image, (top, left) in zip(padded, offsets, strict=True)
    ]
    return torch.stack([crop.flip(2) if flip else crop for crop, flip in zip(crops, flips, strict=True)])


def tuning_of(setup: Setup, images: int) -> Tuning:
    """The settings of fine-tuning on so many target images."""
    if setup == "auditor adapt":
        return Tuning()
    steps = AUTHORS_EPOCHS * math.ceil(images / AUTHORS_BATCH)
    layers: Literal["head", "all"] = "all" if setup == "authors" else "head"
    return Tuning(layers=layers, head="fresh", beta=AUTHORS_BETA, steps=steps, batch_size=AUTHORS_BATCH)


def adapted(bench: Bench, setup: Setup, recipe: SourceRecipe, seed: int) -> Adapted:
    """Tune a source network's copy with a head for the superclasses, and measure it on the target test images."""
    source, tests = source_network(bench, recipe, seed), target_tests(bench)
    shots = bench.settings.few if setup == "auditor adapt" else bench.settings.shots
    few = target_training(bench, shots, seed)
    tuning, eps, groups = tuning_of(setup, len(few.labels)), bench.settings.adaptation_eps, members(bench)

    def measure() -> dict[str, object]:
        copy = superclass_head(source.model, groups, tests.images[:8], fresh=tuning.head == "fresh", seed=seed)
        tune(copy, Part(few.images, few.labels, few.numbers), tuning, seed)
        found = evaluate_robustness(
            copy.model, tests.images, tests.labels, norm="Linf", eps=eps, protocol="quick",
            indices=tests.numbers.tolist(),
        )  # fmt: skip
        baseline = nearest_mean(few.images, few.labels, len(groups))
        bench.work.report(
            f"{source.name}, {setup}: clean {found.clean_accuracy:.1%}, robust {found.robust_accuracy:.1%}"
        )
        return {
            "augmented": _right(copy.model, augment(tests.images, seed), tests),
            "correct": found.correct.int().tolist(),
            "survived": found.survived.int().tolist(),
            "nearest_mean": _right(baseline, tests.images, tests),
        }

    inputs = {
        "weights": source.digest,
        "tuning": asdict(tuning),
        "few": few.digest,
        "tests": tests.digest,
        "members": groups,
        "seed": seed,
        "eps": eps,
        "method": METHOD_VERSION,
    }
    found = bench.work.part("adaptation", inputs, measure)
    return Adapted(
        **{name: np.array(found[name], bool) for name in ("augmented", "correct", "survived", "nearest_mean")}
    )


def _right(model: nn.Module, images: Tensor, tests: Labelled) -> list[int]:
    with torch.no_grad():
        logits = torch.cat([model(batch) for batch in torch.split(images, 250)])
    right: list[int] = (logits.argmax(1) == tests.labels).int().tolist()
    return right


def run(bench: Bench) -> ExperimentResult:
    """Compare the three source recipes in both set-ups."""
    claims: list[Claim] = []
    rows: list[tuple[Cell, ...]] = []
    for setup in ("authors", "auditor adapt"):
        found = {recipe.name: [adapted(bench, setup, recipe, seed) for seed in bench.seeds] for recipe in RECIPES}
        claims += _claims(setup, found)
        rows += [(setup, name, *_cells(each)) for name, each in found.items()]
    columns = (
        Column("set-up"),
        Column("source network"),
        Column("augmented test images", "percent"),
        Column("test images", "percent"),
        Column("augmented minus plain", "points"),
        Column("95 %", "points interval"),
        Column("robust", "percent"),
        Column("nearest mean on pixels", "percent"),
    )
    settings, assignment = bench.settings, bench.data.assignment
    return ExperimentResult(
        experiment="adaptation",
        dataset=assignment.dataset,
        claims=tuple(claims),
        tables=(Table(title="Superclass accuracy on target classes", columns=columns, rows=tuple(rows)),),
        notes=(
            "Superclasses: "
            + "; ".join(
                f"{group.name}, source {', '.join(group.sources)}, target {', '.join(group.targets)}"
                for group in assignment.superclasses
            ),
            f"Authors: fresh head, all layers, beta {AUTHORS_BETA:g}, {counted(AUTHORS_EPOCHS, 'epoch')}, "
            f"{settings.shots} target images of each class, augmented test images. Otherwise than there, batch norm "
            "keeps its statistics, the "
            f"learning rate is {Tuning().lr:g} instead of 0.1, the last step is measured instead of the epoch that is "
            "best on test images, and neither the source nor the target training images are augmented, so that shifted "
            "and mirrored test images are new to the networks.",
            f"auditor adapt: head from the source templates, only the head tuned, beta {Tuning().beta:g}, target "
            f"images of each class: {settings.few}.",
        ),
    )


def _claims(setup: str, found: dict[str, list[Adapted]]) -> Iterable[Claim]:
    """The authors measure clean accuracy on augmented test images; here attacked images count, too."""
    kinds = ("augmented",) if setup == "authors" else ("correct", "survived")
    for kind in kinds:
        for better, worse in ORDER:
            sides = ([getattr(one, kind) for one in found[recipe.name]] for recipe in (better, worse))
            under = " under attack" if kind == "survived" else ""
            text = f"{setup}: a {better.name} source adapts better than a {worse.name} source{under}"
            yield compare_verdicts(text, *sides)


def _cells(each: list[Adapted]) -> tuple[Cell, ...]:
    change = over_images([one.augmented for one in each], [one.correct for one in each])
    return (
        float(np.mean([one.augmented.mean() for one in each])),
        float(np.mean([one.correct.mean() for one in each])),
        change.value,
        (change.low, change.high),
        float(np.mean([one.survived.mean() for one in each])),
        float(np.mean([one.nearest_mean.mean() for one in each])),
    )
