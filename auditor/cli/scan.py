"""``auditor scan``: audit a zoo here and now, and print what was found."""

import signal
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from auditor.cli.gates import gate_options
from auditor.cli.options import FORMAT, PROTOCOL, Eps
from auditor.cli.saving import SAVE
from auditor.cli.sources import auditable, choose, chosen, open_zoo

if TYPE_CHECKING:
    from auditor.records import ZooEntry


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
@click.option("--samples", type=click.IntRange(1), metavar="N", help="The first N test images, for any protocol.")
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
    type=click.FloatRange(0, min_open=True),
    metavar="MINUTES",
    help="Of one model; by default 1 hour under screen, 6 under quick, 48 under standard, 2 weeks under full.",
)
@click.option(
    "--memory-limit",
    type=click.FloatRange(0, min_open=True),
    metavar="GIB",
    help="Of one model; by default nine tenths of the machine's.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be done, and estimate how long it takes.")
@click.option("--force", is_flag=True, help="Repeat audits that are done already.")
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
    **options: Any,
) -> None:
    """Audit every model of a zoo: linearize, cluster, attack, store.

    DIR is the folder of a local zoo, or of RobustBench's models. Each model is measured in a process of its own,
    within limits of time and memory.

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

    \b
    Exit codes: 0 all done; 1 some models failed; 2 usage; 3 database or data not usable;
    4 a gate was not met, whether or not some models failed; 130 interrupted.
    """
    for kind in ("SIGTERM", "SIGHUP"):  # a polite kill, or a closed session, is an interrupt: nothing is lost
        if hasattr(signal, kind) and signal.getsignal(getattr(signal, kind)) != signal.SIG_IGN:  # as nohup sets it
            signal.signal(getattr(signal, kind), signal.default_int_handler)

    from auditor.child import InChild, Limits
    from auditor.cli.gates import check_gates, make_gates
    from auditor.cli.plan import as_rows, print_plan
    from auditor.cli.progress import ScanProgress, say
    from auditor.cli.report import print_association
    from auditor.cli.saving import prepare, say_saved
    from auditor.cli.tables import print_json, print_results
    from auditor.config import settings
    from auditor.db.results import Filter, list_results
    from auditor.db.session import open_database
    from auditor.db.store import Store
    from auditor.jobs import plan_scan, run_scan
    from auditor.zoo import check_installed

    gates, adversarials = make_gates(options), prepare(options)
    check_installed(source)
    zoo = open_zoo(source, folder, trust_code=trust_code)
    filters = ("models", "match", "dataset", "threat_model", "pretrained_only", "limit")
    entries = choose(zoo, **{name: options[name] for name in filters})
    entries = [_under(entry, norm, eps) for entry in auditable(zoo, entries, options["models"])]
    request = _request(options, adversarials)
    limits = Limits.of(options["protocol"], options["time_limit"], options["memory_limit"])
    engine = open_database(settings().database_url)
    here = any(zoo.missing(entry) is None for entry in entries)
    measure = InChild(limits=limits, preload=zoo.preload if here else (), threads=settings().threads)
    if dry_run:
        with ScanProgress(len(entries)) as progress:
            probe = replace(measure, task="auditor.estimate.estimate")
            plan = plan_scan(Store(engine), zoo, entries, request, progress, probe)
        print_json(as_rows(plan)) if shape == "json" else print_plan(plan)
        return
    with ScanProgress(len(entries)) as progress:
        outcome = run_scan(Store(engine), zoo, source, entries, request, progress, measure)
    rows = list_results(engine, Filter(scan=outcome.scan_id))
    if shape == "json":
        print_json(rows)
    else:
        print_results(rows)
        print_association(rows)
        say(
            f"scan {outcome.scan_id}: {len(outcome.done)} audited, {len(outcome.reused)} done before, "
            f"{len(outcome.failed)} failed; stored in {engine.url.render_as_string()}"
        )
    say_saved(adversarials, rows, outcome.reused)
    check_gates(engine, gates, outcome.scan_id, rows)
    if outcome.failed:
        click.get_current_context().exit(1)


def _under(entry: "ZooEntry", norm: str | None, eps: float | None) -> "ZooEntry":
    """The entry under the threat model that was asked for.

    Raises:
        UsageError: another norm without a radius of its own, or a radius that no image has room for.
    """
    from auditor.errors import UsageError

    if norm not in (None, entry.norm) and eps is None:
        raise UsageError(f"--norm {norm} needs --eps: {entry.model}'s own radius is one of {entry.norm}")
    changed = replace(entry, norm=norm or entry.norm, eps=eps or entry.eps)
    if changed.norm == "Linf" and changed.eps > 1:
        raise UsageError(f"expected an Linf radius of at most 1, in units of the [0, 1] pixels, got {changed.eps:g}")
    return changed if norm in (None, entry.norm) else replace(changed, threat_model=norm)


def _request(options: dict[str, Any], adversarials: Path | None) -> Any:
    """The options as a request."""
    from auditor.config import settings
    from auditor.devices import check_device
    from auditor.jobs import ScanRequest
    from auditor.records import AuditRequest

    audit = AuditRequest(
        protocol=options["protocol"],
        linearization=options["linearization"],
        sketch=options["sketch"],
        seed=options["seed"],
        device=check_device(options["device"]),
        batch_size=settings().batch_size,
    )
    return ScanRequest.make(
        audit, samples=options["samples"], force=options["force"], data=options["data"], adversarials=adversarials
    )
