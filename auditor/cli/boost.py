"""``auditor boost``: fine-tune a model for robustness, audit it before and after, and say what changed."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from auditor.cli.numbers import MINUTES, Count, Finite, FiniteRange
from auditor.cli.options import FORMAT, PROTOCOL, Eps
from auditor.records.boosts import BOOST_PROTOCOL, BoostOptions

if TYPE_CHECKING:
    from auditor.records import ZooEntry
    from auditor.trainings.boost import BoostRequest


@click.command("boost")
@click.argument("model", metavar="MODEL")
@click.option(
    "--method",
    type=click.Choice(["at", "trades"]),
    default=BoostOptions.method,
    show_default=True,
    help="PGD adversarial training (Madry et al., 2018), or TRADES (Zhang et al., 2019).",
)
@click.option(
    "--regularizer",
    type=click.Choice(["logits", "linear", "none"]),
    default=BoostOptions.regularizer,
    show_default=True,
    help="What pulls sibling classes together: their logits, as in the paper; or the linearized network's templates.",
)
@click.option(
    "--beta", type=Finite(), default=BoostOptions.beta, show_default=True, help="The regularizer's weight; 0 for none."
)
@click.option("--epochs", type=click.IntRange(1, 100_000), default=BoostOptions.epochs, show_default=True)
@click.option("--eps", type=Eps(), help="Train and audit within this radius: 0.1 or 8/255; by default the model's own.")
@click.option("--norm", type=click.Choice(["Linf", "L2"]), help="In this norm; by default the model's own.")
@click.option(
    "--steps",
    type=click.IntRange(1, 1000),
    default=BoostOptions.steps,
    show_default=True,
    help="PGD steps of the attack.",
)
@click.option("--step-size", type=Eps(), help="Of those; by default 2.5 eps / steps.")
@click.option(
    "--lr", type=Finite(), default=BoostOptions.lr, show_default=True, help="The peak of SGD's one-cycle schedule."
)
@click.option("--batch-size", type=click.IntRange(2, 65_536), default=BoostOptions.batch_size, show_default=True)
@click.option("--weight-decay", type=FiniteRange(0, 1), default=BoostOptions.weight_decay, show_default=True)
@click.option(
    "--ema", type=FiniteRange(0, 1, max_open=True), default=BoostOptions.ema, show_default=True,
    help="Decay of the moving average of the weights, which is what is kept; 0 for none.",
)  # fmt: skip
@click.option(
    "--amp/--no-amp", default=BoostOptions.amp, help="bfloat16 where it is safe, on a GPU; without effect on a CPU."
)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, help="Of every random draw.")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="The training images: torchvision's layout, a folder a class, idx files or an .npz file.",
)
@click.option("--test-data", type=click.Path(path_type=Path), help="The test images of the audits.")
@click.option("--zoo", "folder", type=click.Path(path_type=Path), help="The folder of a local zoo.")
@click.option(
    "--protocol",
    type=PROTOCOL,
    default=BOOST_PROTOCOL,
    show_default=True,
    help="Of the audits before and after: quick, standard or full.",
)
@click.option("--samples", type=Count(), metavar="N", help="The first N test images, for any protocol.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N.")
@click.option("--trust-code", is_flag=True, help="Run the Python code that a local zoo's architectures are made of.")
@click.option(
    "--time-limit",
    type=FiniteRange(0, min_open=True, most=MINUTES),
    metavar="MINUTES",
    help="Of the training; by default 2 days.",
)
@click.option("--queue/--here", "queued", default=None, help="Leave it to a worker, or run it in this process.")
@click.option("--wait", is_flag=True, help="With --queue: follow it until it has ended.")
@FORMAT
def command(model: str, folder: Path | None, queued: bool | None, wait: bool, shape: str, **options: Any) -> None:
    """Fine-tune MODEL to make it more robust; audit it before and after; keep the checkpoint.

    MODEL is a model of any zoo, for example demo:standard, local:NAME with --zoo DIR, or checkpoint:7. Part of the
    training images is held out; the best epoch by PGD-20 accuracy on those is kept, and training ends early where it
    goes wrong. The test images are for the two audits alone, which see the same ones under the same protocol. Whether
    the checkpoint is more robust is said by McNemar's test, and where it is not, that is what the checkpoint says.

    Interrupted or killed, `auditor trainings resume ID` goes on from the last epoch.

    \b
    Examples:
      auditor boost demo:standard
      auditor boost demo:at-eps0.10 --regularizer none --epochs 10 --lr 0.01
      auditor boost demo:standard --method trades --beta 0.5 --seed 1 --format json
      auditor boost local:my-model --zoo ./my-zoo --data ./train.npz --protocol full
      auditor boost robustbench:cifar10/Linf/Wong2020Fast --device cuda --queue --wait

    \b
    Exit codes: 0 the boost is done, whether or not it helped; 1 it failed or was cancelled; 2 usage; 3 database or
    broker not usable; 130 interrupted.
    """
    from auditor.cli.run_scan import log_scan, sigterm_interrupts
    from auditor.cli.run_training import run_where, where_of
    from auditor.scans.request import under

    sigterm_interrupts()
    log_scan()
    queue = where_of(queued, wait, options["device"])
    entry = under(find_entry(model, folder, trust_code=options["trust_code"]), options["norm"], options["eps"])
    request = _request(entry, folder, options, queue)
    run_where("boost", entry.model, entry, request, queue=queue, wait=wait, shape=shape)


def find_entry(model: str, folder: Path | None, *, trust_code: bool) -> "ZooEntry":
    """The model that a command names, ``source:id``.

    Raises:
        UsageError: there is no such source or model.
    """
    from auditor.cli.model_filters import auditable, choose
    from auditor.errors import UsageError
    from auditor.zoo import SOURCES, check_installed, find_source

    source, separator, _ = model.partition(":")
    if not separator or source not in SOURCES:
        raise UsageError(f"expected a model as SOURCE:NAME, with a source of {', '.join(SOURCES)}; got {model!r}")
    check_installed(source)
    zoo = find_source(source, folder, trust_code=trust_code)
    entries = choose(zoo, models=(model,))
    (entry,) = auditable(zoo, entries, (model,))
    return entry


def _request(entry: "ZooEntry", folder: Path | None, options: dict[str, Any], queue: str) -> "BoostRequest":
    from auditor.cli.scan_request import make_request
    from auditor.errors import UsageError
    from auditor.trainings.boost import BoostRequest

    if options["protocol"] == "screen":
        raise UsageError(
            "screen attacks nothing, so that it cannot say whether a boost helped: quick, standard or full"
        )
    for option in ("data", "test_data"):
        if options[option] is not None and queue == "here" and not options[option].exists():
            raise UsageError(f"--{option.replace('_', '-')}: there is nothing at {options[option]}")
    recipe = BoostOptions.select(options).make_recipe(eps=entry.eps, norm=entry.norm)
    scan = make_request(
        {
            **{name: options[name] for name in ("protocol", "samples", "seed", "device")},
            **{"linearization": "remove", "sketch": None, "time_limit": None, "memory_limit": None, "force": False},
            "data": options["test_data"],
        },
        folder,
        None,
        trust_code=options["trust_code"],
        queue=queue,
    )
    if options["time_limit"] is not None and not math.isfinite(options["time_limit"]):
        raise UsageError(f"--time-limit: expected a number of minutes, got {options['time_limit']}")
    limit = {} if options["time_limit"] is None else {"training_seconds": options["time_limit"] * 60}
    training = options["data"] and options["data"].absolute()
    return BoostRequest(recipe=recipe, scan=scan, training=training, **limit)
