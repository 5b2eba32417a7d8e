"""Pairs the verdicts of two audits, sample by sample, if both saw the same images."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from auditor.errors import UsageError
from auditor.records import Verdicts
from auditor.records.results import ResultRow
from auditor.statistics import Paired
from auditor.text.eps import format_eps

ResultAndVerdicts = tuple[ResultRow, Verdicts | None]
"""A result and its verdicts by sample, if it has any."""


@dataclass(frozen=True)
class PairedVerdicts:
    """Two audits on their shared samples: is the clean image classified correctly, and does it survive all attacks?

    ``only_first``, ``only_second``: the numbers of the samples that survive in one of the two only.
    """

    clean: Paired
    robust: Paired
    only_first: tuple[int, ...] = ()
    only_second: tuple[int, ...] = ()


def find_obstacle(first: ResultRow, second: ResultRow) -> str | None:
    """Why two results cannot be compared, as far as their rows show; None if they can."""
    if first.id == second.id:
        return "both are the same result; name two, for example as NAME@ID"
    for row in (first, second):
        if row.protocol == "screen":
            return f"{row.model} was not attacked under screen"
    for name in ("dataset", "norm", "protocol"):
        a, b = getattr(first, name), getattr(second, name)
        if a != b:
            return f"{first.model} has the {name} {a}, {second.model} {b}"
    if not math.isclose(first.eps, second.eps, rel_tol=1e-6):
        eps = (format_eps(row.eps) for row in (first, second))
        return "{0} was attacked within eps {2}, {1} within {3}".format(first.model, second.model, *eps)
    return None


def pair(first: ResultAndVerdicts, second: ResultAndVerdicts) -> PairedVerdicts:
    """The verdicts of two audits on the samples that they share: same number, same picture, same label.

    Pictures are compared as they are in the data set: a model of another input size gets other images made of them.

    Raises:
        UsageError: the audits share no sample, saw different images, or one did not record its images.
    """
    shared, of_a, of_b = find_shared(first, second)
    (_, a), (_, b) = first, second
    assert a is not None
    assert b is not None
    survived_a, survived_b = a.survived[of_a], b.survived[of_b]
    return PairedVerdicts(
        clean=Paired.count(a.correct[of_a], b.correct[of_b]),
        robust=Paired.count(survived_a, survived_b),
        only_first=tuple(shared[survived_a & ~survived_b].tolist()),
        only_second=tuple(shared[survived_b & ~survived_a].tolist()),
    )


def find_shared(
    first: ResultAndVerdicts, second: ResultAndVerdicts
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The numbers of the samples that two audits share, and their places in the first and in the second.

    Raises:
        UsageError: as :func:`pair`.
    """
    (a, pictures_a), (b, pictures_b) = _require_pictures(*first), _require_pictures(*second)
    shared, of_a, of_b = np.intersect1d(a.indices, b.indices, return_indices=True)
    if len(shared) == 0:
        raise UsageError("the two results share no samples")
    if first[0].images_sha256 != second[0].images_sha256:
        other = int((pictures_a[of_a] != pictures_b[of_b]).sum())
        if other:
            raise UsageError(
                f"{other} of the {len(shared)} samples that share a number are not the same picture with the same "
                "label; audit both on the same images"
            )
    return shared, of_a, of_b


def _require_pictures(row: ResultRow, verdicts: Verdicts | None) -> tuple[Verdicts, NDArray[np.uint64]]:
    if verdicts is None:
        raise UsageError(
            f"{row.model} (id {row.id}) has no verdicts by sample: none were taken, or they were "
            "pruned from the database; `auditor scan … --force` makes them again"
        )
    if row.images_sha256 is None or verdicts.pictures is None:
        raise UsageError(
            f"{row.model} (id {row.id}) was audited before auditor recorded the images; "
            "repeat the audit with `auditor scan … --force`"
        )
    return verdicts, verdicts.pictures
