"""``auditor results``: list, show, compare, export and plot stored results."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from auditor.cli.choice import Choice
from auditor.cli.compare import compare
from auditor.cli.complete import complete_result
from auditor.cli.group import Group
from auditor.cli.listing import Listing, list_options
from auditor.cli.options import FIGURE, FORMAT, PROTOCOL, RESULT_NORM, ROW_ID, TRUST_CODE, Eps, Time
from auditor.records.results import MEASURES, ResultRow
from auditor.text.numbers import counted

if TYPE_CHECKING:
    from auditor.db.results import Detail
    from auditor.records.results import Measure

BY_RANK = "-robust_accuracy"
AUDIT_ID = click.option("--id", "audit_id", type=ROW_ID, help="Select one audit by its ID, which --format json prints.")


def result_filters(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that select results; their names are the fields of ``auditor.db.results.Filter``."""
    for option in reversed(
        (
            click.option("--source", help="Select only models of this source, e.g. demo."),
            click.option(
                "--model", shell_complete=complete_result, help="Select only this model, e.g. demo:standard."
            ),
            click.option("--match", metavar="GLOB", help="Select only models whose name matches, e.g. 'demo:at-*'."),
            click.option("--dataset", help="Select only models for this data set."),
            click.option("--protocol", type=PROTOCOL, help="Select only results of this protocol."),
            click.option(
                "--norm", type=RESULT_NORM, help="Select only results under this norm, or under these corruptions."
            ),
            click.option("--eps", type=Eps(), help="Select only results with this radius: 0.1 or 8/255."),
            click.option(
                "--architecture", metavar="TEXT",
                help="Select only models whose architecture contains this text, e.g. resnet.",
            ),
            click.option(
                "--training", metavar="TEXT", help="Select only models whose training contains this text, e.g. trades."
            ),
            click.option(
                "--since", type=Time(), metavar="TIME",
                help="Select only audits that started at this time (UTC) or later: 2026-11-28 or 2026-11-28T02:00.",
            ),
            click.option(
                "--until", type=Time(), metavar="TIME", help="Select only audits that started before this time (UTC)."
            ),
            click.option(
                "--linearization", type=Choice(["remove", "fold"]),
                help="Select only results with this treatment of batch norm.",
            ),
            click.option(
                "--correlation", type=Choice(["exact", "sketch"]),
                help="Select only results whose C is computed exactly, or estimated by a sketch.",
            ),
            click.option(
                "--status", type=Choice(["done", "failed", "cancelled", "queued", "running"]),
                help="Select only audits in this state.",
            ),
            click.option("--flagged/--unflagged", default=None, help="Select only results with, or without, flags."),
            click.option("--scan", type=ROW_ID, help="Select only the audits of this scan."),
            click.option("--history", is_flag=True, help="Include older results of the same model and protocol."),
        )
    ):  # fmt: skip
        command = option(command)
    return command


def find_detail(model: str, protocol: str | None, audit_id: int | None) -> "Detail":
    """Load the stored audit that a command names.

    Raises:
        UsageError: as :func:`auditor.results.lookup.find_rows`.
    """
    from auditor.cli.db import open_database
    from auditor.db.results import load_detail
    from auditor.results.lookup import find_rows

    engine = open_database()
    return load_detail(engine, find_rows(engine, model, protocol, audit_id)[0].id)


def find_named(name: str, protocol: str | None, audit_id: int | None) -> "Detail":
    """As :func:`find_detail`, of a model or of ``NAME@ID``."""
    from auditor.results.comparison import parse_name

    model, number = parse_name(name)
    return find_detail(model, protocol, number or audit_id)


@click.group("results", cls=Group)
def command() -> None:
    """List, show, compare, export and plot stored results."""


command.add_command(compare)


@command.command("list")
@result_filters
@list_options(sort=BY_RANK)
def list_rows(listing: Listing, **filters: Any) -> None:
    """List the newest result of each model, data set, protocol and setting.

    The column `#` ranks the printed rows by robust accuracy, so that it depends on the filters and on --limit. Results
    of the protocol screen have no ranks: they are sorted by their screening score.

    \b
    Examples:
      auditor results list
      auditor results list --protocol standard --unflagged --sort -gap
      auditor results list --match 'demo:at-*' --format json
      auditor results list --filter 'gap>0.5' --columns model,gap,silhouette
    """
    from auditor.cli.db import open_database
    from auditor.cli.output.tables import print_results
    from auditor.db.filters import SORTABLE
    from auditor.db.results import Filter, count_audits, list_results
    from auditor.results.ranking import order_of
    from auditor.results.serialize import keys_of

    engine, sort = open_database(), listing.sort or BY_RANK
    by_rank = sort == BY_RANK
    if by_rank and filters["protocol"]:
        sort = order_of(filters["protocol"])
    in_sql = sort.removeprefix("-") in SORTABLE
    cut = in_sql and not listing.conditions
    limit = listing.limit + 1 if listing.limit and cut else None  # one more shows whether there are more
    rows = list_results(engine, Filter(**filters), sort=sort if in_sql else BY_RANK, limit=limit)
    hint = "`auditor scan demo` makes some"
    if not rows and (stored := count_audits(engine)):
        hint = f"none of the {stored} stored audits matches"
    more = limit is not None and len(rows) == limit
    listing.print(
        rows,
        functools.partial(print_results, by_rank=by_rank),
        nothing=f"no results: {hint}",
        keys=keys_of(ResultRow),
        more=more,
    )


@command.command()
@click.argument("model", shell_complete=complete_result)
@click.option(
    "--protocol",
    type=PROTOCOL,
    help="Select the result of this protocol. By default: the protocol with the most images.",
)
@AUDIT_ID
@click.option(
    "--errors", is_flag=True, help="Also print the accuracy of each class, and what it became. JSON always has both."
)
@FORMAT
def show(model: str, protocol: str | None, audit_id: int | None, errors: bool, output_format: str) -> None:
    """Show a model's newest result: attacks, scores, flags and provenance.

    \b
    Examples:
      auditor results show demo:at-eps0.10
      auditor results show demo:at-eps0.10 --errors
      auditor results show demo:saturated --protocol quick --format json
    """
    from auditor.cli.output.audit import print_detail
    from auditor.cli.output.class_errors import print_class_errors, require_class_errors
    from auditor.cli.output.tables import print_json
    from auditor.results.serialize import serialize_detail

    detail = find_detail(model, protocol, audit_id)
    by_class = require_class_errors(detail) if errors else None
    if output_format == "json":
        print_json([serialize_detail(detail)])
        return
    print_detail(detail)
    if by_class is not None:
        click.echo()
        print_class_errors(by_class)


@command.command()
@result_filters
@click.option(
    "--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file. By default: stdout."
)
@click.option(
    "--format", "output_format", type=Choice(["json", "csv"]), default="json", show_default=True,
    help="Write JSON, with matrices and attacks, or CSV, with the rows only.",
)  # fmt: skip
def export(output: Path | None, output_format: str, **filters: Any) -> None:
    """Export results with all their data, for other programs.

    \b
    Examples:
      auditor results export -o results.json
      auditor results export --format csv --history -o history.csv
    """
    import json

    from auditor.cli.db import open_database
    from auditor.db.results import Filter, list_results, load_detail
    from auditor.errors import UsageError
    from auditor.results.serialize import as_csv, keys_of, nan_to_none, pruned_kinds, serialize, serialize_detail

    engine = open_database()
    rows = list_results(engine, Filter(**filters), sort="started_at")
    if output_format == "csv":
        text = as_csv([serialize(row) for row in rows], keys_of(ResultRow))
    else:
        details = [load_detail(engine, row.id) for row in rows]
        text = json.dumps([nan_to_none(serialize_detail(detail)) for detail in details], indent=1) + "\n"
        if without := sum(bool(pruned_kinds(detail)) for detail in details):
            click.echo(f"{without} of {len(rows)} results have no matrices, because they were pruned", err=True)
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {output}: {error.strerror}") from error
    click.echo(f"wrote {counted(len(rows), 'result')} to {output}", err=True)


@command.command()
@click.argument("models", nargs=-1, metavar="[MODEL]...", shell_complete=complete_result)
@click.option("--zoo", is_flag=True, help="Plot all models: a measure without data against robust accuracy.")
@click.option(
    "--x",
    "measure",
    type=Choice(list(MEASURES)),
    default="gap",
    show_default=True,
    help="With --zoo: the measure on the x axis.",
)
@click.option("--source", help="With --zoo: select only models of this source.")
@click.option(
    "--protocol",
    type=PROTOCOL,
    help="Select results of this protocol. By default: quick with --zoo, else the protocol with the most images.",
)
@AUDIT_ID
@click.option("--errors", is_flag=True, help="Plot what the attacks turned each class into, instead of C and F.")
@click.option(
    "--curve",
    is_flag=True,
    help="Plot the robust accuracy at every radius, of one to five MODELs that were audited with --curve.",
)
@click.option("--templates", is_flag=True, help="Plot the class templates of a MODEL as pictures.")
@click.option(
    "--folder", type=click.Path(path_type=Path), help="With --templates: the folder of the local zoo, if it has moved."
)
@TRUST_CODE
@click.option(
    "--adversarials",
    type=click.Path(exists=True, path_type=Path),
    metavar="FILE|DIR",
    help="Plot adversarial images of a MODEL that --save-adversarials wrote.",
)
@FIGURE
def plot(
    models: tuple[str, ...],
    zoo: bool,
    measure: "Measure",
    source: str | None,
    protocol: str | None,
    audit_id: int | None,
    errors: bool,
    curve: bool,
    templates: bool,
    folder: Path | None,
    trust_code: bool,
    adversarials: Path | None,
    output: Path,
) -> None:
    """Plot a model's C and F with dendrograms, its errors by class, or a measure of all models.

    --templates draws the class templates: the rows of W, and the mean of the local linear maps at random images. If the
    audit stored none, they are computed from its model, which needs the same weights, for code in a
    local zoo also --trust-code. --adversarials draws clean images, adversarial images and ten times their difference.

    \b
    Examples:
      auditor results plot demo:at-eps0.10 -o heatmap.png
      auditor results plot demo:at-eps0.10 --errors -o errors.png
      auditor results plot demo:at-eps0.10 demo:trades-eps0.10 --curve -o curves.png
      auditor results plot demo:at-eps0.10 --templates -o templates.png
      auditor results plot demo:at-eps0.10 --adversarials kept -o adversarials.png
      auditor results plot --zoo -o zoo.png
      auditor results plot --zoo --protocol standard -o zoo.pdf
      auditor results plot --zoo --x screen_score -o screen.png
    """
    model = models[0] if models else None
    if len(models) > (5 if curve else 1):
        raise click.UsageError("expected one MODEL, or with --curve at most five")
    if zoo == bool(model):
        raise click.UsageError("expected either a MODEL or --zoo")
    if (source and not zoo) or (audit_id and zoo):
        raise click.UsageError("--source needs --zoo, and --id needs a MODEL")
    if sum(map(bool, (zoo, errors, curve, templates, adversarials))) > 1:
        raise click.UsageError("expected one of --zoo, --errors, --curve, --templates and --adversarials")
    if (folder or trust_code) and not templates:
        raise click.UsageError("--folder and --trust-code need --templates")
    from auditor.cli.db import open_database
    from auditor.cli.output.plots import errors_figure, model_figure, zoo_figure
    from auditor.plots import save

    if curve:
        from auditor.cli.output.curves import curves_figure

        save(curves_figure([find_named(name, protocol, audit_id) for name in models]), output)
        click.echo(str(output))
        return
    if errors:
        save(errors_figure(find_detail(model or "", protocol, audit_id)), output)
        click.echo(str(output))
        return
    if templates or adversarials:
        from auditor.cli.output.pictures import adversarials_figure, templates_figure

        figure = (
            adversarials_figure(open_database(), model or "", protocol, audit_id, adversarials)
            if adversarials
            else templates_figure(open_database(), find_detail(model or "", protocol, audit_id), folder, trust_code)
        )
        save(figure, output)
        click.echo(str(output))
        return

    save(
        zoo_figure(open_database(), source, protocol or "quick", measure)
        if zoo
        else model_figure(find_detail(model or "", protocol, audit_id)),
        output,
    )
    click.echo(str(output))
