"""``auditor adapt``: measure whether a model's features separate superclasses on classes that it was not trained on."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from auditor.cli import options as shared
from auditor.cli.choice import Choice
from auditor.cli.number_types import LARGEST_COUNT, MINUTES, Count, Finite, FiniteRange
from auditor.records.protocols import ATTACKING_PROTOCOL_NAMES

if TYPE_CHECKING:
    from auditor.records import ZooEntry
    from auditor.records.adaptations import AdaptRequest
    from auditor.records.assignments import Assignment


class Numbers(click.ParamType[tuple[int, ...]]):
    """Integers with commas between them."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(int(part) for part in str(value).split(","))
        except ValueError:
            numbers = ()
        if not numbers or not 0 <= min(numbers) <= max(numbers) <= LARGEST_COUNT:
            self.fail(
                f"expected integers of 0 or more with commas between them, such as 1,5,20, got {value!r:.60}",
                param,
                ctx,
            )
        return numbers


@dataclass(frozen=True, kw_only=True)
class AdaptOptions:
    """The options of ``auditor adapt``; ``time_limit`` in minutes."""

    start: str
    preset: str | None
    dataset: str | None
    superclasses: str | None
    source: str | None
    target: str | None
    shots: tuple[int, ...]
    seeds: tuple[int, ...]
    layers: Any
    head: Any
    beta: float
    lr: float
    tuning_steps: int
    source_images: int
    epochs: int | None
    held_out: int
    norm: str
    eps: float
    protocol: str
    data: Path | None
    folder: Path | None
    device: str
    trust_code: bool
    time_limit: float | None
    place: shared.PlaceOptions
    output_format: str


@click.command("adapt")
@click.argument("start", metavar="MODEL-OR-RECIPE")
@click.option(
    "--preset", metavar="NAME", help="Use the classes of a preset: fashion-mnist (the default), fashion-mnist/TOP+SHOE "
    "or cifar100.",
)  # fmt: skip
@click.option("--dataset", help="Use the classes of this data set, if no preset names them. By default: fashion_mnist.")
@click.option("--superclasses", metavar="A | B", help="Name the superclasses, with | between them.")
@click.option(
    "--source",
    metavar="CLASSES",
    help="Learn these classes: 'a, b | c', one group per superclass, with | between groups.",
)
@click.option("--target", metavar="CLASSES", help="Adapt to these classes, in the same form.")
@click.option(
    "--shots",
    type=Numbers(),
    default="1,5,20,100",
    show_default=True,
    help="Use these numbers of target images per class.",
)
@click.option(
    "--seeds",
    type=Numbers(),
    default="0",
    show_default=True,
    help="Use these seeds. Each one trains its own source model.",
)
@click.option(
    "--layers", type=Choice(["head", "all"]), default="head", show_default=True,
    help="Tune only the head, or all layers.",
)  # fmt: skip
@click.option(
    "--head", type=Choice(["sources", "fresh"]), default="sources", show_default=True,
    help="Start the head from the mean of the source classes' templates, or at random.",
)  # fmt: skip
@click.option(
    "--beta",
    type=Finite(),
    default=0.1,
    show_default=True,
    help="Give the loss term MSE(logits, class centre) this weight.",
)
@click.option("--lr", type=Finite(), default=0.01, show_default=True, help="Tune with this learning rate.")
@click.option(
    "--tuning-steps", type=Count(), default=100, show_default=True, help="Tune with this number of SGD steps."
)
@click.option(
    "--source-images", type=Count(), default=20_000, show_default=True, metavar="N",
    help="Train the source model on at most N images.",
)  # fmt: skip
@click.option(
    "--epochs",
    type=click.IntRange(1, 100_000),
    help="Train the source model for this number of epochs. By default: the recipe's number.",
)
@click.option(
    "--held-out", type=Count(), default=1000, show_default=True, metavar="N", help="Measure on at most N test images."
)
@click.option("--norm", type=shared.NORM, default="Linf", show_default=True, help="Train and attack in this norm.")
@click.option(
    "--eps",
    type=shared.Eps(),
    default="0.1",
    show_default=True,
    help="Train and attack within this radius: 0.1 or 8/255.",
)
@click.option(
    "--protocol", type=Choice(["adapt", *ATTACKING_PROTOCOL_NAMES]), default="adapt", show_default=True,
    help="Select the attacks. adapt: PGD-20, then APGD-CE with 100 iterations; the others: as in `auditor scan`.",
)  # fmt: skip
@click.option("--data", type=click.Path(path_type=Path), help="Read the data set from this path.")
@shared.ZOO_FOLDER
@shared.DEVICE
@shared.TRUST_CODE
@click.option(
    "--time-limit", type=FiniteRange(0, min_open=True, most=MINUTES), metavar="MINUTES",
    help="Limit the time of the adaptation. By default: 2 days.",
)  # fmt: skip
@shared.QUEUE
@shared.WAIT
@shared.FORMAT
@shared.parsed_as(AdaptOptions)
def command(options: AdaptOptions) -> None:
    """Adapt a model to new classes with a few images, and measure its superclass accuracy.

    MODEL-OR-RECIPE is a recipe (standard, robust, robust+clustered or standard+clustered), which trains the demo zoo's
    network on the source classes; or a model of a zoo, whose features are used, and whose training included the target
    classes. Its head is replaced by a head for the superclasses, which is tuned on a few target images. The result is
    the superclass accuracy, clean and under attack, on test images of the target classes, beside the accuracy of the
    nearest mean of pixels.

    \b
    Examples:
      auditor adapt robust
      auditor adapt robust+clustered --shots 1,5 --seeds 0,1,2 --layers all
      auditor adapt standard --preset fashion-mnist/shirt+sandal --format json
      auditor adapt demo:at-eps0.10 --superclasses 'tops | footwear' --source 'coat | sneaker' --target 'shirt | sandal'
      auditor adapt robust --preset cifar100 --data ./cifar-100-python --eps 2/255 --queue --wait

    Exit codes: 0 the adaptation is done; 1 it failed or was cancelled; 2 wrong usage; 3 the database or the broker is
    not usable; 130 interrupted.
    """
    from auditor.cli.model_filters import find_model
    from auditor.cli.run_scan import decide, set_up_logs_and_traces, sigterm_interrupts
    from auditor.cli.run_training import run_where
    from auditor.errors import NotFoundError
    from auditor.machine.devices import check_device
    from auditor.records.adaptations import RECIPES
    from auditor.trainings.adapt import AdaptJobRequest

    if options.start not in RECIPES and ":" not in options.start:
        try:
            options = replace(options, start=find_model(options.start, options.folder))
        except NotFoundError as error:
            recipes = ", ".join(RECIPES)
            raise NotFoundError(f"no recipe named {options.start!r}; expected one of: {recipes}; {error}") from error
    sigterm_interrupts()
    set_up_logs_and_traces()
    where = decide(options.place, options.device)
    folder = options.folder
    adapt = _make_request(options)
    if where.is_local:
        shared.check_exists("--data", options.data)
    entry = None if adapt.trains else _find_entry(adapt, options)
    limit = {} if options.time_limit is None else {"seconds": options.time_limit * 60}
    request = AdaptJobRequest(
        adapt=adapt,
        device=check_device(options.device) if where.is_local else options.device,
        data=options.data and options.data.absolute(),
        folder=str(folder.absolute()) if folder else None,
        trust_code=options.trust_code,
        **limit,
    )
    run_where(where, "adapt", options.start, entry, request, options.output_format)


def _make_request(options: AdaptOptions) -> "AdaptRequest":
    """Raises UsageError if the values make no sense, before a job is stored."""
    from auditor.data import CLASSES
    from auditor.errors import InputError, UsageError
    from auditor.records.adaptations import AdaptRequest, Tuning

    tuning = Tuning(
        layers=options.layers, head=options.head, beta=options.beta, lr=options.lr, steps=options.tuning_steps
    )
    request = AdaptRequest(
        assignment=_make_assignment(options),
        start=options.start,
        tuning=tuning,
        shots=options.shots,
        seeds=options.seeds,
        source_images=options.source_images,
        held_out=options.held_out,
        norm=options.norm,
        eps=options.eps,
        protocol=options.protocol,
    )
    try:
        if request.trains:
            recipe = request.training
            attack: dict[str, Any] = {"norm": request.norm}
            if recipe.method != "standard":
                attack |= {"eps": request.eps, "step_size": 2 * request.eps / recipe.steps}
            recipe = replace(recipe, epochs=options.epochs or recipe.epochs, **attack)
            request = replace(request, recipe=recipe)
        elif options.epochs:
            raise UsageError(f"--epochs needs a recipe: {options.start} is a model that is already trained")
        if request.assignment.dataset in CLASSES:
            resolved = request.assignment.resolved(CLASSES[request.assignment.dataset])
            request = replace(request, assignment=resolved)
        request.check()
    except InputError as error:
        raise UsageError(str(error)) from error
    return request


def _make_assignment(options: AdaptOptions) -> "Assignment":
    from auditor.errors import UsageError
    from auditor.records.assignments import Assignment, find_preset

    classes = {"superclasses": options.superclasses, "source": options.source, "target": options.target}
    missing = ", ".join(f"--{name}" for name, value in classes.items() if not value)
    if not any(classes.values()):
        if options.dataset:
            raise UsageError("--dataset needs --superclasses, --source and --target; a preset has its own data set")
        return find_preset(options.preset or "fashion-mnist")
    if options.preset:
        raise UsageError("expected either --preset, or --superclasses, --source and --target; got both")
    if missing:
        raise UsageError(f"expected --superclasses, --source and --target, or --preset; missing: {missing}")
    return Assignment.parse(options.dataset or "fashion_mnist", *(value or "" for value in classes.values()))


def _find_entry(request: "AdaptRequest", options: AdaptOptions) -> "ZooEntry":
    from auditor.cli.model_filters import find_entry
    from auditor.errors import UsageError

    entry = find_entry(request.start, options.folder, trust_code=options.trust_code)
    if entry.dataset != request.assignment.dataset:
        raise UsageError(
            f"{entry.model} is a model for {entry.dataset}, but the classes are from {request.assignment.dataset}: "
            "name the model's classes by --dataset, --superclasses, --source and --target"
        )
    return entry
