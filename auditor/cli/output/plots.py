"""From stored results to the figures of auditor.plots."""

from collections import Counter
from typing import TYPE_CHECKING

from sqlalchemy import Engine

from auditor.cli.output.class_errors import require_class_errors
from auditor.cli.output.progress import say
from auditor.db.results import Detail, Filter, list_results
from auditor.errors import UsageError
from auditor.plots import ZooPoint, draw_errors, draw_model, draw_zoo
from auditor.records.boosts import METHOD_NAMES
from auditor.records.matrices import DRAWN
from auditor.records.results import MEASURES, Measure
from auditor.results.association import NAMES, association
from auditor.results.class_errors import severity_words, superclass_words
from auditor.results.ranking import describe_setting, format_gap_error, setting_of
from auditor.text.eps import format_threat
from auditor.text.numbers import DASH, counted, percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def model_figure(detail: Detail) -> "Figure":
    """C and F of one stored audit."""
    row, parts = detail.row, detail.clusterings
    if not parts:
        raise UsageError(f"nothing to draw of {row.model}: {'; '.join(row.not_measurable)}")
    if not detail.classes:
        raise UsageError(f"nothing to draw of {row.model}: its audit has no classes")
    shown = [parts[kind] for kind in DRAWN if kind in parts]
    return draw_model(row.model, _subtitle(detail), detail.classes, detail.superclasses, shown)


def errors_figure(detail: Detail) -> "Figure":
    """The confusion after the attacks and the attack success by class of one stored audit."""
    errors = require_class_errors(detail)
    assert errors.confusion is not None
    assert errors.attack_success is not None
    subtitle = f"{_subtitle(detail)}. Superclass-robust: {superclass_words(errors)}. Severity: {severity_words(errors)}"
    title = f"{detail.row.model}: errors after the attacks"
    return draw_errors(title, subtitle, detail.classes, detail.superclasses, errors.confusion, errors.attack_success)


def _subtitle(detail: Detail) -> str:
    row = detail.row
    sketched = (
        "" if row.sketch is None else f". C: a sketch of {row.sketch} probes, gap {format_gap_error(row) or DASH}"
    )
    if row.robust_accuracy is None or row.clean_accuracy is None:
        return f"{detail.description}. screen: not evidence of robustness{sketched}"
    flags = f". Flagged: {', '.join(row.flags)}" if row.flags else ""
    return (
        f"{detail.description}: clean {percent(row.clean_accuracy)}, robust {percent(row.robust_accuracy)} "
        f"({format_threat(row.norm, row.eps)}, {row.protocol}, n = {row.n}){flags}{sketched}"
    )


def zoo_figure(engine: Engine, source: str | None, protocol: str, measure: Measure = "gap") -> "Figure":
    """A measure against robust accuracy under one protocol; of several settings the one used most."""
    rows = list_results(engine, Filter(source=source, protocol=protocol, linearization="remove", status="done"))
    rows = [row for row in rows if row.point(measure) is not None]
    if not rows:
        raise UsageError(f"no results of attacks under {protocol!r} with a {NAMES[measure]} to draw; scan a zoo first")
    sizes = Counter(setting_of(row) for row in rows)
    setting = max(sizes, key=lambda key: (sizes[key], key[4]))
    for other in sizes.keys() - {setting}:
        say(f"left out: {counted(sizes[other], 'result')} of {describe_setting(other)}")
    points = [
        ZooPoint(
            name=row.model.partition(":")[2],
            kind=_kind(row.training),
            **point._asdict(),
            flagged=bool(row.flags),
        )
        for row in rows
        if setting_of(row) == setting and (point := row.point(measure)) is not None
    ]
    name = NAMES[measure]
    title = f"{name[0].upper()}{name[1:]} and robust accuracy: {describe_setting(setting)} images"
    return draw_zoo(title, "\n".join(association(rows, measure)), MEASURES[measure], points)


def _kind(training: dict[str, object]) -> str:
    name = METHOD_NAMES.get(str(training.get("method")), "unknown training")
    return f"{name} + clustering regularizer" if training.get("beta") else name
