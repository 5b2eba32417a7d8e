"""The section "Errors" of an audit: robust accuracy by class, what the classes became, and how severe that is."""

import math
from dataclasses import dataclass

from auditor.clustering.display import scores_line, shares_by_row
from auditor.db.results import Detail
from auditor.results.class_errors import ClassAccuracy, find_class_errors, severity_sentences
from auditor.results.targeted import targeted_words
from auditor.text.numbers import percent
from auditor.web.figures.bars import Bar
from auditor.web.figures.heatmap import Heatmap, share_heatmap

MOST_BARS = 40
"""For more classes, only those with the lowest robust accuracy have a bar."""


@dataclass(frozen=True)
class AuditErrors:
    """``bars``: the robust accuracy of each class; ``heatmaps``: the confusion matrix and the attack success."""

    sentences: tuple[str, ...]
    bars: tuple[Bar, ...]
    heatmaps: tuple[Heatmap, ...]


def build_audit_errors(detail: Detail) -> AuditErrors | None:
    """Build the section; None if nothing was attacked."""
    errors = find_class_errors(detail)
    if errors is None:
        return None
    targeted = [] if detail.targeted is None else [
        f"Attacks towards {detail.targeted.targets} wrong classes of each correctly classified image: "
        f"{targeted_words(detail.targeted)}."
    ]  # fmt: skip
    if errors.confusion is None or errors.attack_success is None:
        return AuditErrors((f"Not available: {errors.reasons['classes']}.", *targeted), (), ())
    sentences = [*severity_sentences(errors), *targeted]
    known = [row for row in errors.classes if row.n]
    if len(known) > MOST_BARS:
        sentences.append(f"The {MOST_BARS} of {len(known)} classes with the lowest robust accuracy are:")
        known = sorted(known, key=lambda row: row.robust_accuracy)[:MOST_BARS]
    scores, success = errors.attack_success.scores, errors.attack_success.full_matrix()
    undefined = f"gap not defined: {scores.reasons.get('gap', 'no reason was stored')}"
    line = undefined if math.isnan(scores.gap) else scores_line(scores)
    place = (list(scores.leaf_order), detail.classes, detail.superclasses)
    confusion = "true class in rows, class after the attacks in columns, in % of the row"
    return AuditErrors(
        sentences=tuple(sentences),
        bars=tuple(_bar(row) for row in known),
        heatmaps=(
            share_heatmap("confusion", confusion, shares_by_row(errors.confusion), *place),
            share_heatmap("attack_success", f"% of the correctly classified; {line}", success, *place),
        ),
    )


def _bar(row: ClassAccuracy) -> Bar:
    details = f"{row.survived} of {row.n} images survive, {row.correct} are correct without an attack"
    label = f"{row.name}: {percent(row.robust_accuracy)}; {details}"
    return Bar(row.name, 100 * row.robust_accuracy, 100 * row.low, 100 * row.high, label)
