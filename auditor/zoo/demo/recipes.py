"""The models of the demo zoo: one row for each, fixed before any result was known."""

from dataclasses import dataclass

from auditor.records.boosts import Recipe
from auditor.zoo.demo.interval_training import IntervalRecipe


@dataclass(frozen=True)
class DemoModel:
    """One model of the demo zoo: its name, description, architecture and recipe."""

    name: str
    description: str
    architecture: str
    recipe: Recipe | IntervalRecipe


def _pgd(eps: float, steps: int, **changes: object) -> Recipe:
    settings: dict[str, object] = {
        "method": "at",
        "eps": eps,
        "steps": steps,
        "step_size": 2 * eps / steps,
        "epochs": 12,
    }
    return Recipe(**(settings | changes))  # type: ignore[arg-type]


_PLAIN = {"max_lr": 0.05}  # without batch norm the peak rate of the residual networks diverges

DEMO_MODELS: tuple[DemoModel, ...] = (
    DemoModel("standard", "standard training", "small_resnet", Recipe(seed=1)),
    DemoModel("augmented", "standard training, heavy augmentation", "small_resnet", Recipe(augment=True, seed=2)),
    DemoModel("noise", "Gaussian-noise training, sigma 0.2", "small_resnet", Recipe(noise=0.2, seed=3)),
    DemoModel("at-eps0.02", "PGD-3 adversarial training", "small_resnet", _pgd(0.02, 3, seed=4)),
    DemoModel("at-eps0.05", "PGD-3 adversarial training", "small_resnet", _pgd(0.05, 3, seed=5)),
    DemoModel("at-eps0.08", "PGD-5 adversarial training", "small_resnet", _pgd(0.08, 5, seed=15)),
    DemoModel("at-eps0.10", "PGD-5 adversarial training", "small_resnet", _pgd(0.10, 5, seed=6)),
    DemoModel("trades-eps0.05", "TRADES, lambda 6", "small_resnet", _pgd(0.05, 3, method="trades", seed=7)),
    DemoModel("trades-eps0.10", "TRADES, lambda 6", "small_resnet", _pgd(0.10, 5, method="trades", seed=8)),
    DemoModel(
        "at-cluster-eps0.10",
        "PGD-5 adversarial training with the clustering regularizer, beta 0.3",
        "small_resnet",
        _pgd(0.10, 5, beta=0.3, seed=9),
    ),
    DemoModel(
        "standard-cluster",
        "standard training with the clustering regularizer, beta 0.3: a gap without robustness",
        "small_resnet",
        Recipe(beta=0.3, seed=10),
    ),
    DemoModel(
        "fgsm-eps0.10",
        "single-step training without random start, prone to catastrophic overfitting",
        "small_resnet",
        _pgd(0.10, 1, step_size=0.10, random_start=False, epochs=15, seed=11),
    ),
    DemoModel(
        "saturated",
        "standard training at softmax temperature 100, deployed without it: gradients vanish",
        "small_resnet",
        Recipe(temperature=100.0, max_lr=0.5, seed=12),
    ),
    DemoModel(
        "plain-standard",
        "no batch norm, max pooling; standard training",
        "plain_convnet",
        Recipe(**_PLAIN, seed=13),  # type: ignore[arg-type]
    ),
    DemoModel(
        "plain-at-eps0.10",
        "no batch norm, max pooling; PGD-5 adversarial training",
        "plain_convnet",
        _pgd(0.10, 5, seed=14, epochs=8, **_PLAIN),
    ),
    DemoModel(
        "certified-eps0.10",
        "no batch norm, no pooling; training with interval bounds: certified nearly as far as attacked",
        "certifiable_convnet",
        IntervalRecipe(seed=16),
    ),
)
