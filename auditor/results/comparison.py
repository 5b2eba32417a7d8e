"""Compares two results on the samples that they share, with a paired test."""

from typing import Any

from sqlalchemy import Engine

from auditor.db.results import Detail, load_detail
from auditor.errors import UsageError
from auditor.records.comparisons import Comparison, CurveComparison, ModelAt, OnlyOne, PairedAccuracy, Side
from auditor.records.corruptions import is_corruptions
from auditor.records.results import ResultRow
from auditor.results.corruptions import describe_means, pair_corruptions
from auditor.results.curves import compare_curves, find_other_search
from auditor.results.lookup import find_rows
from auditor.results.pairing import find_obstacle, pair
from auditor.results.serialize import serialize
from auditor.statistics import Paired, mcnemar
from auditor.text.numbers import interval, p_value, percent_number, points

SIGNIFICANT = 0.05


def compare(engine: Engine, first: str, second: str, protocol: str | None) -> Comparison:
    """Compare the results of two names, which are models or ``NAME@ID``.

    Raises:
        NotFoundError: there is no such result.
        UsageError: the two cannot be compared.
    """
    return compare_details(*_choose(engine, first, second, protocol))


def comparison_values(found: Comparison, *, samples: bool = False) -> dict[str, Any]:
    """A comparison as plain values; with ``samples`` also the numbers of the samples that only one withstands."""
    return {name: value for name, value in serialize(found).items() if samples or name != "samples"}


def compare_details(a: Detail, b: Detail) -> Comparison:
    """Compare two results.

    Raises:
        UsageError: the two cannot be compared.
    """
    if obstacle := find_obstacle(a.row, b.row):
        raise UsageError(obstacle)
    paired = pair((a.row, a.verdicts), (b.row, b.verdicts))
    corrupted = is_corruptions(a.row.norm)
    robust = _describe_accuracies(paired.robust)
    if corrupted:
        scores = [(one.verdicts, one.corruptions) for one in (a, b)]
        robust = describe_means(pair_corruptions(a.row, b.row, scores))
    sides = Side.of(a.row), Side.of(b.row)
    more_robust, verdict = find_verdict(*sides, robust)
    return Comparison(
        a=sides[0],
        b=sides[1],
        dataset=a.row.dataset,
        protocol=a.row.protocol,
        norm=a.row.norm,
        eps=a.row.eps,
        n=paired.robust.n,
        robust=robust,
        clean=_describe_accuracies(paired.clean),
        curves=_compare_curves(a, b),
        curves_obstacle=find_other_search(a.curve, b.curve),
        samples=OnlyOne(only_a=() if corrupted else paired.only_first, only_b=() if corrupted else paired.only_second),
        more_robust=more_robust,
        verdict=verdict,
    )


def _compare_curves(a: Detail, b: Detail) -> CurveComparison | None:
    """The comparison of the curves on shared samples; None if one has none, or they are of different searches."""
    if a.curve is None or b.curve is None or a.verdicts is None or b.verdicts is None:
        return None
    if find_other_search(a.curve, b.curve):
        return None
    return compare_curves((a.curve, a.verdicts.indices), (b.curve, b.verdicts.indices))


def _choose(engine: Engine, first: str, second: str, protocol: str | None) -> tuple[Detail, Detail]:
    """Of the results that the two names match, choose the comparable pair with most images."""
    rows_a, rows_b = (find_rows(engine, name, protocol, number) for name, number in map(parse_name, (first, second)))
    pairs = [(a, b) for a in rows_a for b in rows_b]
    fitting = [(a, b) for a, b in pairs if find_obstacle(a, b) is None]
    if not fitting:
        raise UsageError(f"cannot compare {first} and {second}: {find_obstacle(*pairs[0])}")

    def rank(pair: tuple[ResultRow, ResultRow]) -> tuple[bool, bool, bool, int, bool, bool]:
        one, other = pair
        n = min(one.n or 0, other.n or 0)
        plain, same = one.extra_attacks is other.extra_attacks is None, one.extra_attacks == other.extra_attacks
        attacked = not is_corruptions(one.norm)
        return attacked, plain, same, n, one.linearization == other.linearization, one.sketch == other.sketch

    a, b = max(fitting, key=rank)
    return load_detail(engine, a.id), load_detail(engine, b.id)


def parse_name(name: str) -> tuple[str, int | None]:
    """Split ``NAME@ID`` into the name and the id of the audit."""
    model, _, number = name.rpartition("@")
    return (model, int(number)) if model and number.isdecimal() and len(number) < 10 else (name, None)


def _describe_accuracies(paired: Paired) -> PairedAccuracy:
    low, high = paired.interval()
    p = mcnemar(paired.only_first, paired.only_second)
    return PairedAccuracy(
        a=paired.first,
        b=paired.second,
        both=paired.both,
        only_a=paired.only_first,
        only_b=paired.only_second,
        neither=paired.neither,
        difference=paired.difference,
        low=low,
        high=high,
        interval="Newcombe 1998, method 10, 95 %",
        mcnemar_p=p,
        p_value=p,
        test="McNemar",
    )


def find_verdict(
    a: Side, b: Side, robust: PairedAccuracy, adjusted: float | None = None, letters: tuple[str, str] = ("A", "B")
) -> tuple[ModelAt | None, str]:
    """The more robust result, or None; and the verdict as a sentence.

    Args:
        a, b, robust: the two results, and the paired test of their robust accuracies.
        adjusted: the p-value adjusted for several tests, which then decides.
        letters: the names of the two sides in the sentence.
    """
    for side in (a, b):
        if side.flags:
            return None, f"no verdict: {side.name} is flagged ({', '.join(side.flags)}), its number cannot be trusted"
    if a.extra_attacks != b.extra_attacks:
        attacks = " and ".join(f"{side.name} by {side.extra_attacks or 'no attack'}" for side in (a, b))
        return None, f"no verdict: attacked beyond the protocol: {attacks}"
    p = robust.p_value if adjusted is None else adjusted
    test = f"{robust.test} p{'' if adjusted is None else ', adjusted,'}"
    reach = f"95 % interval {interval(robust.low, robust.high, points)}, {test} {p_value(p, '< ')}"
    if p >= SIGNIFICANT:
        return None, f"no significant difference in robustness: {points(robust.difference)} points, {reach}"
    better, worse = (a, b) if robust.difference > 0 else (b, a)
    difference = f"{percent_number(abs(robust.difference))} points"
    return ModelAt(model=better.model, id=better.id), (
        f"{better.name} is more robust than {worse.name}: by {difference} ({letters[0]} minus {letters[1]}: {reach})"
    )
