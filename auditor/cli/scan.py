"""``auditor scan``: audit a zoo here and now, and print what was found."""

import signal
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from auditor.cli.options import FORMAT, PROTOCOL, Eps

if TYPE_CHECKING:
    from auditor.records import ZooEntry


@click.command("scan")
@click.argument("source", type=click.Choice(["demo", "local"]))
@click.argument("folder", required=False, type=click.Path(file_okay=False, path_type=Path))
@click.option("--model", "models", multiple=True, metavar="NAME", help="Only this model; repeatable.")
@click.option("--match", metavar="GLOB", help="Only models whose name matches, e.g. 'at-*'.")
@click.option("--dataset", help="Only models of this data set.")
@click.option("--threat-model", help="Only models of this threat model, e.g. Linf.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Only the first N models.")
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
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, help="Of every random draw.")
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the data set's files, for more images than are shipped.",
)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N.")
@click.option("--trust-code", is_flag=True, help="Let a local zoo's models run the Python code in its folder.")
@click.option("--force", is_flag=True, help="Repeat audits that are done already.")
@FORMAT
def command(
    source: str,
    folder: Path | None,
    models: tuple[str, ...],
    match: str | None,
    dataset: str | None,
    threat_model: str | None,
    limit: int | None,
    norm: str | None,
    eps: float | None,
    shape: str,
    **options: Any,
) -> None:
    """Audit every model of a zoo: linearize, cluster, attack, store.

    What is done already under the same identity (weights, data, protocol, seed, …) is not done again. A model that
    fails is stored as failed with its reason, and the scan goes on.

    \b
    Examples:
      auditor scan demo
      auditor scan demo --protocol screen
      auditor scan demo --model at-eps0.10 --protocol standard --samples 64
      auditor scan demo --match 'at-*' --eps 8/255 --format json
      auditor scan local my-models --protocol screen

    \b
    Exit codes: 0 all done; 1 some models failed; 2 usage; 3 database or data not usable; 130 interrupted.
    """
    for kind in ("SIGTERM", "SIGHUP"):  # a polite kill, or a closed session, is an interrupt: nothing is lost
        if hasattr(signal, kind) and signal.getsignal(getattr(signal, kind)) != signal.SIG_IGN:  # as nohup sets it
            signal.signal(getattr(signal, kind), signal.default_int_handler)

    from auditor.cli.progress import ScanProgress, say
    from auditor.cli.report import print_association
    from auditor.cli.tables import print_json, print_results
    from auditor.config import settings
    from auditor.db.results import Filter, list_results
    from auditor.db.session import open_database
    from auditor.db.store import Store
    from auditor.zoo import find_source, select
    from auditor.zoo.local import LocalZoo

    zoo = find_source(source, settings().demo_weights if source == "demo" else folder, options["trust_code"])
    entries = select(zoo.entries(), models=models, match=match, dataset=dataset, threat_model=threat_model, limit=limit)
    if isinstance(zoo, LocalZoo):
        zoo.check(entries)
    entries = [_under(entry, norm, eps) for entry in entries]
    engine = open_database(settings().database_url)
    request = _request(options)

    from auditor.jobs import run_scan, set_threads

    set_threads(settings().threads)
    with ScanProgress(len(entries)) as progress:
        outcome = run_scan(Store(engine), zoo, source, entries, request, progress)
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


def _request(options: dict[str, Any]) -> Any:
    """The options as a request; imports torch."""
    from auditor.audit import AuditRequest
    from auditor.config import settings
    from auditor.devices import check_device
    from auditor.jobs import ScanRequest

    audit = AuditRequest(
        protocol=options["protocol"],
        linearization=options["linearization"],
        seed=options["seed"],
        device=check_device(options["device"]),
        batch_size=settings().batch_size,
    )
    data = options["data"] or settings().fashion_mnist
    return ScanRequest.make(audit, options["samples"], options["force"], data)
