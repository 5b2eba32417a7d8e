"""What the study zoo holds: families by trainings, on two data sets, in the order in which they are trained.

Any prefix of :data:`MODELS` is spread over families and data sets. All of it was fixed before there was a result.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

from auditor.records.boosts import Recipe

DATA_SETS = ("fashion_mnist", "glyphs")
EPS = {"fashion_mnist": {"Linf": 0.1, "L2": 1.5}, "glyphs": {"Linf": 0.03, "L2": 0.6}}
FAMILIES = (
    "perceptron", "plain", "lenet", "resnet_bn", "resnet_gn", "vgg", "vit", "convnext", "densenet", "mixer", "mobile",
)  # fmt: skip
FINAL_FAMILIES = ("mixer", "mobile")
"""Held out to the end: no feature, constant or threshold is chosen on them."""
FINAL_SEEDS = 1000
"""Seeds from here on are held out in the same way."""
ADAPTIVE = ("perceptron", "plain", "lenet", "resnet_gn", "vit", "convnext", "mixer")
"""Families trained with AdamW; the others have batch norm and are trained with SGD."""


@dataclass(frozen=True)
class StudyModel:
    """One model of the study zoo: everything that decides its weights."""

    data: str
    family: str
    training: str
    recipe: Recipe
    width: float = 1.0
    jacobian: float = 0.0
    ramp: float = 1 / 3
    """The share of the steps over which an attack's radius grows."""

    @property
    def name(self) -> str:
        return f"{self.data}/{self.family}/{self.training}/{self.recipe.seed}"

    @property
    def final(self) -> bool:
        """Whether it belongs to the final set, which nothing is chosen on."""
        return self.family in FINAL_FAMILIES or self.recipe.seed >= FINAL_SEEDS


def trainings(data: str) -> dict[str, tuple[Recipe, float]]:
    """The trainings by name: a recipe, and the weight of the Jacobian penalty."""
    linf, l2 = EPS[data]["Linf"], EPS[data]["L2"]
    standard = Recipe(epochs=4)
    full = _at(linf)
    return {
        "standard": (standard, 0.0),
        "at": (full, 0.0),
        "at-half": (_at(linf / 2), 0.0),
        "trades": (dataclasses.replace(full, method="trades"), 0.0),
        "noise": (dataclasses.replace(standard, noise=2 * linf), 0.0),
        "augmented": (dataclasses.replace(standard, augment=True), 0.0),
        "l2-at": (_at(l2, "L2"), 0.0),
        "at-cluster": (dataclasses.replace(full, beta=0.3), 0.0),
        "cluster": (dataclasses.replace(standard, beta=0.3), 0.0),
        "at-quarter": (_at(linf / 4), 0.0),
        "jacobian": (standard, 0.3),
        "fgsm": (dataclasses.replace(full, steps=1, step_size=1.25 * linf), 0.0),
        "smoothing": (dataclasses.replace(standard, label_smoothing=0.2), 0.0),
    }


def _at(eps: float, norm: str = "Linf") -> Recipe:
    """PGD-2 from a random start, whose radius grows over the first third."""
    return Recipe(method="at", norm=norm, eps=eps, steps=2, step_size=0.75 * eps, epochs=3)


def _make(data: str, family: str, training: str, seed: int, width: float) -> StudyModel:
    recipe, jacobian = trainings(data)[training]
    adaptive = family in ADAPTIVE
    recipe = dataclasses.replace(
        recipe, seed=seed, max_lr=3e-3 if adaptive else 0.1, weight_decay=1e-2 if adaptive else 5e-4
    )
    if data == "glyphs" and adaptive and training in ("at", "at-cluster", "l2-at", "fgsm"):
        # With the short ramp these never left chance: as their clean accuracy shows.
        recipe = dataclasses.replace(recipe, epochs=recipe.epochs + 1)
        return StudyModel(data, family, training, recipe, width, jacobian, ramp=0.75)
    return StudyModel(data, family, training, recipe, width, jacobian)


def _all() -> Iterator[StudyModel]:
    """Seed 0 on both data sets, training by training; then three further seeds, other widths among them."""
    names = tuple(trainings("fashion_mnist"))
    seed = 0
    for group in (names[:4], names[4:8], names[8:]):
        for data in DATA_SETS:
            for training in group:
                for family in FAMILIES:
                    seed += 1
                    yield _make(data, family, training, seed, 1.0)
    for data in DATA_SETS:
        for number, training in enumerate(names):
            for step in range(3):
                seed += 1
                family = FAMILIES[(number * 3 + step) % len(FAMILIES)]
                width = (0.5, 1.5, 2.0)[step]
                held_out = FINAL_SEEDS if step == 2 else 0
                yield _make(data, family, training, seed + held_out, width)


ORDER = (
    "standard", "at", "at-half", "noise", "trades", "at-cluster", "l2-at", "augmented", "cluster", "jacobian", "fgsm",
    "at-quarter", "smoothing",
)  # fmt: skip


SLOW = ("vit", "convnext", "densenet")


def _rank(model: StudyModel) -> tuple[int, int, int]:
    """Standard and adversarial training on both data sets; each other training on one of them, which takes turns.

    The first five trainings before the others, and in them the slow families last. Then the final families, then the
    other data set, then further seeds.
    """
    training, family = ORDER.index(model.training), FAMILIES.index(model.family)
    data = DATA_SETS.index(model.data)
    if model.width != 1:
        stage = 5
    elif training >= 2 and data != (training + family) % 2:
        stage = 4
    elif model.final:
        stage = 3
    else:
        stage = 2 if training >= 5 else int(model.family in SLOW)
    return stage, data + 2 * training if training < 2 else 2 + training, family


MODELS: tuple[StudyModel, ...] = tuple(sorted(_all(), key=_rank))
"""In this order: whoever stops early has every family and both data sets."""
