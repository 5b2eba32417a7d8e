"""``auditor adapt``: do a model's features tell superclasses apart on classes that it has never seen?"""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from auditor.cli.numbers import LARGEST_COUNT, MINUTES, Count, Finite, FiniteRange
from auditor.cli.options import FORMAT, Eps

if TYPE_CHECKING:
    from auditor.records import ZooEntry
    from auditor.records.adaptations import AdaptRequest
    from auditor.records.assignments import Assignment


class Numbers(click.ParamType[tuple[int, ...]]):
    """Whole numbers between commas."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(int(part) for part in str(value).split(","))
        except ValueError:
            numbers = ()
        if not numbers or max(map(abs, numbers)) > LARGEST_COUNT:
            self.fail(f"expected whole numbers with commas between them, such as 1,5,20, got {value!r:.60}", param, ctx)
        return numbers


@click.command("adapt")
@click.argument("start", metavar="MODEL-OR-RECIPE")
@click.option("--preset", metavar="NAME", help="fashion-mnist (the default), fashion-mnist/TOP+SHOE, or cifar100.")
@click.option("--dataset", help="Of the classes, where no preset names them; by default fashion_mnist.")
@click.option("--superclasses", metavar="A | B", help="Their names, with | between them.")
@click.option("--source", metavar="CLASSES", help="The classes to learn: 'a, b | c', a group a superclass.")
@click.option("--target", metavar="CLASSES", help="The classes to adapt to, in the same way.")
@click.option("--shots", type=Numbers(), default="1,5,20,100", show_default=True, help="Target images a class.")
@click.option("--seeds", type=Numbers(), default="0", show_default=True, help="Each has its own source model.")
@click.option("--layers", type=click.Choice(["head", "all"]), default="head", show_default=True, help="What is tuned.")
@click.option(
    "--head", type=click.Choice(["sources", "fresh"]), default="sources", show_default=True,
    help="Begins as the mean of the sources' templates, or at random.",
)  # fmt: skip
@click.option("--beta", type=Finite(), default=0.1, show_default=True, help="Weight of MSE(logits, class centre).")
@click.option("--lr", type=Finite(), default=0.01, show_default=True, help="Of the tuning.")
@click.option("--tuning-steps", type=Count(), default=100, show_default=True, help="Of SGD.")
@click.option("--source-images", type=Count(), default=20_000, show_default=True, help="To train on at most.")
@click.option("--epochs", type=click.IntRange(1, 100_000), help="Of the source model; by default the recipe's.")
@click.option("--held-out", type=Count(), default=1000, show_default=True, help="Test images at most.")
@click.option("--norm", type=click.Choice(["Linf", "L2"]), default="Linf", show_default=True)
@click.option("--eps", type=Eps(), default="0.1", show_default=True, help="Of training and attacks: 0.1 or 8/255.")
@click.option(
    "--protocol", type=click.Choice(["adapt", "quick", "standard", "full"]), default="adapt", show_default=True,
    help="adapt: PGD-20, then APGD-CE of 100 iterations; the others as in a scan.",
)  # fmt: skip
@click.option("--data", type=click.Path(path_type=Path), help="Where the data set lies.")
@click.option("--zoo", "folder", type=click.Path(path_type=Path), help="The folder of a local zoo.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N.")
@click.option("--trust-code", is_flag=True, help="Run the Python code that a local zoo's architectures are made of.")
@click.option(
    "--time-limit", type=FiniteRange(0, min_open=True, most=MINUTES), metavar="MINUTES", help="By default 2 days."
)
@click.option("--queue/--here", "queued", default=None, help="Leave it to a worker, or run it in this process.")
@click.option("--wait", is_flag=True, help="With --queue: follow it until it has ended.")
@FORMAT
def command(start: str, folder: Path | None, queued: bool | None, wait: bool, shape: str, **options: Any) -> None:
    """Domain adaptation: learn some classes, adapt to others with a few images, measure superclasses.

    MODEL-OR-RECIPE is standard, robust, robust+clustered or standard+clustered, which trains the demo zoo's network on
    the source classes; or a model of a zoo, whose features are used, and which has seen the targets in its training.
    Its head is replaced by one of superclasses and tuned on a few target images. Measured is superclass accuracy, clean
    and attacked, on test images of the target classes, beside nearest mean on the pixels.

    \b
    Examples:
      auditor adapt robust
      auditor adapt robust+clustered --shots 1,5 --seeds 0,1,2 --layers all
      auditor adapt standard --preset fashion-mnist/shirt+sandal --format json
      auditor adapt demo:at-eps0.10 --superclasses 'tops | footwear' --source 'coat | sneaker' --target 'shirt | sandal'
      auditor adapt robust --preset cifar100 --data ./cifar-100-python --eps 2/255 --queue --wait

    \b
    Exit codes: 0 done; 1 it failed or was cancelled; 2 usage; 3 database or broker not usable; 130 interrupted.
    """
    from auditor.cli.run_scan import log_scan, sigterm_interrupts
    from auditor.cli.run_training import run_where, where_of
    from auditor.errors import UsageError
    from auditor.machine.devices import check_device
    from auditor.trainings.adapt import AdaptJobRequest

    sigterm_interrupts()
    log_scan()
    queue = where_of(queued, wait, options["device"])
    asked = _request(start, options)
    data = options["data"]
    if data is not None and queue == "here" and not data.exists():
        raise UsageError(f"--data: there is nothing at {data}")
    entry = None if asked.trains else _entry(asked, folder, options)
    request = AdaptJobRequest(
        adapt=asked,
        device=check_device(options["device"]) if queue == "here" else options["device"],
        data=data and data.absolute(),
        folder=str(folder.absolute()) if folder else None,
        trust_code=options["trust_code"],
        **_limit(options["time_limit"]),
    )
    run_where("adapt", start, entry, request, queue=queue, wait=wait, shape=shape)


def _limit(minutes: float | None) -> dict[str, Any]:
    from auditor.errors import UsageError

    if minutes is not None and not math.isfinite(minutes):
        raise UsageError(f"--time-limit: expected a number of minutes, got {minutes}")
    return {} if minutes is None else {"seconds": minutes * 60}


def _request(start: str, options: dict[str, Any]) -> "AdaptRequest":
    """Raises UsageError for what makes no sense, before there is a job."""
    from dataclasses import replace

    from auditor.data import CLASSES
    from auditor.errors import InputError, UsageError
    from auditor.records.adaptations import AdaptRequest, Tuning

    tuning = Tuning(**{name: options[name] for name in ("layers", "head", "beta", "lr")}, steps=options["tuning_steps"])
    same = ("shots", "seeds", "source_images", "held_out", "norm", "eps", "protocol")
    assignment = _assignment(options)
    request = AdaptRequest(assignment=assignment, start=start, tuning=tuning, **{name: options[name] for name in same})
    try:
        if request.trains:
            recipe = request.training
            attack: dict[str, Any] = {"norm": request.norm}
            if recipe.method != "standard":
                attack |= {"eps": request.eps, "step_size": 2 * request.eps / recipe.steps}
            recipe = replace(recipe, epochs=options["epochs"] or recipe.epochs, **attack)
            request = replace(request, recipe=recipe)
        elif options["epochs"]:
            raise UsageError("--epochs is of a source model that is trained here, not of one that is given")
        if assignment.dataset in CLASSES:
            request = replace(request, assignment=assignment.resolved(CLASSES[assignment.dataset]))
        request.check()
    except InputError as error:
        raise UsageError(str(error)) from error
    return request


def _assignment(options: dict[str, Any]) -> "Assignment":
    from auditor.errors import UsageError
    from auditor.records.assignments import Assignment, find_preset

    own = {name: options[name] for name in ("superclasses", "source", "target")}
    if not any(own.values()):
        if options["dataset"]:
            raise UsageError("--dataset goes with --superclasses, --source and --target; a preset has its own")
        return find_preset(options["preset"] or "fashion-mnist")
    if options["preset"] or not all(own.values()):
        missing = ", ".join(f"--{name}" for name, value in own.items() if not value)
        raise UsageError(
            f"expected --superclasses, --source and --target, or --preset; missing: {missing or 'one of them'}"
        )
    return Assignment.parse(options["dataset"] or "fashion_mnist", *own.values())


def _entry(asked: "AdaptRequest", folder: Path | None, options: dict[str, Any]) -> "ZooEntry":
    from auditor.cli.boost import find_entry
    from auditor.errors import UsageError

    entry = find_entry(asked.start, folder, trust_code=options["trust_code"])
    if entry.dataset != asked.assignment.dataset:
        raise UsageError(
            f"{entry.model} is a model of {entry.dataset}, the classes are of {asked.assignment.dataset}: "
            "name its own by --dataset, --superclasses, --source and --target"
        )
    return entry
