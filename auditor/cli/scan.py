"""``auditor scan``: audit a zoo, here and now or by workers, and print what was found."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from auditor.cli.gates import gate_options
from auditor.cli.model_filters import auditable, choose, chosen
from auditor.cli.numbers import GIBS, MINUTES, Count, FiniteRange
from auditor.cli.options import FORMAT, PROTOCOL, Eps
from auditor.cli.output.adversarials import SAVE
from auditor.cli.run_scan import where_options
from auditor.errors import ExitCode


@click.command("scan")
@chosen
@click.option("--model", "models", multiple=True, metavar="NAME", help="Only this model; repeatable.")
@click.option(
    "--protocol",
    type=PROTOCOL,
    default="quick",
    show_default=True,
    help="screen: no data, no attack. quick: FGSM and PGD-20 on 256 images. standard: AutoAttack on 1,000. "
    "full: AutoAttack on the whole test set.",
)
@click.option("--samples", type=Count(), metavar="N", help="The first N test images, for any protocol.")
@click.option("--norm", type=click.Choice(["Linf", "L2"]), help="Attack in this norm, not the zoo entry's own.")
@click.option("--eps", type=Eps(), help="Attack with this radius: 0.1 or 8/255.")
@click.option(
    "--linearization",
    type=click.Choice(["remove", "fold"]),
    default="remove",
    show_default=True,
    help="What becomes of batch norm: removed as in the paper, or folded.",
)
@click.option(
    "--sketch",
    type=click.IntRange(8, 65_536),
    metavar="R",
    help="Estimate C from R random images, forward passes only, instead of computing it: for many classes. Shown and "
    "stored as an estimate, with the standard error of the gap; an entry c of C is off by about (1 - c²) / √R.",
)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, help="Of every random draw.")
@click.option(
    "--data",
    type=click.Path(exists=True, path_type=Path),
    help="Where the data set's images lie: torchvision's layout, a folder a class, idx files or an .npz file.",
)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N.")
@click.option("--trust-code", is_flag=True, help="Run the Python code that a local zoo's architectures are made of.")
@click.option(
    "--time-limit",
    type=FiniteRange(0, min_open=True, most=MINUTES),
    metavar="MINUTES",
    help="Of one model; by default 1 hour under screen, 6 under quick, 48 under standard, 2 weeks under full.",
)
@click.option(
    "--memory-limit",
    type=FiniteRange(0, min_open=True, most=GIBS),
    metavar="GIB",
    help="Of one model; by default nine tenths of the machine's.",
)
@where_options
@click.option("--dry-run", is_flag=True, help="Only say what would be done, and estimate how long it takes.")
@click.option("--force", is_flag=True, help="Repeat audits that are done already.")
@click.option(
    "--reverify",
    type=Count(),
    metavar="N",
    help="Measure N of the done audits again, those measured longest ago: the same must come out, or the result "
    "is flagged not_reproduced.",
)
@click.option("--run", "run_id", type=Count(), hidden=True)  # of a schedule, by `auditor beat`
@gate_options
@SAVE
@FORMAT
def command(
    source: str,
    folder: Path | None,
    norm: str | None,
    eps: float | None,
    shape: str,
    dry_run: bool,
    trust_code: bool,
    reverify: int | None,
    run_id: int | None,
    **options: Any,
) -> None:
    """Audit every model of a zoo: linearize, cluster, attack, store.

    DIR is the folder of a local zoo, or of RobustBench's models. Each model is measured in a process of its own,
    within limits of time and memory.

    With a broker (AUDITOR_BROKER_URL) the audits go into the queue of the workers (`auditor worker`), and the command
    returns; --wait follows them, --here runs them in this process instead, as is the rule without a broker.

    What is done already under the same identity (weights, data, protocol, seed, …) is not done again. A model that
    fails is stored as failed with its reason, and the scan goes on.

    \b
    Examples:
      auditor scan demo
      auditor scan demo --protocol screen
      auditor scan demo --model at-eps0.10 --protocol standard --samples 64
      auditor scan demo --match 'at-*' --eps 8/255 --format json
      auditor scan demo --fail-under 45% --fail-on-regression
      auditor scan robustbench --dataset cifar10 --threat-model Linf --protocol standard
      auditor scan timm --protocol screen --match '*_nano*' --limit 20 --pretrained-only --sketch 64
      auditor scan local ./my-zoo --dry-run
      auditor scan demo --here --jobs 2
      auditor scan robustbench --dataset cifar10 --device cuda --queue --wait

    \b
    Exit codes: 0 all done; 1 some models failed or were cancelled; 2 usage; 3 database or data not
    usable; 4 a gate was not met, whether or not some models failed; 130 interrupted.
    """
    from auditor.cli.gates import check_gates, make_gates
    from auditor.cli.output.adversarials import prepare, say_saved
    from auditor.cli.run_scan import decide, dry, log_scan, run_where, sigterm_interrupts, start_children
    from auditor.cli.scan_request import make_request
    from auditor.config import settings
    from auditor.scans.request import under
    from auditor.zoo import check_installed, find_source

    sigterm_interrupts()
    log_scan()
    gates, adversarials = make_gates(options), prepare(options)
    where = decide(options, gated=gates.any)
    check_installed(source)
    zoo = find_source(source, folder, trust_code=trust_code)
    filters = ("models", "match", "dataset", "threat_model", "pretrained_only", "limit")
    entries = choose(zoo, **{name: options[name] for name in filters})
    entries = [under(entry, norm, eps) for entry in auditable(zoo, entries, options["models"])]
    start_children(where, zoo, entries)  # while what follows imports SQLAlchemy and opens the database

    from auditor.cli.output.scan import print_outcome
    from auditor.db.session import open_database
    from auditor.db.store import Store
    from auditor.results.reverify import longest_unverified

    request = make_request(options, folder, adversarials, trust_code=trust_code, queue=where.queue)
    engine = open_database(settings().database_url)
    store = Store(engine)
    if dry_run:
        dry(where, store, zoo, entries, request, shape)
        return
    if reverify:
        request = replace(request, reverify=tuple(longest_unverified(engine, entries, request.to_json(), reverify)))
    outcome = run_where(where, store, zoo, source, entries, request, run_id)
    rows = print_outcome(engine, outcome, shape)
    if not outcome.ended:
        return
    say_saved(adversarials, rows, outcome.reused)
    check_gates(engine, gates, outcome.scan_id, rows)
    if outcome.failed or outcome.cancelled:
        click.get_current_context().exit(ExitCode.FAILED)
