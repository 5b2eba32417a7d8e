"""Compares two results on the samples that they share, with a paired test."""

from dataclasses import asdict
from typing import Any

from sqlalchemy import Engine

from auditor.db.results import Detail, load_detail
from auditor.errors import UsageError
from auditor.records.corruptions import is_corruptions
from auditor.records.matrices import GAP_FIELDS
from auditor.records.results import ResultRow
from auditor.results.corruptions import pair_corruptions, paired_numbers
from auditor.results.curves import compare_curves, find_other_search
from auditor.results.lookup import find_rows
from auditor.results.pairing import find_obstacle, pair
from auditor.statistics import Paired, mcnemar
from auditor.text.numbers import interval, p_value, percent_number, points

SIGNIFICANT = 0.05


def compare(engine: Engine, first: str, second: str, protocol: str | None, *, samples: bool = False) -> dict[str, Any]:
    """The comparison as plain values; with ``samples`` also the numbers of the samples that only one withstands.

    Raises:
        NotFoundError: there is no such result.
        UsageError: the two cannot be compared.
    """
    found = compare_details(*_choose(engine, first, second, protocol))
    if not samples:
        del found["samples"]
    return found


def compare_details(a: Detail, b: Detail) -> dict[str, Any]:
    """The comparison of two results, as :func:`compare` returns it.

    Raises:
        UsageError: the two cannot be compared.
    """
    if obstacle := find_obstacle(a.row, b.row):
        raise UsageError(obstacle)
    paired = pair((a.row, a.verdicts), (b.row, b.verdicts))
    corrupted = is_corruptions(a.row.norm)
    robust = _numbers(paired.robust)
    if corrupted:
        scores = [(one.verdicts, one.corruptions) for one in (a, b)]
        robust = paired_numbers(pair_corruptions(a.row, b.row, scores))
    found: dict[str, Any] = {
        "a": _side(a),
        "b": _side(b),
        **_pick(a.row, "dataset", "protocol", "norm", "eps"),
        "n": paired.robust.n,
        "robust": robust,
        "clean": _numbers(paired.clean),
        "curves": _compare_curves(a, b),
        "curves_obstacle": find_other_search(a.curve, b.curve),
        "samples": {
            "only_a": [] if corrupted else list(paired.only_first),
            "only_b": [] if corrupted else list(paired.only_second),
        },
    }
    return found | find_verdict(found)


def _compare_curves(a: Detail, b: Detail) -> dict[str, Any] | None:
    """The comparison of the curves on shared samples; None if one has none, or they are of different searches."""
    if a.curve is None or b.curve is None or a.verdicts is None or b.verdicts is None:
        return None
    if find_other_search(a.curve, b.curve):
        return None
    return asdict(compare_curves((a.curve, a.verdicts.indices), (b.curve, b.verdicts.indices)))


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


def _side(detail: Detail) -> dict[str, Any]:
    names = (
        "model",
        "id",
        "n",
        "flags",
        "weights_sha256",
        "linearization",
        "correlation",
        "sketch",
        "extra_attacks",
        "certified_accuracy",
        "smoothed_certified_accuracy",
        "gap_error",
    )
    return _pick(detail.row, *names, *GAP_FIELDS.values())


def _pick(row: ResultRow, *names: str) -> dict[str, Any]:
    return {name: getattr(row, name) for name in names}


def _numbers(paired: Paired) -> dict[str, Any]:
    low, high = paired.interval()
    p = mcnemar(paired.only_first, paired.only_second)
    table = asdict(paired)
    return {
        "a": paired.first,
        "b": paired.second,
        "both": table["both"],
        "only_a": table["only_first"],
        "only_b": table["only_second"],
        "neither": table["neither"],
        "difference": paired.difference,
        "low": low,
        "high": high,
        "interval": "Newcombe 1998, method 10, 95 %",
        "mcnemar_p": p,
        "p_value": p,
        "test": "McNemar",
    }


def find_verdict(
    found: dict[str, Any], adjusted: float | None = None, letters: tuple[str, str] = ("A", "B")
) -> dict[str, Any]:
    """``more_robust``: a result's model and id, or None; ``verdict``: a sentence.

    Args:
        found: the comparison so far.
        adjusted: the p-value adjusted for several tests, which then decides.
        letters: the names of the two sides in the sentence.
    """
    a, b, robust = found["a"], found["b"], found["robust"]
    for side in (a, b):
        if side["flags"]:
            flags = ", ".join(side["flags"])
            return {
                "more_robust": None,
                "verdict": f"no verdict: {name_of(side)} is flagged ({flags}), its number cannot be trusted",
            }
    if a["extra_attacks"] != b["extra_attacks"]:
        attacks = " and ".join(f"{name_of(side)} by {side['extra_attacks'] or 'no attack'}" for side in (a, b))
        return {"more_robust": None, "verdict": f"no verdict: attacked beyond the protocol: {attacks}"}
    p = robust["p_value"] if adjusted is None else adjusted
    test = f"{robust['test']} p{'' if adjusted is None else ', adjusted,'}"
    reach = f"95 % interval {interval(robust['low'], robust['high'], points)}, {test} {p_value(p, '< ')}"
    if p >= SIGNIFICANT:
        difference = f"{points(robust['difference'])} points"
        return {"more_robust": None, "verdict": f"no significant difference in robustness: {difference}, {reach}"}
    better, worse = (a, b) if robust["difference"] > 0 else (b, a)
    difference = f"{percent_number(abs(robust['difference']))} points"
    return {
        "more_robust": {"model": better["model"], "id": better["id"]},
        "verdict": f"{name_of(better)} is more robust than {name_of(worse)}: by {difference} "
        f"({letters[0]} minus {letters[1]}: {reach})",
    }


def name_of(side: dict[str, Any]) -> str:
    return f"{side['model']}@{side['id']}"
