"""Which classes the attacks break, and into which classes: from the verdicts of one audit, by NumPy alone.

The attacks look for any wrong class, and the cascade keeps the first image that breaks a sample. So the classes here
are those that these attacks found, not the worst ones that some attack could reach.
"""

import hashlib
import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from auditor.clustering.display import as_similarity
from auditor.clustering.permutation import gap_p_value
from auditor.db.results import Detail
from auditor.records import Clustering, ClusteringScores, Matrix, Verdicts
from auditor.statistics import wilson_interval
from auditor.text.numbers import interval, number, p_equation, percent

NAN = float("nan")
Counts = NDArray[np.int64]
T = TypeVar("T")

MANY_CLASSES = 200
"""For more classes a test takes seconds with 9,999 permutations, and pages compute it anew: they get 999."""

MOST_TESTS = 256
"""So many permutation tests are kept, because each view of an audit's page needs its two, and they take longest."""
_tests: OrderedDict[bytes, Any] = OrderedDict()
_lock = Lock()

PRUNED = "the verdicts by sample were pruned from the database; `auditor scan … --force` makes them again"
NO_CLASSES = "the audit has no classes"
OLDER = "audited before auditor stored the classes of the samples; `auditor scan … --force` stores them"
NO_PAIRS = "no superclass has two classes"
ONE_SUPERCLASS = "there is only one superclass"
NOTHING_BROKEN = "the attacks broke no sample"


@dataclass(frozen=True, kw_only=True)
class ClassAccuracy:
    """The samples of one class: how many there are, are classified correctly, and survive all attacks.

    ``low``, ``high``: 95 % Wilson interval of ``robust_accuracy``; NaN where the class has no samples.
    """

    name: str
    superclass: str
    n: int
    correct: int
    survived: int
    robust_accuracy: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class ClassErrors:
    """The errors of a model after the attacks, by class. Undefined numbers are NaN, and ``reasons`` says why, by name.

    Attributes:
        classes: one row a class; empty if nothing is known, with the reason of ``classes``.
        confusion: ``(K, K)`` counts, true class by class after the attacks: survivors are on the diagonal, a broken
            sample is where its adversarial image is, a misclassified one where its clean image is.
        attack_success: of the correctly classified samples of class i the share that was broken into class j, and the
            scores of this matrix as a similarity of classes.
        superclass_robust_accuracy: the share of all samples whose superclass is right after the attacks, with its 95 %
            interval ``superclass_robust_low`` to ``superclass_robust_high``. An upper bound, because the attacks did
            not aim at other superclasses.
        broken: the number of correctly classified samples that an attack broke.
        severity: the share of these that stayed in their superclass, from ``severity_low`` to ``severity_high`` at
            95 %. 1 is mild, 0 is severe.
        severity_chance: the expected share if each became any of the wrong classes with the same probability.
        severity_by_c: the share if each became the wrong class with the greatest entry of C in its row.
        severity_p_value: one-sided, of a severity at least as large under shuffled superclass labels.
    """

    classes: tuple[ClassAccuracy, ...] = ()
    confusion: Counts | None = None
    attack_success: Clustering | None = None
    superclass_robust_accuracy: float = NAN
    superclass_robust_low: float = NAN
    superclass_robust_high: float = NAN
    broken: int = 0
    severity: float = NAN
    severity_low: float = NAN
    severity_high: float = NAN
    severity_chance: float = NAN
    severity_by_c: float = NAN
    severity_p_value: float = NAN
    reasons: dict[str, str] = field(default_factory=dict)


def find_class_errors(detail: Detail) -> ClassErrors | None:
    """The errors of a stored audit by class; None if it was not attacked."""
    if not detail.attacks:
        return None
    if detail.verdicts is None:
        return ClassErrors(reasons={"classes": PRUNED})
    if not detail.classes:
        return ClassErrors(reasons={"classes": NO_CLASSES})
    weights = detail.clusterings.get("weights")
    c, no_c = (None, "the network could not be linearized") if weights is None else (weights.matrix, "C was pruned")
    return class_errors(detail.verdicts, detail.classes, detail.superclasses, c=c, no_c=no_c, seed=detail.row.seed)


def class_errors(
    verdicts: Verdicts,
    classes: Sequence[str],
    superclasses: Sequence[str],
    *,
    c: Matrix | None = None,
    no_c: str = "C was not measured",
    permutations: int | None = None,
    seed: int = 0,
) -> ClassErrors:
    """The errors by class from the verdicts of an audit.

    Args:
        verdicts: N samples with labels and predicted classes.
        classes, superclasses: K names, one a class.
        c: the class correlation matrix ``(K, K)``; without it ``severity_by_c`` is undefined for the reason ``no_c``.
        permutations: for the p-values; by default 9,999, and 999 for more than 200 classes.
        seed: the seed for the permutations.

    Example:
        >>> verdicts = Verdicts(
        ...     indices=np.arange(4), correct=np.array([True, True, True, False]),
        ...     survived=np.array([True, False, False, False]), labels=np.array([0, 0, 1, 2]),
        ...     predicted=np.array([0, 1, 2, 1]), broken_at=np.array([-1, 0, 0, -1]),
        ... )
        >>> found = class_errors(verdicts, ["cat", "dog", "car"], ["animal", "animal", "vehicle"])
        >>> found.confusion.tolist(), found.superclass_robust_accuracy, found.severity
        ([[1, 1, 0], [0, 0, 1], [0, 1, 0]], 0.5, 0.5)
    """
    if verdicts.labels is None or verdicts.predicted is None:
        return ClassErrors(reasons={"classes": OLDER})
    if permutations is None:
        permutations = 9_999 if len(classes) <= MANY_CLASSES else 999
    labels, predicted = verdicts.labels, verdicts.predicted
    broken = verdicts.correct & ~verdicts.survived
    confusion = count_pairs(labels, predicted, len(classes))
    changes = count_pairs(labels[broken], predicted[broken], len(classes))
    correct = np.bincount(labels[verdicts.correct], minlength=len(classes))
    families = np.unique(list(superclasses), return_inverse=True)[1]
    found = ClassErrors(
        classes=accuracy_by_class(confusion, correct, classes, superclasses),
        confusion=confusion,
        attack_success=_score_success(attack_success(changes, correct), superclasses, permutations, seed),
        broken=int(broken.sum()),
    )
    return _add_superclasses(found, changes, families, c, no_c, permutations, seed)


def count_pairs(first: NDArray[np.int64], second: NDArray[np.int64], classes: int) -> Counts:
    """How often each pair of classes occurs: ``(K, K)``.

    Example:
        >>> count_pairs(np.array([0, 1, 1]), np.array([0, 0, 0]), 2).tolist()
        [[1, 0], [2, 0]]
    """
    return np.bincount(first * classes + second, minlength=classes**2).reshape(classes, classes)


def attack_success(changes: Counts, correct: Counts) -> Matrix:
    """``A_ij``: of the ``correct`` ``(K,)`` samples of class i the share that was broken into j; NaN where 0 are.

    Example:
        >>> attack_success(np.array([[0, 1], [0, 0]]), np.array([4, 2])).tolist()
        [[0.0, 0.25], [0.0, 0.0]]
    """
    sizes = np.where(correct > 0, correct, NAN)
    shares: Matrix = changes / sizes[:, None]
    return shares


def accuracy_by_class(
    confusion: Counts, correct: Counts, classes: Sequence[str], superclasses: Sequence[str]
) -> tuple[ClassAccuracy, ...]:
    """One row a class, from the confusion after the attacks ``(K, K)`` and the correct clean images ``(K,)``."""
    return tuple(
        _class_accuracy(name, superclass, *numbers)
        for name, superclass, *numbers in zip(
            classes, superclasses, confusion.sum(1), correct, np.diagonal(confusion), strict=True
        )
    )


def _class_accuracy(name: str, superclass: str, n: int, correct: int, survived: int) -> ClassAccuracy:
    low, high = wilson_interval(int(survived), int(n))
    return ClassAccuracy(
        name=name, superclass=superclass, n=int(n), correct=int(correct), survived=int(survived),
        robust_accuracy=int(survived) / int(n) if n else NAN, low=low, high=high,
    )  # fmt: skip


def _keep_test(
    compute: Callable[[], T], values: NDArray[Any], groups: Sequence[Any], permutations: int, seed: int
) -> T:
    """The result of a permutation test: a kept one if a test has had the same values, groups and settings."""
    settings = repr((values.shape, values.dtype.str, list(groups), permutations, seed))
    key = hashlib.sha256(settings.encode() + np.ascontiguousarray(values).tobytes()).digest()
    with _lock:
        if key in _tests:
            _tests.move_to_end(key)
            return _tests[key]  # type: ignore[no-any-return]
    result = compute()
    with _lock:
        _tests[key] = result
        while len(_tests) > MOST_TESTS:
            _tests.popitem(last=False)
    return result


def _score_success(success: Matrix, superclasses: Sequence[str], permutations: int, seed: int) -> Clustering:
    """A and its scores as a similarity. An effective rank is not defined, because A is no correlation."""
    if not np.nan_to_num(success).any():
        scores = _undefined(len(success), NOTHING_BROKEN)
    elif np.isnan(success).any():
        scores = _undefined(len(success), "a class has no correctly classified sample")
    else:
        from auditor.clustering import clustering_scores

        scores = _keep_test(
            lambda: clustering_scores(as_similarity(success), superclasses, permutations=permutations, seed=seed),
            success, superclasses, permutations, seed,
        )  # fmt: skip
        reasons = scores.reasons | {"effective_rank": "defined for correlations only"}
        scores = replace(scores, effective_rank=NAN, reasons=reasons)
    return Clustering(kind="attack_success", scores=scores, matrix=success)


def _undefined(classes: int, reason: str) -> ClusteringScores:
    names = (
        "intra", "inter", "gap", "silhouette", "rand_index", "cophenetic", "p_value", "effective_rank", "tree_spearman",
    )  # fmt: skip
    return ClusteringScores(
        **dict.fromkeys(names, NAN), leaf_order=tuple(range(classes)), reasons=dict.fromkeys(names, reason)
    )


def _add_superclasses(
    found: ClassErrors,
    changes: Counts,
    families: NDArray[np.int64],
    c: Matrix | None,
    no_c: str,
    permutations: int,
    seed: int,
) -> ClassErrors:
    """Add what needs superclasses; ``families`` ``(K,)`` numbers them."""
    same, confusion = families[:, None] == families, found.confusion
    alone = len(np.unique(families)) == len(families)
    reason = NO_PAIRS if alone else ONE_SUPERCLASS if same.all() else None
    reasons = {} if reason is None else dict.fromkeys(("superclass_robust_accuracy", "severity"), reason)
    if reason is not None or confusion is None:
        return replace(found, reasons=reasons)
    n, right = int(confusion.sum()), int(confusion[same].sum())
    low, high = wilson_interval(right, n)
    found = replace(
        found,
        superclass_robust_accuracy=right / n if n else NAN,
        superclass_robust_low=low,
        superclass_robust_high=high,
    )
    if not found.broken:
        return replace(found, reasons=reasons | {"severity": NOTHING_BROKEN})
    inside = int(changes[same].sum())
    low, high = wilson_interval(inside, found.broken)
    by_row = changes.sum(1)
    siblings = (same.sum(1) - 1) / (len(families) - 1)
    by_c = _severity_by_c(by_row, families, c)
    if math.isnan(by_c):
        reasons["severity_by_c"] = no_c if c is None else "C is not defined for a class"
    return replace(
        found,
        severity=inside / found.broken,
        severity_low=low,
        severity_high=high,
        severity_chance=float((by_row * siblings).sum() / found.broken),
        severity_by_c=by_c,
        # Under relabelling the gap of the counts, as a similarity, grows with those inside superclasses, and with
        # nothing else: the total and the number of pairs stay. So its p-value is that of the severity.
        severity_p_value=_keep_test(
            lambda: gap_p_value(-changes.astype(np.float64), families, permutations, seed),
            changes,
            families.tolist(),
            permutations,
            seed,
        ),
        reasons=reasons,
    )


def _severity_by_c(by_row: Counts, families: NDArray[np.int64], c: Matrix | None) -> float:
    """The share inside superclasses if the broken samples of a class all become its nearest class in C."""
    if c is None or not np.isfinite(c).all():
        return NAN
    nearest = np.where(np.eye(len(c), dtype=bool), -np.inf, c).argmax(1)
    return float(by_row[families[nearest] == families].sum() / by_row.sum())


def superclass_words(errors: ClassErrors) -> str:
    """The superclass-robust accuracy with its interval, or why there is none."""
    if math.isnan(errors.superclass_robust_accuracy):
        return _reason(errors, "superclass_robust_accuracy")
    reach = interval(errors.superclass_robust_low, errors.superclass_robust_high, percent)
    return f"{percent(errors.superclass_robust_accuracy)} ({reach}), at most: the cascade aims at any wrong class"


def severity_words(errors: ClassErrors) -> str:
    """The severity in one line, or why there is none."""
    if math.isnan(errors.severity):
        return _reason(errors, "severity")
    reach = interval(errors.severity_low, errors.severity_high, number)
    return (
        f"{number(errors.severity)} ({reach}) of {errors.broken} broken samples stay in their superclass; chance "
        f"{number(errors.severity_chance)}, nearest in C {number(errors.severity_by_c)}, "
        f"{p_equation(errors.severity_p_value)}"
    )


def severity_sentences(errors: ClassErrors) -> list[str]:
    """The superclass-robust accuracy and the severity in plain words, or why there are none."""
    if math.isnan(errors.superclass_robust_accuracy):
        return [f"Superclasses: {_reason(errors, 'superclass_robust_accuracy')}."]
    sentences = [
        f"After the attacks, {percent(errors.superclass_robust_accuracy)} of all samples have the right superclass "
        f"(95 % interval {interval(errors.superclass_robust_low, errors.superclass_robust_high, percent)}). This is an "
        "upper bound, because the attacks looked for any wrong class, and not for one of another superclass."
    ]
    if math.isnan(errors.severity):
        return [*sentences, f"Severity: {_reason(errors, 'severity')}."]
    nearest = (
        f"C was not compared: {errors.reasons['severity_by_c']}."
        if math.isnan(errors.severity_by_c)
        else f"If each had become the class nearest to its own in C, {percent(errors.severity_by_c)} would have."
    )
    return [
        *sentences,
        f"Of the {errors.broken} samples that an attack broke, {percent(errors.severity)} stay in their superclass "
        f"(95 % interval {interval(errors.severity_low, errors.severity_high, percent)}). With a wrong class drawn at "
        f"random, {percent(errors.severity_chance)} would have. {nearest}",
        f"The superclasses of the classes were shuffled to see how often a share this large arises by chance: "
        f"{p_equation(errors.severity_p_value)}, one-sided.",
    ]


def _reason(errors: ClassErrors, name: str) -> str:
    return errors.reasons.get(name) or errors.reasons.get("classes", "no reason was found")
