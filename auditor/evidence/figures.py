"""The figures of a record, computed from the verdicts on its samples alone."""

import math
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auditor.errors import EvidenceError
from auditor.records.corruptions import CorruptionScore
from auditor.records.curves import Curve
from auditor.records.evidence import EvidenceRecord, Sample
from auditor.results.class_errors import accuracy_by_class, count_pairs
from auditor.results.corruptions import by_corruption
from auditor.results.curves import summarize_curve
from auditor.results.serialize import nan_to_none, serialize
from auditor.statistics import mean_interval, wilson_interval

TOLERANCE = 1e-9
"""Two machines compute the same figure to this relative difference."""

Verdict = NDArray[np.bool_]


def compute_figures(record: EvidenceRecord) -> dict[str, Any]:
    """All figures that follow from the samples of a record, as plain values; None where undefined.

    Accuracies are fractions from 0 to 1, with Wilson's 95 % interval. Under corruptions the robust accuracy is the mean
    over corruptions, and its interval takes the images as units.

    Raises:
        EvidenceError: the verdicts of a sample contradict each other.
    """
    for problem in find_contradictions(record):
        raise EvidenceError(problem)
    samples = record.samples
    correct = np.array([sample.correct for sample in samples])
    survived = np.array([sample.survived for sample in samples])
    figures: dict[str, Any] = {"n": len(samples), "clean_accuracy": _share(correct)}
    if record.corruptions:
        figures |= _corruption_figures(record)
    else:
        figures["robust_accuracy"] = _share(survived)
        figures["attacks"] = _attack_figures(record, correct)
    if _have_classes(record):
        figures |= _class_figures(record, correct)
    if record.curve is not None:
        figures["curve"] = serialize(summarize_curve(_curve_of(record), record.audit.eps))
    if record.certificate is not None:
        figures |= _certificate_figures(record)
    plain: dict[str, Any] = nan_to_none(figures)
    return plain


def _share(yes: Verdict) -> dict[str, Any]:
    count, n = int(yes.sum()), len(yes)
    low, high = wilson_interval(count, n)
    return {"count": count, "value": count / n, "low": low, "high": high}


def _attack_figures(record: EvidenceRecord, correct: Verdict) -> list[dict[str, Any]] | None:
    """What each attack broke, and the robust accuracy after it; None if samples do not say what broke them."""
    if not _have_classes(record):
        return None
    broken_by = np.array([-1 if sample.broken_by is None else sample.broken_by for sample in record.samples])
    rows, standing = [], int(correct.sum())
    for position, attack in enumerate(record.attacks):
        broken = int((broken_by == position).sum())
        standing -= broken
        rows.append({"attack": attack.attack, "broken": broken, "robust_accuracy": standing / len(broken_by)})
    return rows


def _have_classes(record: EvidenceRecord) -> bool:
    """Whether the samples have the classes after the attacks, which older audits did not store."""
    return bool(record.attacks) and all(sample.clean_class is not None for sample in record.samples)


def class_after(sample: Sample) -> int:
    """The class after the attacks: of the image that broke the sample, else of the clean image."""
    found = sample.clean_class if sample.adversarial_class is None else sample.adversarial_class
    return -1 if found is None else found


def _class_figures(record: EvidenceRecord, correct: Verdict) -> dict[str, Any]:
    labels = np.array([sample.label for sample in record.samples], np.int64)
    after = np.array([class_after(sample) for sample in record.samples], np.int64)
    confusion = count_pairs(labels, after, len(record.classes))
    right = np.bincount(labels[correct], minlength=len(record.classes))
    families = np.unique(list(record.superclasses), return_inverse=True)[1]
    rows = accuracy_by_class(confusion, right, record.classes, record.superclasses)
    return {
        "classes": [serialize(row) for row in rows],
        "confusion": confusion.tolist(),
        "superclass_robust_accuracy": _share(families[labels] == families[after]),
    }


def _curve_of(record: EvidenceRecord) -> Curve:
    assert record.curve is not None
    sizes = [math.inf if sample.size is None else sample.size for sample in record.samples]
    found_by = [-1 if sample.found_by is None else sample.found_by for sample in record.samples]
    return Curve(
        norm=record.curve.norm,
        largest=record.curve.largest,
        sizes=np.array(sizes, np.float32),
        found_by=np.array(found_by, np.int64),
        attacks=record.curve.attacks,
        seconds=math.nan,
    )


def _certificate_figures(record: EvidenceRecord) -> dict[str, Any]:
    """The certified share, named after the model that it is about."""
    assert record.certificate is not None
    certified = _share(np.array([bool(sample.certified) for sample in record.samples]))
    if record.certificate.method == "bounds":
        return {"certified_accuracy": certified}
    clean = _share(np.array([bool(sample.radius) for sample in record.samples]))
    return {"smoothed_certified_accuracy": certified, "smoothed_clean_accuracy": clean["value"]}


def _corruption_figures(record: EvidenceRecord) -> dict[str, Any]:
    right = np.array([[digit == "1" for digit in sample.corruptions or ""] for sample in record.samples]).T
    scores = [
        CorruptionScore(
            corruption=name.rpartition("/")[0],
            severity=int(name.rpartition("/")[2]),
            n=len(row),
            right=int(row.sum()),
            verdicts=row,
        )
        for name, row in zip(record.corruptions, right, strict=True)
    ]
    value, low, high = mean_interval(right.mean(0))
    return {
        "robust_accuracy": {"value": value, "low": low, "high": high},
        "corruptions": [serialize(row) for row in by_corruption(scores)],
    }


def find_contradictions(record: EvidenceRecord) -> Iterator[str]:
    """What is impossible about the verdicts of a record, one line each."""
    if not record.samples:
        yield "expected at least one sample, got none"
        return
    if len(record.classes) != len(record.superclasses):
        yield f"{len(record.classes)} classes have {len(record.superclasses)} superclasses"
        return
    if any(re.fullmatch(r".+/[0-9]+", name) is None for name in record.corruptions):
        yield "expected corruptions such as fog/3"
        return
    if len({sample.index for sample in record.samples}) < len(record.samples):
        yield "two samples have the same index"
    for sample in record.samples:
        for problem in _contradictions(record, sample):
            yield f"sample {sample.index}: {problem}"


def _contradictions(record: EvidenceRecord, sample: Sample) -> Iterator[str]:
    classes = [one for one in (sample.label, sample.clean_class, sample.adversarial_class) if one is not None]
    if any(not 0 <= one < len(record.classes) for one in classes):
        yield f"a class is not one of {len(record.classes)}"
    elif sample.clean_class is not None and sample.correct != (sample.clean_class == sample.label):
        yield "`correct` contradicts its classes"
    if sample.survived and not sample.correct:
        yield "it survived, but its clean image is misclassified"
    if record.corruptions:
        digits = sample.corruptions or ""
        if len(digits) != len(record.corruptions) or set(digits) - {"0", "1"}:
            yield f"expected {len(record.corruptions)} verdicts under corruptions, got {len(digits)}"
        elif sample.survived != (sample.correct and "0" not in digits):
            yield "`survived` contradicts its verdicts under corruptions"
        return
    if sample.clean_class is not None and record.attacks:
        if sample.survived != (sample.correct and sample.broken_by is None):
            yield "`survived` contradicts what broke it"
        if (sample.broken_by is None) != (sample.adversarial_class is None):
            yield "an attack broke it without a class of the adversarial image, or the reverse"
        elif sample.broken_by is not None and not sample.correct:
            yield "an attack broke it, but its clean image is misclassified"
        elif sample.adversarial_class is not None and sample.adversarial_class == sample.label:
            yield "the class of its adversarial image is the true one"
    if sample.broken_by is not None and not 0 <= sample.broken_by < len(record.attacks):
        yield f"it was broken by attack {sample.broken_by} of {len(record.attacks)}"
    if record.curve is not None and (sample.size == 0) == sample.correct:
        yield "its size on the curve contradicts `correct`"
    if record.certificate is not None and sample.certified is None:
        yield "it has no verdict of the certificate"
    elif sample.radius is not None and sample.certified != (sample.radius >= record.audit.eps):
        yield "`certified` contradicts its radius"


def find_differences(expected: Any, found: Any, place: str = "") -> Iterator[str]:
    """Where two plain values differ, numbers beyond the rounding of another machine; one line each.

    Example:
        >>> list(find_differences({"a": [1.0, 2]}, {"a": [1.0 + 1e-14, 3]}))
        ['a[1]: expected 2, got 3']
    """
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in dict.fromkeys([*expected, *found]):
            inner = f"{place}.{key}" if place else str(key)
            if key not in found or key not in expected:
                yield f"{inner}: {'missing' if key in expected else 'unexpected'}"
            else:
                yield from find_differences(expected[key], found[key], inner)
    elif isinstance(expected, list | tuple) and isinstance(found, list | tuple) and len(expected) == len(found):
        for number, pair in enumerate(zip(expected, found, strict=True)):
            yield from find_differences(*pair, f"{place}[{number}]")
    elif not _agree(expected, found):
        yield f"{place}: expected {expected!r:.80}, got {found!r:.80}"


def _agree(expected: Any, found: Any) -> bool:
    numbers = (int, float)
    if isinstance(expected, numbers) and isinstance(found, numbers) and not isinstance(expected, bool):
        return math.isclose(expected, found, rel_tol=TOLERANCE, abs_tol=1e-12)
    return type(expected) is type(found) and bool(expected == found)
