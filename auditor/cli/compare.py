"""``auditor results compare``: compare two results on the samples that both contain."""

from typing import TYPE_CHECKING

import click

from auditor.cli.complete import complete_result
from auditor.cli.options import FORMAT, PROTOCOL

if TYPE_CHECKING:
    from auditor.records.comparisons import Comparison, Side


@click.command("compare")
@click.argument("first", metavar="A", shell_complete=complete_result)
@click.argument("second", metavar="B", shell_complete=complete_result)
@click.option(
    "--protocol", type=PROTOCOL, help="Compare results of this protocol. By default: the protocol with the most images."
)
@click.option("--samples", is_flag=True, help="Print the numbers of the samples that only one of the two withstands.")
@FORMAT
def compare(first: str, second: str, protocol: str | None, samples: bool, output_format: str) -> None:
    """Test whether A is more robust than B, on the samples that both were attacked on.

    A and B are models. NAME@ID selects one specific result, by the ID that --format json prints. Both results must have
    the same protocol, norm and eps, and the same images. Prints the 2 x 2 table of verdicts, the difference with
    Newcombe's 95 % interval for paired proportions, and the exact McNemar p. If both have a curve, also which has the
    larger critical radius image by image, the difference of the areas, and where the curves are farthest apart. Audits
    under corruptions are compared by the share of corruptions under which each image is right, with a paired t-test.

    \b
    Examples:
      auditor results compare demo:at-eps0.10 demo:trades-eps0.10
      auditor results compare demo:at-eps0.10 demo:trades-eps0.10 --samples
      auditor results compare demo:standard@12 demo:standard@27 --format json
    """
    from auditor.cli.db import open_database
    from auditor.cli.output.tables import print_json
    from auditor.results import comparison

    found = comparison.compare(open_database(), first, second, protocol)
    if output_format == "json":
        print_json([comparison.comparison_values(found, samples=samples)])
    else:
        _print(found, samples)


def _print(found: "Comparison", samples: bool) -> None:
    from auditor.cli.output.tables import print_pairs, print_table
    from auditor.records.matrices import GAP_FIELDS, MATRIX_NAMES
    from auditor.results.curves import comparison_pairs
    from auditor.text.eps import format_threat
    from auditor.text.numbers import DASH, counted, interval, p_value, percent_number, points

    a, b = found.a, found.b
    setting = f"{found.protocol}, {format_threat(found.norm, found.eps)}, {counted(found.n, 'sample')} of both"
    print_pairs(setting, [("A", a.name), ("B", b.name)])
    click.echo()
    print_table(
        ("share of samples", "A %", "B %", "both", "only A", "only B", "neither", "A - B, points (95 %)", "p"),
        [
            (
                words,
                percent_number(part.a),
                percent_number(part.b),
                *(DASH if count is None else str(count) for count in part.counts),
                f"{points(part.difference)} ({interval(part.low, part.high, points)})",
                p_value(part.p_value, "< "),
            )
            for words, part in ((_robust(found.norm), found.robust), ("right when clean", found.clean))
        ],
    )
    click.echo()
    if found.curves:
        print_pairs("curves", comparison_pairs(found.curves))
        click.echo()
    if found.curves_obstacle:
        click.echo(f"{found.curves_obstacle}\n")
    _print_certified(a, b)
    rows = [(name, *(_gap(side, GAP_FIELDS[kind]) for side in (a, b))) for kind, name in MATRIX_NAMES.items()]
    print_table(("gap", "A", "B"), [row for row in rows if row[1:] != ("–", "–")])
    for one, other, numbers in ((a, b, found.samples.only_a), (b, a, found.samples.only_b)) if samples else ():
        click.echo(f"\nonly {one.name} withstands {counted(len(numbers), 'sample')}, {other.name} does not:")
        click.echo(" ".join(map(str, numbers)) or "none")
    click.echo(f"\n{found.verdict}")


def _print_certified(a: "Side", b: "Side") -> None:
    """The certified accuracies that one of the two has; they are of all its samples, not of the shared ones."""
    from auditor.cli.output.tables import print_table
    from auditor.records.certificates import NO_BOUND
    from auditor.results.certificates import NOT_THE_MODEL
    from auditor.text.numbers import percent_number

    pairs = {
        "certified": (a.certified_accuracy, b.certified_accuracy),
        "smoothed certified": (a.smoothed_certified_accuracy, b.smoothed_certified_accuracy),
    }
    shown = {words: pair for words, pair in pairs.items() if pair != (None, None)}
    if not shown:
        return
    print_table(
        ("share of each result's samples", "A %", "B %"),
        [(words, *map(percent_number, pair)) for words, pair in shown.items()],
    )
    if 0 in shown.get("certified", ()):
        click.echo(f"certified 0: {NO_BOUND}.")
    if "smoothed certified" in shown:
        click.echo(f"smoothed certified: {NOT_THE_MODEL}.")
    click.echo()


def _robust(norm: str) -> str:
    from auditor.records.corruptions import is_corruptions

    return "right under corruptions, mean" if is_corruptions(norm) else "survive every attack"


def _gap(side: "Side", name: str) -> str:
    """A sketch has a standard error for the gap of the templates only; its other gaps are marked as estimates."""
    from auditor.text.numbers import DASH, number

    gap: float | None = getattr(side, name)
    if gap is None:
        return DASH
    if name == "gap_features" or side.sketch is None:
        return number(gap, 3)
    if name == "gap" and side.gap_error is not None:
        return f"{number(gap, 3)}±{number(side.gap_error, 3)}"
    return f"≈{number(gap, 3)}"
