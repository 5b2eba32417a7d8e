"""``auditor results show --errors``: accuracy by class, and the confusion matrix after the attacks."""

from collections.abc import Iterator

import numpy as np

from auditor.cli.output.tables import print_table
from auditor.db.results import Detail
from auditor.errors import UsageError
from auditor.results.class_errors import (
    ClassErrors,
    find_class_errors,
    severity_sentences,
    severity_words,
    superclass_words,
)
from auditor.text.numbers import DASH, interval, percent, percent_number

MOST_COLUMNS = 12
"""The largest number of classes whose confusion matrix fits a terminal; for more, its largest entries are listed."""
MOST_PAIRS = 20


def error_pairs(errors: ClassErrors | None) -> Iterator[tuple[str, str]]:
    """The lines of ``results show``; none if nothing was attacked."""
    if errors is not None and not errors.classes:
        yield "errors by class", errors.reasons["classes"]
    elif errors is not None:
        yield "superclass-robust", superclass_words(errors)
        yield "severity", severity_words(errors)


def require_class_errors(detail: Detail) -> ClassErrors:
    """The errors of a stored audit by class.

    Raises:
        UsageError: it was not attacked, or its classes are not stored.
    """
    row, errors = detail.row, find_class_errors(detail)
    if errors is None:
        raise UsageError(
            f"--errors needs an attacked model; {row.model} (id {row.id}) was not attacked under {row.protocol}: "
            "scan it under quick, or select another result with --protocol"
        )
    if not errors.classes:
        raise UsageError(f"{row.model} (id {row.id}) has no errors by class: {errors.reasons['classes']}")
    return errors


def print_class_errors(errors: ClassErrors) -> None:
    """Accuracy by class, the confusion matrix, and what they say of superclasses."""
    columns = ("class", "superclass", "images", "correct", "survived", "robust %", "95 % interval")
    print_table(
        columns,
        [
            (
                row.name, row.superclass, str(row.n), str(row.correct), str(row.survived),
                percent_number(row.robust_accuracy), interval(row.low, row.high, percent_number) if row.n else DASH,
            )
            for row in errors.classes
            if row.n
        ],
    )  # fmt: skip
    print()
    names = [row.name for row in errors.classes]
    if len(names) <= MOST_COLUMNS:
        print("true class (rows) and class after the attacks (columns), in images:")
        _print_matrix(errors, names)
    else:
        print("the most frequent wrong classes after the attacks, in images:")
        _print_pairs(errors, names)
    print()
    print("\n".join(severity_sentences(errors)))


def _print_matrix(errors: ClassErrors, names: list[str]) -> None:
    assert errors.confusion is not None
    rows = [(name, *map(str, row)) for name, row in zip(names, errors.confusion.tolist(), strict=True)]
    print_table(("", *names), rows)


def _print_pairs(errors: ClassErrors, names: list[str]) -> None:
    assert errors.confusion is not None
    wrong = np.where(np.eye(len(names), dtype=bool), 0, errors.confusion)
    places = np.argsort(-wrong, axis=None, kind="stable")[:MOST_PAIRS]
    found = [(int(i), int(j)) for i, j in zip(*np.unravel_index(places, wrong.shape), strict=True) if wrong[i, j]]
    print_table(
        ("true class", "became", "images", "of its class"),
        [(names[i], names[j], str(wrong[i, j]), percent(wrong[i, j] / errors.confusion[i].sum())) for i, j in found],
    )
