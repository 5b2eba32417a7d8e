"""``auditor reproduce``: repeat a paper's experiments at a size that fits this machine."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from auditor.cli import options as shared
from auditor.cli.group import Group
from auditor.cli.number_types import Count, FiniteRange

if TYPE_CHECKING:
    from auditor.reproduce.records import ExperimentResult, Settings


@dataclass(frozen=True, kw_only=True)
class ReproduceOptions:
    """The options of ``auditor reproduce bai2021``."""

    listed: bool
    only: tuple[str, ...]
    dataset: str
    data: Path | None
    work: Path
    seeds: int
    families: tuple[str, ...]
    images: int
    epochs: int
    steps: int
    test_images: int
    width: float
    beta: float
    shots: int
    queries: int
    write: Path | None
    output_format: str


@click.group("reproduce", cls=Group)
def command() -> None:
    """Repeat the experiments of a paper, with a verdict for each claim."""


@command.command("bai2021")
@click.option("--list", "listed", is_flag=True, help="List the experiments and end.")
@click.option("--only", multiple=True, metavar="EXPERIMENT", help="Run this experiment only; repeatable.")
@click.option(
    "--dataset", default="fashion_mnist", show_default=True, metavar="NAME",
    help="Use this data set: fashion_mnist, cifar10 (with cifar100 for domain adaptation), cifar100, svhn, stl10 or "
    "tiny_imagenet.",
)  # fmt: skip
@click.option(
    "--data", type=click.Path(path_type=Path), help="Read the data set from this folder, in its usual layout."
)
@click.option(
    "--work", type=click.Path(path_type=Path), default="reproduction", show_default=True,
    help="Keep trainings and measurements in this folder. They are used again, so that an interrupted run resumes.",
)  # fmt: skip
@click.option("--seeds", type=Count(), default=2, show_default=True, metavar="N", help="Use the seeds 0 to N - 1.")
@click.option(
    "--family", "families", multiple=True, metavar="NAME",
    help="Run only this family of networks: resnet, vgg, alexnet, densenet or inception; repeatable. By default: all "
    "of them. Experiments that need one use the first.",
)  # fmt: skip
@click.option(
    "--images", type=Count(), default=6000, show_default=True, metavar="N", help="Train on the first N training images."
)
@click.option(
    "--epochs", type=Count(), default=3, show_default=True, help="Train each network for this number of epochs."
)
@click.option(
    "--steps", type=Count(), default=3, show_default=True, help="Attack with this number of PGD steps in training."
)
@click.option(
    "--test-images", type=Count(), default=500, show_default=True, metavar="N", help="Measure on N test images."
)
@click.option(
    "--width", type=FiniteRange(0, min_open=True, most=64), default=1.0, show_default=True,
    help="Multiply the networks' channels by this factor.",
)  # fmt: skip
@click.option(
    "--beta", type=FiniteRange(0, min_open=True, most=1000), default=1.0, show_default=True,
    help="Give the clustering regularizer this weight.",
)  # fmt: skip
@click.option(
    "--shots", type=Count(), default=100, show_default=True, metavar="N",
    help="Tune on N images of each target class in the authors' set-up of domain adaptation.",
)  # fmt: skip
@click.option(
    "--queries", type=Count(), default=200, show_default=True, help="Give the attack Square this number of queries."
)
@click.option(
    "--write", type=click.Path(dir_okay=False, path_type=Path), help="Write a page in Markdown, with figures beside it."
)
@shared.FORMAT
@shared.parsed_as(ReproduceOptions)
def bai2021(options: ReproduceOptions) -> None:
    """Repeat the experiments of Bai et al., "Clustering Effect of (Linearized) Adversarial Robust Models" (2021).

    Networks of the paper's families are trained at a size that fits this machine, and measured. Each claim gets a
    verdict: reproduced, not reproduced, or not decided, by a rule that the page states. An interrupted run loses at
    most one epoch or one measurement.

    \b
    Examples:
      auditor reproduce bai2021 --list
      auditor reproduce bai2021 --only correlation --family resnet --epochs 1
      auditor reproduce bai2021 --seeds 3 --work runs/bai2021 --write reproduction.md
      auditor reproduce bai2021 --dataset cifar10 --data ./data --images 50000 --epochs 30 --width 4

    Exit codes: 0 all experiments ran; 1 some could not run; 2 wrong usage; 3 the data set or the work folder is not
    usable; 130 interrupted.
    """
    from auditor.cli.output.progress import say
    from auditor.cli.output.tables import print_json, print_table
    from auditor.errors import ExitCode
    from auditor.reproduce.catalogue import EXPERIMENTS, find_experiments

    if options.listed:
        if options.output_format == "json":
            print_json([asdict(experiment) for experiment in EXPERIMENTS.values()])
        else:
            print_table(("experiment", "what it does"), [(one.name, one.summary) for one in EXPERIMENTS.values()])
        return
    experiments, settings = find_experiments(options.only), _make_settings(options)
    shared.check_exists("--data", options.data)

    from auditor.cli.run_scan import set_up_logs_and_traces, sigterm_interrupts
    from auditor.reproduce.page import write_page
    from auditor.reproduce.run import reproduce

    sigterm_interrupts()
    set_up_logs_and_traces()
    try:
        results = reproduce(experiments, settings, options.work, say)
    except KeyboardInterrupt:
        say(f"the same command with --work {options.work} resumes")
        raise
    if options.write is not None:
        write_page(options.write, results, settings)
    if options.output_format == "json":
        print_json([asdict(result) for result in results])
    else:
        _print(results)
    if any(result.missing for result in results):
        click.get_current_context().exit(ExitCode.FAILED)


def _make_settings(options: ReproduceOptions) -> "Settings":
    from auditor.reproduce.records import FAMILIES, Settings

    settings = Settings(
        dataset=options.dataset.replace("-", "_"),
        data=options.data,
        families=options.families or FAMILIES,
        seeds=options.seeds,
        images=options.images,
        epochs=options.epochs,
        steps=options.steps,
        test_images=options.test_images,
        width=options.width,
        beta=options.beta,
        shots=options.shots,
        queries=options.queries,
    )
    settings.check()
    return settings


def _print(results: "list[ExperimentResult]") -> None:
    """One row for each claim, and one line for each experiment that could not run."""
    from auditor.cli.output.tables import print_table
    from auditor.reproduce.page import claim_cells

    rows = [(result.experiment, *claim_cells(claim)) for result in results for claim in result.claims]
    if rows:
        print_table(("experiment", "claim", "estimate", "95 % interval", "over", "verdict"), rows)
    for result in results:
        if result.missing is not None:
            click.echo(f"{result.experiment}: not run: {result.missing}")
