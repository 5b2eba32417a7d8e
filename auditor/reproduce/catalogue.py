"""The experiments by name; imports no torch."""

from dataclasses import dataclass

from auditor.errors import NotFoundError


@dataclass(frozen=True)
class Experiment:
    """An experiment: the name is also that of its module in this package.

    Attributes:
        scripts: the part of the authors' code that it stands for.
    """

    name: str
    summary: str
    scripts: str
    adapts: bool = False


EXPERIMENTS = {
    experiment.name: experiment
    for experiment in (
        Experiment(
            "correlation",
            "C and F of standard, PGD-AT and TRADES networks of five families: gap and its interval",
            "evaluate_weight_correlation, evaluate_feature_distance",
        ),
        Experiment(
            "layers",
            "|W W^T - I| of the normalized filters of every convolution, standard against PGD-AT",
            "evaluate_weight_correlation --read_layer_weight",
        ),
        Experiment(
            "regularizer",
            "the clustering regularizer on PGD-AT and TRADES, the epoch selected on validation and on test images",
            "train_resnet18_cifar10_cluster",
        ),
        Experiment(
            "adaptation",
            "domain adaptation to unseen subclasses, in the authors' set-up and in that of `auditor adapt`",
            "train_resnet18_cifar20_cluster, train_resnet18_cifar20_finetune_fc_cls",
            adapts=True,
        ),
        Experiment(
            "zero_shot",
            "superclasses of unseen subclasses without tuning, and what the slips in the authors' scripts change",
            "test_resnet18_cifar_20",
            adapts=True,
        ),
        Experiment(
            "transfer",
            "transferred attacks and the black-box attack Square against regularized networks",
            "none; from a reader's notes",
        ),
        Experiment(
            "success",
            "success of targeted attacks between pairs of classes: does it cluster as C does?",
            "none; from a reader's notes",
        ),
    )
}


def find_experiments(names: tuple[str, ...]) -> tuple[Experiment, ...]:
    """The experiments with these names in their usual order; all for none. A hyphen stands for an underscore.

    Raises:
        NotFoundError: a name is unknown.
    """
    plain = {name.replace("-", "_") for name in names}
    for name in names:
        if name.replace("-", "_") not in EXPERIMENTS:
            raise NotFoundError(f"no experiment named {name!r:.60}; expected one of: {', '.join(EXPERIMENTS)}")
    return tuple(found for name, found in EXPERIMENTS.items() if not plain or name in plain)
