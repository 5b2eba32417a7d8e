"""Options and values that several commands share."""

from collections.abc import Callable
from typing import Any

import click

FORMAT = click.option(
    "--format", "shape", type=click.Choice(["table", "json"]), default="table", show_default=True,
    help="A table for people, or one JSON array on stdout.",
)  # fmt: skip


PROTOCOL = click.Choice(["screen", "quick", "standard", "full"])


class Eps(click.ParamType[float]):
    """An attack radius in [0, 1] pixels: ``0.031`` or ``8/255``."""

    name = "eps"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from auditor.text.eps import parse_eps

        try:
            return parse_eps(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Jobs(click.ParamType[int | None]):
    """How many models to measure at once; ``auto``, which is None, leaves it to the machine and the models."""

    name = "jobs"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        if value == "auto":
            return None
        return click.IntRange(1, 64).convert(value, param, ctx)


def filters(command: Callable[..., Any]) -> Callable[..., Any]:
    """The filters of every command that reads results."""
    for option in reversed(
        (
            click.option("--source", help="Only models of this source, e.g. demo."),
            click.option("--model", help="Only this model, e.g. demo:standard."),
            click.option("--match", metavar="GLOB", help="Only models whose name matches, e.g. 'demo:at-*'."),
            click.option("--dataset", help="Only models of this data set."),
            click.option("--protocol", type=PROTOCOL, help="Only results of this protocol."),
            click.option("--linearization", type=click.Choice(["remove", "fold"]), help="Only this treatment."),
            click.option("--correlation", type=click.Choice(["exact", "sketch"]), help="Only this kind of C."),
            click.option(
                "--status",
                type=click.Choice(["done", "failed", "cancelled", "queued", "running"]),
                help="Only audits in this state.",
            ),
            click.option("--flagged/--unflagged", default=None, help="Only results with, or only without, flags."),
            click.option("--scan", type=click.IntRange(1, 2**31 - 1), help="Only the audits of this scan."),
            click.option("--history", is_flag=True, help="Older results of the same model and protocol, too."),
        )
    ):
        command = option(command)
    return command
