"""The experiments by name; imports no torch."""

from dataclasses import dataclass

from auditor.errors import NotFoundError


@dataclass(frozen=True)
class Experiment:
    """An experiment: the name is also that of its module in this package.

    Attributes:
        scripts: the part of the authors' code that it stands for.
        paper: how the paper or its code sets it up.
        adapts: whether it is one of those on domain adaptation, which may have another data set.
    """

    name: str
    summary: str
    scripts: str
    paper: str
    adapts: bool = False


EXPERIMENTS = {
    experiment.name: experiment
    for experiment in (
        Experiment(
            "correlation",
            "C and F of standard, PGD-AT and TRADES networks of five families: gap and its interval",
            "evaluate_weight_correlation, evaluate_feature_distance",
            "CIFAR-10, ResNet-18 and four other families; pictures of C and F, F over 128 images a class",
        ),
        Experiment(
            "layers",
            "|W W^T - I| of the normalized filters of every convolution, standard against PGD-AT",
            "evaluate_weight_correlation --read_layer_weight",
            "CIFAR-10, heatmaps of every convolution of ResNet-18, no number",
        ),
        Experiment(
            "regularizer",
            "the clustering regularizer on PGD-AT and TRADES, the epoch selected on validation and on test images",
            "train_resnet18_cifar10_cluster",
            "CIFAR-10, ResNet-18, 200 epochs of PGD-10 at 8/255; the epoch that is best on test is kept",
        ),
        Experiment(
            "adaptation",
            "domain adaptation to unseen subclasses, in the authors' set-up and in that of `auditor adapt`",
            "train_resnet18_cifar20_cluster, train_resnet18_cifar20_finetune_fc_cls",
            "four superclasses of CIFAR-100, 16 source classes, four target classes, 2,000 target images",
            adapts=True,
        ),
        Experiment(
            "zero_shot",
            "superclasses of unseen subclasses without tuning, and what the slips in the authors' scripts change",
            "test_resnet18_cifar_20",
            "the same source networks, floor(argmax / 4)",
            adapts=True,
        ),
        Experiment(
            "transfer",
            "transferred attacks and the black-box attack Square against regularized networks",
            "none",
            "second-hand, from a reader's notes; not read in the paper",
        ),
        Experiment(
            "success",
            "success of targeted attacks between pairs of classes: does it cluster as C does?",
            "none",
            "second-hand, from a reader's notes; not read in the paper",
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
