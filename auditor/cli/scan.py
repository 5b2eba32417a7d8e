"""``auditor scan``: audit a zoo, in this process or by workers, and print the results."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from auditor.cli import options as shared
from auditor.cli.choice import Choice
from auditor.cli.gates import GateOptions, gate_options
from auditor.cli.model_filters import LIMIT, MODELS, ModelFilters, keep_auditable, model_filters
from auditor.cli.number_types import GIBS, MINUTES, Count, FiniteRange
from auditor.cli.output.adversarials import SAVE
from auditor.cli.output.reports import ReportOptions, report_options
from auditor.errors import ExitCode
from auditor.records.certificates import CERTIFICATE_METHODS
from auditor.records.schedules import Claim


class RunClaim(click.ParamType[Claim]):
    """The claim of a schedule's run, as `auditor beat` passes it on."""

    name = "claim"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Claim:
        try:
            claim = Claim.parse(value)
        except (ValueError, OverflowError):
            self.fail(f"expected the claim of a schedule's run, got {value!s:.60}", param, ctx)
        return replace(claim, run_id=Count().convert(claim.run_id, param, ctx))


@dataclass(frozen=True, kw_only=True)
class ScanOptions:
    """The options of ``auditor scan``; ``claim`` is that of a schedule's run, which `auditor beat` starts."""

    source: str
    filters: ModelFilters
    norm: str | None
    eps: float | None
    audit: shared.AuditOptions
    place: shared.PlaceOptions
    dry_run: bool
    reverify: int | None
    claim: Claim | None
    gates: GateOptions
    save_adversarials: Path | None
    mlflow_uri: str | None
    reports: ReportOptions
    output_format: str


@click.command("scan")
@model_filters
@LIMIT
@MODELS
@click.option(
    "--protocol",
    type=shared.PROTOCOL,
    default="quick",
    show_default=True,
    help="Select what to measure. screen: neither data nor attacks. quick: FGSM and PGD-20 on 256 images. "
    "standard: AutoAttack on 1,000 images. strong: a search that breaks about as much in a fraction of the time. "
    "full: AutoAttack on the complete test set.",
)
@shared.SAMPLES
@click.option("--norm", type=shared.ATTACK_NORM, help="Attack in this norm instead of the zoo entry's norm.")
@click.option("--eps", type=shared.Eps(), help="Attack within this radius instead of the zoo entry's: 0.1 or 8/255.")
@click.option(
    "--linearization",
    type=Choice(["remove", "fold"]),
    default="remove",
    show_default=True,
    help="Choose what the linearized network does with batch norm: remove leaves it out, as in the paper; fold "
    "keeps its affine map.",
)
@click.option(
    "--sketch",
    type=click.IntRange(8, 65_536),
    metavar="R",
    help="Estimate C from the forward passes of R random images instead of computing it, for models with many classes. "
    "The result is stored as an estimate, with the standard error of the gap. The error of an entry c of C is about "
    "(1 - c²) / √R.",
)
@click.option(
    "--triage",
    type=FiniteRange(0, 1),
    metavar="P",
    help="Screen every model first, and attack only those whose screening score is at least P, and a random tenth of "
    "the others, which says how many robust models P misses. A model that is not attacked is stored as screened.",
)
@click.option(
    "--targeted",
    type=Choice(["superclass"]),
    help="Also attack each correctly classified image towards up to 9 wrong classes, and store how many become a class "
    "of their own superclass, and how many one of another.",
)
@click.option(
    "--curve",
    is_flag=True,
    help="Also search for the smallest perturbation that breaks each image, and store its size: the robust accuracy at "
    "every radius up to four times eps, and the median critical radius.",
)
@click.option(
    "--certify",
    type=Choice(CERTIFICATE_METHODS),
    help="Also prove robustness, beside attacking. bounds: intervals and lines through a small network; the share of "
    "certified images is a lower bound of the robust accuracy. smoothing: randomized smoothing, in L2 only; it "
    "certifies the smoothed model, which is another classifier.",
)
@click.option(
    "--sigma",
    type=FiniteRange(0, min_open=True),
    help="Use noise of this standard deviation for --certify smoothing, in [0, 1] pixels. By default: half of ε.",
)
@click.option(
    "--mixed-precision",
    is_flag=True,
    help="With --protocol strong: let the search take its gradients in bfloat16, for GPUs that multiply faster in it. "
    "Float32 decides what is broken, and the result has an identity of its own.",
)
@shared.ATTACK
@shared.TRANSFER_FROM
@shared.TRANSFER_ZOO
@shared.SEED
@click.option(
    "--data",
    type=click.Path(exists=True, path_type=Path),
    help="Read the data set's images from this path: torchvision's layout, one folder per class, idx "
    "files or an .npz file.",
)
@shared.DEVICE
@shared.TRUST_CODE
@click.option(
    "--time-limit",
    type=FiniteRange(0, min_open=True, most=MINUTES),
    metavar="MINUTES",
    help="Limit the time of each model. By default: 1 hour under screen, 6 hours under quick, 48 hours under "
    "standard and strong, 2 weeks under full.",
)
@click.option(
    "--memory-limit",
    type=FiniteRange(0, min_open=True, most=GIBS),
    metavar="GIB",
    help="Limit the memory of each model. By default: nine tenths of the machine's memory.",
)
@shared.QUEUE
@shared.WAIT
@shared.JOBS
@click.option("--dry-run", is_flag=True, help="Print what the scan would do and how long it would take; run nothing.")
@click.option("--force", is_flag=True, help="Repeat audits that are already done.")
@click.option(
    "--reverify",
    type=Count(),
    metavar="N",
    help="Repeat N done audits, those verified longest ago. A result that differs is flagged not_reproduced.",
)
@click.option("--run", "claim", type=RunClaim(), hidden=True)
@gate_options
@SAVE
@click.option(
    "--mlflow",
    "mlflow_uri",
    metavar="URI",
    help="Log the results to this MLflow server (http://HOST:5000), sqlite:///FILE or folder: one run for each model "
    "and setting, one step for each scan.",
)
@report_options
@shared.FORMAT
@shared.parsed_as(ScanOptions)
def command(options: ScanOptions) -> None:
    """Audit every model of a zoo: linearize, cluster, attack and store it.

    SOURCE is demo, robustbench, timm, torchvision, hub, local or checkpoint.
    DIR is the folder of a local zoo, of RobustBench's models or of the hub's snapshots. For hub it may also be a
    repository, OWNER/NAME. Each model is audited in its own process, with limits on time and memory.

    If a broker is configured (AUDITOR_BROKER_URL), the audits are sent to the workers (`auditor worker`) and the
    command returns. Add --wait to follow them, or --here to run them in this process. Without a broker, the audits run
    in this process.

    An audit that is already done with the same identity (weights, data, protocol, seed, …) is reused. If a model fails,
    it is stored as failed with the reason, and the scan continues.

    \b
    Examples:
      auditor scan demo
      auditor scan demo --protocol screen
      auditor scan demo --model at-eps0.10 --protocol standard --samples 64
      auditor scan demo --match 'at-*' --eps 8/255 --format json
      auditor scan demo --fail-under 45% --fail-on-regression
      auditor scan demo --fail-under 45% --sequential
      auditor scan local ./my-zoo --fail-under 45% --sarif robustness.sarif --junit robustness.xml
      auditor scan demo --fail-on-regression --sequential
      auditor scan demo --curve --fail-under-at 60%@0.05 --fail-under-area 0.08
      auditor scan robustbench --dataset cifar10 --threat-model Linf --protocol standard
      auditor scan timm --protocol screen --match '*_nano*' --limit 20 --pretrained-only --sketch 64
      auditor scan torchvision --model resnet50.IMAGENET1K_V2 --data /data/imagenet
      auditor scan hub google/vit-base-patch16-224 --data /data/imagenet
      auditor scan hub ./my-snapshot --protocol screen
      auditor scan demo --targeted superclass
      auditor scan demo --model at-eps0.10 --curve
      auditor scan demo --model saturated --attack my_attacks.py:rescaled --trust-code
      auditor scan demo --transfer-from demo:standard
      auditor scan demo --threat-model corruptions
      auditor scan demo --certify bounds --eps 0.02
      auditor scan demo --model noise --norm L2 --eps 0.5 --certify smoothing --sigma 0.25
      auditor scan local ./my-zoo --dry-run
      auditor scan demo --here --jobs 2
      auditor scan local ./my-zoo --protocol standard --triage 0.2
      auditor scan robustbench --dataset cifar10 --device cuda --queue --wait
      auditor scan demo --mlflow http://127.0.0.1:5000

    Exit codes: 0 all audits are done; 1 some models failed or were cancelled; 2 wrong usage; 3 the database or a data
    set is not usable; 4 a gate was not met, even if some models failed; 130 interrupted.
    """
    from auditor.cli.db import open_database
    from auditor.cli.gates import find_unmet, require_met
    from auditor.cli.output.adversarials import prepare, say_saved
    from auditor.cli.output.progress import say
    from auditor.cli.output.reports import check_files, write_reports
    from auditor.cli.run_scan import (
        decide,
        print_dry_run,
        run_where,
        set_up_logs_and_traces,
        sigterm_interrupts,
        start_children,
    )
    from auditor.scans.threat_models import check_options, entries_under
    from auditor.zoo import check_installed, find_source

    sigterm_interrupts()
    set_up_logs_and_traces()
    audit, gates = options.audit, options.gates
    gates.check_protocol(audit.protocol, curve=audit.curve)
    adversarials = prepare(options.save_adversarials, audit.protocol, dry_run=options.dry_run)
    check_files(options.reports)
    needed = gates.any or options.reports.any or options.mlflow_uri is not None
    where = decide(options.place, audit.device, minutes=audit.time_limit, needs_results=needed)
    if options.mlflow_uri is not None:
        from auditor.cli.output.mlflow import check_server

        check_server(options.mlflow_uri)
    check_installed(options.source)
    zoo = find_source(options.source, audit.folder, trust_code=audit.trust_code)
    entries = keep_auditable(zoo, options.filters.select_entries(zoo), options.filters.models)
    threat_model = options.filters.threat_model
    entries = entries_under(entries, options.norm, options.eps, threat_model, audit.data and audit.data.absolute())
    start_children(where, zoo, entries)  # they import torch while this process imports SQLAlchemy

    from auditor.cli.output.scan import print_outcome
    from auditor.db.store import Store
    from auditor.results.reverify import longest_unverified

    request = audit.make_request(where.queue, adversarials, gates)
    for left_out in check_options(entries, request.measurement):
        say(left_out)
    engine = open_database()
    store = Store(engine)
    if options.dry_run:
        print_dry_run(where, store, zoo, entries, request, options.output_format)
        return
    if options.reverify:
        names = longest_unverified(engine, entries, request.to_json(), options.reverify)
        request = replace(request, reverify=tuple(names))
    outcome = run_where(where, store, zoo, options.source, entries, request, options.claim)
    rows = print_outcome(engine, outcome, options.output_format, audit.triage)
    if not outcome.ended:
        return
    say_saved(adversarials, rows, outcome.reused)
    if options.mlflow_uri is not None:
        from auditor.cli.output.mlflow import log_after_scan

        log_after_scan(engine, outcome.scan_id, options.mlflow_uri)
    unmet = find_unmet(engine, gates, outcome.scan_id, rows)
    write_reports(options.reports, rows, gates.names, unmet, audit.folder if options.source == "local" else None)
    require_met(unmet, len(rows))
    if outcome.failed or outcome.cancelled:
        click.get_current_context().exit(ExitCode.FAILED)
