"""``auditor boost``: fine-tune a model for robustness, audit it before and after, and compare the two audits."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from auditor.cli import options as shared
from auditor.cli.choice import Choice
from auditor.cli.complete import complete_entry
from auditor.cli.number_types import MINUTES, Finite, FiniteRange
from auditor.records.boosts import BOOST_PROTOCOL, RecipeOptions

if TYPE_CHECKING:
    from auditor.records import ZooEntry
    from auditor.trainings.boost import BoostRequest


@dataclass(frozen=True, kw_only=True)
class BoostOptions:
    """The options of ``auditor boost``; ``training`` is the path of the training images."""

    model: str
    method: str
    regularizer: str
    beta: float
    epochs: int
    eps: float | None
    norm: str | None
    steps: int
    step_size: float | None
    lr: float
    batch_size: int
    weight_decay: float
    ema: float
    amp: bool
    training: Path | None
    training_minutes: float | None
    audit: shared.AuditOptions
    place: shared.PlaceOptions
    output_format: str


@click.command("boost")
@click.argument("model", metavar="MODEL", shell_complete=complete_entry)
@click.option(
    "--method",
    type=Choice(["at", "trades"]),
    default=RecipeOptions.method,
    show_default=True,
    help="Train by PGD adversarial training (at; Madry et al., 2018) or by TRADES (Zhang et al., 2019).",
)
@click.option(
    "--regularizer",
    type=Choice(["logits", "linear", "none"]),
    default=RecipeOptions.regularizer,
    show_default=True,
    help="Pull sibling classes together by their logits, as in the paper, or by the templates of the linearized "
    "network.",
)
@click.option(
    "--beta",
    type=Finite(),
    default=RecipeOptions.beta,
    show_default=True,
    help="Give the regularizer this weight; 0 for none.",
)
@click.option(
    "--epochs",
    type=click.IntRange(1, 100_000),
    default=RecipeOptions.epochs,
    show_default=True,
    help="Train for this number of epochs.",
)
@click.option(
    "--eps",
    type=shared.Eps(),
    help="Train and audit within this radius: 0.1 or 8/255. By default: the zoo entry's radius.",
)
@click.option("--norm", type=shared.NORM, help="Train and audit in this norm. By default: the zoo entry's norm.")
@click.option(
    "--steps",
    type=click.IntRange(1, 1000),
    default=RecipeOptions.steps,
    show_default=True,
    help="Attack with this number of PGD steps in training.",
)
@click.option("--step-size", type=shared.Eps(), help="Use PGD steps of this size. By default: 2.5 eps / steps.")
@click.option(
    "--lr",
    type=Finite(),
    default=RecipeOptions.lr,
    show_default=True,
    help="Set the peak learning rate of SGD's one-cycle schedule.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(2, 65_536),
    default=RecipeOptions.batch_size,
    show_default=True,
    help="Use this number of training images per step.",
)
@click.option(
    "--weight-decay",
    type=FiniteRange(0, 1),
    default=RecipeOptions.weight_decay,
    show_default=True,
    help="Set the weight decay of SGD.",
)
@click.option(
    "--ema", type=FiniteRange(0, 1, max_open=True), default=RecipeOptions.ema, show_default=True,
    help="Set the decay of the moving average of the weights, which the checkpoint holds. 0 for none.",
)  # fmt: skip
@click.option(
    "--amp/--no-amp",
    default=RecipeOptions.amp,
    help="On a GPU, use bfloat16 where it is safe. There is no effect on a CPU.",
)
@shared.SEED
@click.option(
    "--data",
    "training",
    type=click.Path(path_type=Path),
    help="Read the training images from this path: torchvision's layout, one folder per class, idx "
    "files or an .npz file.",
)
@click.option(
    "--test-data",
    "data",
    type=click.Path(path_type=Path),
    help="Read the test images of the two audits from this path.",
)
@shared.ZOO_FOLDER
@click.option(
    "--protocol",
    type=shared.PROTOCOL,
    default=BOOST_PROTOCOL,
    show_default=True,
    help="Select the protocol of the two audits: quick, standard, strong or full.",
)
@shared.SAMPLES
@shared.DEVICE
@shared.TRUST_CODE
@click.option(
    "--time-limit",
    "training_minutes",
    type=FiniteRange(0, min_open=True, most=MINUTES),
    metavar="MINUTES",
    help="Limit the time of the training. By default: 2 days.",
)
@shared.QUEUE
@shared.WAIT
@shared.FORMAT
@shared.parsed_as(BoostOptions)
def command(options: BoostOptions) -> None:
    """Fine-tune MODEL to make it more robust, audit it before and after, and keep the checkpoint.

    MODEL is a model of any zoo, for example demo:standard, local:NAME with --zoo DIR, or checkpoint:7. Part of the
    training images is held out. The epoch with the highest PGD-20 accuracy on the held-out images is kept, and training
    stops early if it overfits. The test images are used only by the two audits, which use the same
    images and the same protocol. McNemar's test decides whether the checkpoint is more robust. The verdict is stored
    with the checkpoint, whatever it is.

    If the boost is interrupted or killed, `auditor trainings resume ID` resumes it from the last epoch.

    \b
    Examples:
      auditor boost demo:standard
      auditor boost demo:at-eps0.10 --regularizer none --epochs 10 --lr 0.01
      auditor boost demo:standard --method trades --beta 0.5 --seed 1 --format json
      auditor boost local:my-model --zoo ./my-zoo --data ./train.npz --protocol full
      auditor boost robustbench:cifar10/Linf/Wong2020Fast --device cuda --queue --wait

    Exit codes: 0 the boost is done, whether or not it helped; 1 it failed or was cancelled; 2 wrong usage; 3 the
    database or the broker is not usable; 130 interrupted.
    """
    from auditor.cli.model_filters import find_entry
    from auditor.cli.run_scan import decide, set_up_logs_and_traces, sigterm_interrupts
    from auditor.cli.run_training import run_where
    from auditor.scans.threat_models import under

    sigterm_interrupts()
    set_up_logs_and_traces()
    audit = options.audit
    where = decide(options.place, audit.device)
    entry = find_entry(options.model, audit.folder, trust_code=audit.trust_code)
    entry = under(entry, options.norm, options.eps)
    request = make_request(entry, options, where.queue)
    run_where(where, "boost", entry.model, entry, request, options.output_format)


def make_request(entry: "ZooEntry", options: BoostOptions, queue: str) -> "BoostRequest":
    """Raises UsageError if the values make no sense."""
    from auditor.errors import UsageError
    from auditor.records import LOCAL_QUEUE
    from auditor.trainings.boost import BoostRequest

    if options.audit.protocol == "screen":
        raise UsageError(
            "--protocol screen runs no attack, so that it cannot tell whether a boost helped; "
            "use quick, standard, strong or full"
        )
    if queue == LOCAL_QUEUE:
        shared.check_exists("--data", options.training)
        shared.check_exists("--test-data", options.audit.data)
    names = [field.name for field in dataclasses.fields(RecipeOptions) if field.name != "seed"]
    values = {name: getattr(options, name) for name in names} | {"seed": options.audit.seed}
    recipe = RecipeOptions(**values).make_recipe(eps=entry.eps, norm=entry.norm)
    scan, minutes = options.audit.make_request(queue), options.training_minutes
    limit: dict[str, Any] = {} if minutes is None else {"training_seconds": minutes * 60}
    return BoostRequest(recipe=recipe, scan=scan, training=options.training and options.training.absolute(), **limit)
