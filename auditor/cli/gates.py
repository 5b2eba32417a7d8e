"""Gates of a scan, for training pipelines: an absolute one and one against the last result. Exit code 4."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, DecimalException
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from auditor.records.results import ResultRow


class Share(click.ParamType[Decimal]):
    """A share from 0 to 1, ``0.45`` or ``45%``, as it was written: no binary rounding."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        text = str(value).strip()
        try:
            share = Decimal(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
            within = 0 <= share <= 1
        except DecimalException:  # comparing with NaN is one, too
            within = False
        if not within:
            self.fail(f"expected a share from 0 to 1, or percents such as 45%, got {value!r:.60}", param, ctx)
        return share


def gate_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of the gates."""
    under = click.option(
        "--fail-under", metavar="ACC", type=Share(),
        help="Exit with 4 unless every result has a robust accuracy of at least ACC, 0.45 or 45%, and no flag.",
    )  # fmt: skip
    regression = click.option(
        "--fail-on-regression", is_flag=True,
        help="Exit with 4 if a model is worse than in its last result under the same setting and on the same pictures: "
        "robust accuracy lower with a one-sided paired McNemar p below 0.05, a new flag, or failed now.",
    )  # fmt: skip
    return under(regression(command))


@dataclass(frozen=True)
class Gates:
    """What a scan's results must meet; ``under`` is a share from 0 to 1."""

    under: Decimal | None
    regression: bool

    @property
    def any(self) -> bool:
        return self.regression or self.under is not None


def make_gates(options: dict[str, Any]) -> Gates:
    """The gates among a scan's options, taken out of them.

    Raises:
        UsageError: an accuracy is asked for under a protocol that measures none.
    """
    from auditor.errors import UsageError

    gates = Gates(options.pop("fail_under"), options.pop("fail_on_regression"))
    if gates.under is not None and options["protocol"] == "screen":
        raise UsageError("--fail-under has no meaning under 'screen', which attacks nothing; choose another protocol")
    return gates


def check_gates(engine: "Engine", gates: Gates, scan_id: int, rows: "Sequence[ResultRow]") -> None:
    """Hold a scan's rows against the gates; each one that is not met is a line on stderr.

    Raises:
        GateError: one is not met.
    """
    from auditor.cli.output.progress import say
    from auditor.errors import GateError

    unmet: list[str] = []
    for row in rows:
        if gates.any and row.status not in ("done", "failed"):
            unmet.append(f"{row.model}: expected a result, got none: {row.status}")
        if gates.under is not None and row.status == "done":
            unmet += _too_low(row, gates.under)
        if gates.regression:
            unmet += _worse(engine, row, scan_id)
    for line in unmet:
        say(f"gate not met: {line}")
    if unmet:
        raise GateError(f"gates not met: {len(unmet)}, by {len(rows)} models; all results are stored")


def _too_low(row: "ResultRow", under: Decimal) -> Iterator[str]:
    from auditor.text.numbers import percent

    expected = f"{row.model}: expected a robust accuracy of at least {percent(under)}, got"
    accuracy = row.robust_accuracy
    if accuracy is None:
        yield f"{expected} none: {'; '.join(row.not_measurable) or 'it was not measured'}"
    elif row.flags:
        yield f"{expected} {percent(accuracy)}, flagged {', '.join(row.flags)}: it cannot be trusted"
    elif round(accuracy * (row.n or 0)) < under * (row.n or 0):  # whole samples: 9 of 500 are 1.8 %
        yield f"{expected} {percent(accuracy)}"


def _worse(engine: "Engine", row: "ResultRow", scan_id: int) -> Iterator[str]:
    from auditor.cli.output.progress import say
    from auditor.results.previous import previous_result
    from auditor.results.regressions import find_regressions

    if row.status not in ("done", "failed"):
        return
    before = previous_result(engine, row, scan_id)
    if before is None:
        say(f"{row.model}: no earlier result under this setting and on these pictures, nothing to compare with")
        return
    named = f"{row.model}: expected no worse than result {before.id} of {before.started_at}, got"
    for loss in find_regressions(engine, before, row):
        yield f"{named} {loss}"
