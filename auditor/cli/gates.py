"""Gates of a scan, for training pipelines: a lowest robust accuracy, and no regression. Exit code 4 if not met."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, DecimalException
from typing import TYPE_CHECKING, Any

import click

from auditor.cli.number_types import FiniteRange
from auditor.text.numbers import counted

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from auditor.records.results import ResultRow, UnmetGate


class Share(click.ParamType[Decimal]):
    """A share from 0 to 1, ``0.45`` or ``45%``, in decimal, without binary rounding."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        text = str(value).strip()
        try:
            share = Decimal(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
            within = 0 <= share <= 1
        except DecimalException:  # NaN raises it, too, when compared
            within = False
        if not within:
            self.fail(f"expected a share from 0 to 1 or a percentage such as 45%, got {value!r:.60}", param, ctx)
        return share


class ShareAtRadius(click.ParamType[tuple[Decimal, float]]):
    """A share at a radius: ``45%@4/255``."""

    name = "share at radius"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Decimal, float]:
        from auditor.cli.options import Eps

        if isinstance(value, tuple):
            return value
        share, separator, radius = str(value).partition("@")
        if not separator:
            self.fail(f"expected a share and a radius, such as 45%@4/255, got {value!r:.60}", param, ctx)
        return Share().convert(share, param, ctx), Eps().convert(radius, param, ctx)


def gate_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of the gates."""
    under = click.option(
        "--fail-under", metavar="ACC", type=Share(),
        help="Exit with code 4 unless every result has a robust accuracy of at least ACC (0.45 or 45%) and no flag.",
    )  # fmt: skip
    at = click.option(
        "--fail-under-at", metavar="ACC@EPS", type=ShareAtRadius(), multiple=True,
        help="With --curve: exit with code 4 unless every result has a robust accuracy of at least ACC at the radius "
        "EPS (45%@4/255), and no flag. Can be repeated.",
    )  # fmt: skip
    area = click.option(
        "--fail-under-area", metavar="A", type=FiniteRange(0),
        help="With --curve: exit with code 4 unless every result has an area under its curve of at least A, in [0, 1] "
        "pixels, and no flag. The area is the mean critical radius.",
    )  # fmt: skip
    regression = click.option(
        "--fail-on-regression", is_flag=True,
        help="Exit with code 4 if a model is worse than in its last result under the same setting and on the same "
        "images: its robust accuracy is lower by a one-sided paired McNemar test (a t-test for corruptions; "
        "false-discovery rate of 5 % over the models), it has a new flag, or its audit failed.",
    )  # fmt: skip
    sequential = click.option(
        "--sequential", is_flag=True,
        help="With --fail-under or --fail-on-regression: attack images in a random order, and stop each audit once its "
        "gate is decided, with an error of at most 5 % for all models of the scan together. Such a "
        "result is flagged stopped_early, and is not ranked.",
    )  # fmt: skip
    return under(at(area(sequential(regression(command)))))


@dataclass(frozen=True)
class GateOptions:
    """Conditions on a scan's results; ``fail_under`` is the lowest robust accuracy that passes, from 0 to 1.

    ``fail_under_at``: such accuracies at radii of the curve; ``fail_under_area``: the smallest area under it.
    """

    fail_under: Decimal | None
    fail_on_regression: bool
    sequential: bool = False
    fail_under_at: tuple[tuple[Decimal, float], ...] = ()
    fail_under_area: float | None = None

    @property
    def on_curve(self) -> bool:
        """Whether a gate needs a curve."""
        return bool(self.fail_under_at) or self.fail_under_area is not None

    @property
    def stop_at(self) -> float | None:
        """The share at which an audit may stop early; None to attack all images."""
        return float(self.fail_under) if self.sequential and self.fail_under is not None else None

    @property
    def stop_on_regression(self) -> bool:
        """Whether an audit may stop early once it is worse or better than its last result."""
        return self.sequential and self.fail_on_regression

    @property
    def any(self) -> bool:
        return self.fail_on_regression or self.fail_under is not None or self.on_curve

    @property
    def names(self) -> list[str]:
        """The options that set gates, as on the command line."""
        return [
            *([] if self.fail_under is None else [_name("--fail-under", self.fail_under)]),
            *(_name("--fail-under-at", share, eps) for share, eps in self.fail_under_at),
            *([] if self.fail_under_area is None else [_name("--fail-under-area", self.fail_under_area)]),
            *([REGRESSION] if self.fail_on_regression else []),
        ]

    def check_protocol(self, protocol: str, *, curve: bool) -> None:
        """Raises UsageError if an accuracy is required under a protocol that measures none, or a curve without one."""
        from auditor.errors import UsageError

        if self.on_curve and not curve:
            raise UsageError("--fail-under-at and --fail-under-area need --curve")
        if self.sequential and (self.fail_under is None) != self.fail_on_regression:
            raise UsageError(
                "--sequential needs one gate that may be decided early: --fail-under or --fail-on-regression"
            )
        if self.stop_on_regression and protocol == "screen":
            raise UsageError("--sequential has no meaning under 'screen', which runs no attack; use another protocol")
        if self.fail_under is not None and protocol == "screen":
            raise UsageError("--fail-under has no meaning under 'screen', which runs no attack; use another protocol")


REGRESSION = "--fail-on-regression"


def _name(option: str, least: Decimal | float, eps: float | None = None) -> str:
    """A gate as on the command line: ``--fail-under-at 0.45@8/255``."""
    from auditor.text.eps import format_eps

    return f"{option} {least:g}" + ("" if eps is None else f"@{format_eps(eps)}")


def find_unmet(engine: "Engine", gates: GateOptions, scan_id: int, rows: "Sequence[ResultRow]") -> "list[UnmetGate]":
    """Compare a scan's rows with the gates, and find those that are not met."""
    from auditor.cli.output.progress import say
    from auditor.records.corruptions import is_corruptions
    from auditor.records.results import UnmetGate

    earlier = _find_earlier(engine, rows, scan_id) if gates.fail_on_regression else {}
    early = {row.id for row in rows if gates.sequential and not is_corruptions(row.norm)}
    level, e_level = _find_levels(engine, rows, early, earlier)
    unmet: list[UnmetGate] = []
    for row in rows:
        if gates.sequential:
            for note in row.notes:
                if note.startswith("decided after "):
                    say(f"{row.model}: {note}")
        found: list[tuple[str, str]] = []
        if gates.any and row.status not in ("done", "failed"):
            found.append(("result", f"{row.model}: expected a result, but its audit is {row.status}"))
        if gates.fail_under is not None and row.status == "done":
            found += ((_name("--fail-under", gates.fail_under), text) for text in _too_low(row, gates.fail_under))
        if gates.on_curve and row.status == "done":
            found += _too_low_on_curve(engine, row, gates)
        if gates.fail_on_regression:
            found += (
                (REGRESSION, text)
                for text in _worse(engine, row, earlier.get(row.id), level, e_level if row.id in early else None)
            )
        unmet += (UnmetGate(audit=row.id, gate=gate, message=text) for gate, text in found)
    return unmet


def require_met(unmet: "Sequence[UnmetGate]", models: int) -> None:
    """Print one line on stderr for each gate that was not met, of this number of models.

    Raises:
        GateError: a gate is not met.
    """
    from auditor.cli.output.progress import say
    from auditor.errors import GateError
    from auditor.records.schedules import UNMET_LINE

    for one in unmet:
        say(f"{UNMET_LINE}{one.message}")
    if unmet:
        raise GateError(f"{counted(len(unmet), 'gate')} not met, of {counted(models, 'model')}; all results are stored")


def _too_low(row: "ResultRow", under: Decimal) -> Iterator[str]:
    from auditor.records import STOPPED_EARLY
    from auditor.text.numbers import percent

    expected = f"{row.model}: expected a robust accuracy of at least {percent(under)}, got"
    accuracy, flags = row.robust_accuracy, [flag for flag in row.flags if flag != STOPPED_EARLY]
    if accuracy is None:
        yield f"{expected} none: {'; '.join(row.not_measurable) or 'it was not measured'}"
    elif flags:
        yield f"{expected} {percent(accuracy)}, flagged {', '.join(flags)}: it cannot be trusted"
    elif round(accuracy * (count := _verdicts(row))) < under * count:  # counts, because 9 of 500 are 1.8 %
        yield f"{expected} {percent(accuracy)}"


def _too_low_on_curve(engine: "Engine", row: "ResultRow", gates: GateOptions) -> Iterator[tuple[str, str]]:
    """The gates on the curve that a result does not meet, with the reason."""
    from auditor.db.curves import load_curve
    from auditor.errors import UsageError
    from auditor.results.curves import robust_at, summarize_curve
    from auditor.text.eps import format_eps
    from auditor.text.numbers import percent

    curve = load_curve(engine, row.id)
    on_curve = next(name for name in gates.names if name.startswith(("--fail-under-at", "--fail-under-area")))
    if curve is None:
        yield on_curve, f"{row.model}: expected a curve, got none: {'; '.join(row.notes) or 'it was not measured'}"
        return
    if row.flags:
        flags = ", ".join(row.flags)
        yield on_curve, f"{row.model}: expected a curve without flags, got {flags}: it cannot be trusted"
        return
    n = len(curve.sizes)
    for share, eps in gates.fail_under_at:
        gate = _name("--fail-under-at", share, eps)
        expected = f"{row.model}: expected a robust accuracy of at least {percent(share)} at {format_eps(eps)}, got"
        try:
            found = robust_at(curve, eps)
        except UsageError as error:
            yield gate, f"{expected} none: {error}"
            continue
        if round(found.robust * n) < share * n:
            yield gate, f"{expected} {percent(found.robust)}"
    area, least = summarize_curve(curve, row.eps).area, gates.fail_under_area
    if least is not None and area < least:
        text = f"{row.model}: expected an area under the curve of at least {least:g}, got {area:.4g}"
        yield _name("--fail-under-area", least), text


def _verdicts(row: "ResultRow") -> int:
    """The number of verdicts of which a robust accuracy is a share: one an image, or one for each corruption of it."""
    from auditor.records.corruptions import is_corruptions, variants

    return (row.n or 0) * (len(variants(row.norm)) if is_corruptions(row.norm) else 1)


def _find_earlier(engine: "Engine", rows: "Sequence[ResultRow]", scan_id: int) -> "dict[int, ResultRow]":
    """The earlier results of rows that have ended, by the rows' ids."""
    from auditor.results.previous import previous_result

    ended = [row for row in rows if row.status in ("done", "failed")]
    found = {row.id: previous_result(engine, row, scan_id) for row in ended}
    return {number: before for number, before in found.items() if before is not None}


def _find_levels(
    engine: "Engine", rows: "Sequence[ResultRow]", early: "set[int]", earlier: "dict[int, ResultRow]"
) -> tuple[float, float]:
    """The largest p-value, and of audits that may stop early the smallest e-value, that is a regression."""
    from auditor.results.regressions import regression_level, sequential_level

    pairs = [(earlier[row.id], row) for row in rows if row.id in earlier]
    return (
        regression_level(engine, [pair for pair in pairs if pair[1].id not in early]),
        sequential_level(engine, [pair for pair in pairs if pair[1].id in early]),
    )


def _worse(
    engine: "Engine", row: "ResultRow", before: "ResultRow | None", level: float, e_level: float | None
) -> Iterator[str]:
    from auditor.cli.output.progress import say
    from auditor.errors import UsageError
    from auditor.results.regressions import find_regressions, find_uncompared_curves

    if row.status not in ("done", "failed"):
        return
    if before is None:
        say(f"{row.model}: no earlier result under this setting and on these images; nothing to compare with")
        return
    named = f"{row.model}: expected no worse than result {before.id} of {before.started_at}, got"
    try:
        yield from [f"{named} {loss}" for loss in find_regressions(engine, before, row, level, e_level=e_level)]
    except UsageError as error:  # the earlier one lacks what a test needs
        say(f"{row.model}: {error}; nothing to compare with")
    if remark := find_uncompared_curves(engine, before, row):
        say(f"{row.model}: {remark}")
