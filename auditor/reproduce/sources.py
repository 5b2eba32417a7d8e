"""Source networks of domain adaptation: trained on source subclasses, by three recipes, as the paper compares them."""

from dataclasses import dataclass

from auditor.adapt.splits import few_targets, held_out_targets
from auditor.reproduce.bench import Bench, Network
from auditor.reproduce.data import Labelled
from auditor.reproduce.training import Plan, train


@dataclass(frozen=True)
class SourceRecipe:
    """A source recipe: its name, the method of training, and whether the regularizer is on."""

    name: str
    method: str
    clustered: bool


STANDARD, ROBUST, CLUSTERED = (
    SourceRecipe("standard", "standard", False),
    SourceRecipe("robust", "at", False),
    SourceRecipe("robust + clustered", "at", True),
)
RECIPES = (STANDARD, ROBUST, CLUSTERED)
ORDER = ((ROBUST, STANDARD), (CLUSTERED, ROBUST))
"""The paper's finding as pairs: the first is better than the second."""


def source_network(bench: Bench, recipe: SourceRecipe, seed: int) -> Network:
    """The network of this recipe and seed, with a logit for each source class."""
    beta = bench.settings.beta if recipe.clustered else 0.0
    training = bench.recipe(recipe.method, seed, family=bench.family, beta=beta, eps=bench.settings.adaptation_eps)
    name = f"{bench.family} {recipe.name}, source classes, seed {seed}"
    plan = Plan(name=name, family=bench.family, width=bench.settings.width, recipe=training)
    data = bench.data.sources
    return bench.load(plan, data, train(bench.work, plan, data)[-1])


def members(bench: Bench) -> list[list[int]]:
    """For each superclass the numbers of its source classes."""
    names = bench.data.assignment.sources
    return [[names.index(name) for name in group.sources] for group in bench.data.assignment.superclasses]


def target_tests(bench: Bench) -> Labelled:
    """Test images of the target classes, labelled by superclass, of which each has the same share."""
    part = held_out_targets(bench.data.adaptation, bench.data.assignment, bench.settings.test_images)
    return Labelled.of(part.images, part.labels, part.numbers)


def target_training(bench: Bench, shots: int, seed: int) -> Labelled:
    """Training images of the target classes, labelled by superclass."""
    part = few_targets(bench.data.adaptation, bench.data.assignment, shots, seed)
    return Labelled.of(part.images, part.labels, part.numbers)
