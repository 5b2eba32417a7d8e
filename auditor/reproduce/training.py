"""Trains a network from scratch; its state is saved after each epoch, and the weights of every epoch are kept."""

import math
from collections.abc import Hashable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from auditor.boost.training import Trainer, size_of
from auditor.errors import MeasurementError
from auditor.records.boosts import Recipe
from auditor.records.versions import versions
from auditor.reproduce.networks import build
from auditor.reproduce.work import Work, key_of
from auditor.torch_state import default_modes

State = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class TrainingSet:
    """Images ``(N, C, H, W)``, uint8 or in [0, 1], labels ``(N,)``, the superclass of each class, and a digest."""

    images: Tensor
    labels: Tensor
    superclasses: tuple[Hashable, ...]
    digest: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A network and how it is trained; ``name`` is for people."""

    name: str
    family: str
    width: float
    recipe: Recipe

    def build(self, data: TrainingSet) -> nn.Module:
        """A network with the weights with which training begins; seeds torch's global generator."""
        channels, size, _ = size_of(data.images)
        torch.manual_seed(self.recipe.seed)
        return build(self.family, channels, size, len(data.superclasses), self.width)


def train(work: Work, plan: Plan, data: TrainingSet) -> list[State]:
    """The weights after each epoch, trained or from the work folder; at most one epoch is trained twice.

    Raises:
        InputError: the recipe is invalid, or there are fewer images than in a batch.
        MeasurementError: the loss was not finite.
    """
    key = _key(plan, data)
    run = work.saved_run(key)
    saved = run.load() or {}
    states: list[State] = list(saved.get("states", []))
    if len(states) == plan.recipe.epochs:
        return states
    with default_modes(), torch.random.fork_rng([]):
        trainer = Trainer(plan.build(data), data.images, data.labels, plan.recipe, data.superclasses)
        if states:
            trainer.restore(saved["trainer"])
        while len(states) < plan.recipe.epochs:
            epoch = trainer.epoch()
            if not math.isfinite(epoch.loss):
                raise MeasurementError(
                    f"the loss of {plan.name} was not finite in epoch {epoch.number}: "
                    f"try a lower learning rate than {plan.recipe.max_lr:g}"
                )
            states.append({name: weight.detach().clone() for name, weight in trainer.model.state_dict().items()})
            done = len(states) == plan.recipe.epochs
            run.save({"states": states, "trainer": None if done else trainer.state()})
            work.report(
                f"{plan.name}: epoch {epoch.number}/{plan.recipe.epochs}, loss {epoch.loss:.3f}, {epoch.seconds:.0f} s"
            )
    return states


def restore(plan: Plan, data: TrainingSet, state: State) -> nn.Module:
    """The network with these weights, in eval mode."""
    with torch.random.fork_rng([]):
        network = plan.build(data)
    network.load_state_dict(state)
    return network.eval()


def _key(plan: Plan, data: TrainingSet) -> str:
    return key_of(
        {
            "family": plan.family,
            "width": plan.width,
            "recipe": asdict(plan.recipe),
            "data": data.digest,
            "superclasses": [str(label) for label in data.superclasses],
            "threads": torch.get_num_threads(),
            "versions": versions(),
        }
    )
