"""Prints the result of an adaptation as a table."""

from typing import Any

import click

from auditor.cli.output.tables import print_table
from auditor.text.eps import format_eps
from auditor.text.numbers import interval, percent_narrow

Row = dict[str, Any]


def print_adaptation(found: Row) -> None:
    """Superclass accuracy on held-out target images, for each number of shots, beside nearest mean on the pixels."""
    request = found["request"]
    groups = request["assignment"]["superclasses"]
    for kind in ("sources", "targets"):
        click.echo(f"{kind}: {' | '.join(', '.join(group[kind]) for group in groups)}")
    for source in found["sources"]:
        click.echo(f"source model, seed {source['seed']}: {_both(source['accuracy'])} of the source classes' images")
    click.echo(
        f"superclasses {' | '.join(group['name'] for group in groups)}, {request['tuning']['layers']} tuned, "
        f"clean / robust under {request['norm']} {format_eps(request['eps'])} ({request['protocol']}), "
        "of held-out targets:"
    )
    cells = [
        [
            str(score["seed"]),
            str(score["shots"]),
            _both(score["adapted"]),
            interval(score["adapted"]["low"], score["adapted"]["high"], percent_narrow),
            _both(score["baseline"]) if score["baseline"] else "",
            str(score["adapted"]["n"]),
            ", ".join(score["adapted"]["flags"]),
        ]
        for score in found["scores"]
    ]
    print_table(["seed", "images a class", "adapted", "robust, 95 %", "nearest mean on pixels", "n", "flags"], cells)
    for note in found["notes"]:
        click.echo(f"note: {note}")


def _both(accuracy: Row) -> str:
    return f"{percent_narrow(accuracy['clean'])} / {percent_narrow(accuracy['robust'])}"
