"""What all experiments share: recipes, trained networks, and measurements that are stored."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from auditor.attacks import Protocol, evaluate_robustness
from auditor.attacks.protocols import find_protocol
from auditor.boost.training import size_of
from auditor.clustering import clustering_scores, correlation, distance_scores, effective_rank, feature_distance
from auditor.linear import template_gram
from auditor.records import METHOD_VERSION, Matrix
from auditor.records.boosts import Recipe
from auditor.reproduce.data import Labelled, ReproductionData
from auditor.reproduce.records import Settings
from auditor.reproduce.training import Plan, State, TrainingSet, restore, train
from auditor.reproduce.work import Work
from auditor.zoo.digest import state_dict_digest

RATES = {"alexnet": 0.05}
"""Peak learning rates: 0.2, and less without batch norm, where that diverges."""


@dataclass(frozen=True)
class Network:
    """A trained network in eval mode, its name for people, and the digest of its weights."""

    name: str
    model: nn.Module
    digest: str


@dataclass(frozen=True)
class Verdicts:
    """Of each image: whether it is classified correctly, and whether it survives all attacks."""

    correct: NDArray[np.bool_]
    survived: NDArray[np.bool_]

    @property
    def clean(self) -> float:
        return float(self.correct.mean())

    @property
    def robust(self) -> float:
        return float(self.survived.mean())


@dataclass(frozen=True)
class Geometry:
    """C and its gap and effective rank, F and its gap."""

    correlation: Matrix
    gap: float
    p_value: float
    rank: float
    feature_gap: float


class Bench:
    """Trains and measures by the settings, or reads what is in the work folder.

    Args:
        settings: checked settings.
        work: the work folder.
    """

    def __init__(self, settings: Settings, work: Work) -> None:
        self.settings, self.work, self.data = settings, work, ReproductionData(settings)

    @property
    def family(self) -> str:
        """The family of the experiments that need only one: the first."""
        return self.settings.families[0]

    @property
    def seeds(self) -> range:
        return range(self.settings.seeds)

    @cached_property
    def superclasses(self) -> tuple[str, ...]:
        return self.data.superclasses

    def recipe(self, method: str, seed: int, *, family: str, beta: float = 0.0, eps: float | None = None) -> Recipe:
        """Training by ``standard``, ``at`` or ``trades``."""
        settings = self.settings
        eps = settings.eps if eps is None else eps
        attack = (
            {} if method == "standard" else {"eps": eps, "steps": settings.steps, "step_size": 2 * eps / settings.steps}
        )
        return Recipe(
            method=method,  # type: ignore[arg-type]
            epochs=settings.epochs,
            max_lr=RATES.get(family, 0.2),
            beta=beta,
            seed=seed,
            **attack,  # type: ignore[arg-type]
        )

    def network(self, method: str, seed: int, *, family: str | None = None, beta: float = 0.0) -> Network:
        """A network trained on all classes; its weights after the last epoch."""
        plan = self.plan(method, seed, family=family, beta=beta)
        return self.load(plan, self.data.training, train(self.work, plan, self.data.training)[-1])

    def plan(self, method: str, seed: int, *, family: str | None = None, beta: float = 0.0) -> Plan:
        family = family or self.family
        recipe = self.recipe(method, seed, family=family, beta=beta)
        weight = f" {beta:g}" if beta else ""
        name = f"{family} {recipe_name(method, beta)}{weight}, seed {seed}"
        return Plan(name=name, family=family, width=self.settings.width, recipe=recipe)

    def load(self, plan: Plan, data: TrainingSet, state: State, name: str = "") -> Network:
        return Network(name or plan.name, restore(plan, data, state), state_dict_digest(state))

    def geometry(self, network: Network) -> Geometry:
        """The scores of C and F, F from the test images."""
        test = self.data.test

        def measure() -> dict[str, object]:
            self.work.report(f"{network.name}: C and F")
            matrix = correlation(template_gram(network.model, size_of(test.images)).gram.numpy())
            with torch.no_grad():
                logits = torch.cat([network.model(batch) for batch in torch.split(test.images, 250)])
            features = feature_distance(logits, test.labels, len(self.superclasses))
            scores = clustering_scores(matrix, self.superclasses)
            return {
                "correlation": matrix.tolist(),
                "gap": scores.gap,
                "p_value": scores.p_value,
                "rank": effective_rank(matrix),
                "feature_gap": distance_scores(features, self.superclasses).gap,
            }

        inputs = {
            "weights": network.digest,
            "test": test.digest,
            "superclasses": list(self.superclasses),
            "method": METHOD_VERSION,
        }
        found = self.work.part("geometry", inputs, measure)
        return Geometry(**{**found, "correlation": np.array(found["correlation"])})

    def verdicts(
        self, network: Network, images: Labelled, *, protocol: str | Protocol = "quick", eps: float | None = None
    ) -> Verdicts:
        """Clean and adversarial verdicts, image by image, by the attacks of a protocol."""
        chosen = find_protocol(protocol) if isinstance(protocol, str) else protocol
        eps = self.settings.eps if eps is None else eps

        def measure() -> dict[str, object]:
            found = evaluate_robustness(
                network.model, images.images, images.labels, norm="Linf", eps=eps, protocol=chosen,
                indices=images.numbers.tolist(),
            )  # fmt: skip
            self.work.report(
                f"{network.name}: clean {found.clean_accuracy:.1%}, {chosen.name} {found.robust_accuracy:.1%}"
            )
            return {"correct": found.correct.int().tolist(), "survived": found.survived.int().tolist()}

        inputs = {
            "weights": network.digest,
            "images": images.digest,
            "eps": eps,
            "attacks": [[attack.name, attack.parameters] for attack in chosen.attacks],
            "method": METHOD_VERSION,
        }
        found = self.work.part("verdicts", inputs, measure)
        return Verdicts(np.array(found["correct"], bool), np.array(found["survived"], bool))


def recipe_name(method: str, beta: float) -> str:
    """How people call a training."""
    name = {"standard": "standard", "at": "PGD-AT", "trades": "TRADES"}[method]
    return f"{name} + regularizer" if beta else name
