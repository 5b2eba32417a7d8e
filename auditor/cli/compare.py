"""``auditor results compare``: two results on the samples that they share."""

from typing import TYPE_CHECKING, Any

import click

from auditor.cli.options import FORMAT, PROTOCOL

if TYPE_CHECKING:
    from auditor.db.results import Detail
    from auditor.statistics import Paired

SIGNIFICANT = 0.05


@click.command("compare")
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.option("--protocol", type=PROTOCOL, help="Results of this protocol; by default those with most images.")
@FORMAT
def compare(first: str, second: str, protocol: str | None, shape: str) -> None:
    """Is A more robust than B? Paired on the samples that both were attacked on.

    A and B are models, or NAME@ID for a very result, by the id that --format json shows. They must have been audited
    under the same protocol, norm and eps, and on the same pictures. Prints the 2 x 2 table of verdicts, the difference
    with Newcombe's 95 % interval for paired shares, and the exact McNemar p.

    \b
    Examples:
      auditor results compare demo:at-eps0.10 demo:trades-eps0.10
      auditor results compare demo:standard@12 demo:standard@27 --format json
    """
    from auditor.cli.tables import print_json

    found = compared(first, second, protocol)
    if shape == "json":
        print_json([found])
    else:
        _print(found)


def compared(first: str, second: str, protocol: str | None) -> dict[str, Any]:
    """The comparison as plain values.

    Raises:
        UsageError: there is no such result, or the two cannot be compared.
    """
    from auditor.db.pairing import pair

    a, b = _choose(first, second, protocol)
    paired = pair((a.row, a.verdicts), (b.row, b.verdicts))
    found: dict[str, Any] = {
        "a": _side(a),
        "b": _side(b),
        **{name: a.row[name] for name in ("dataset", "protocol", "norm", "eps")},
        "n": paired.robust.n,
        "robust": _numbers(paired.robust),
        "clean": _numbers(paired.clean),
    }
    return found | _verdict(found)


def _choose(first: str, second: str, protocol: str | None) -> "tuple[Detail, Detail]":
    """Of the results that the two names mean, the pair with most images that can be compared."""
    from auditor.cli.stored import find_rows, open_settings
    from auditor.db.pairing import objection
    from auditor.db.results import load_detail
    from auditor.errors import UsageError

    engine = open_settings()
    rows_a, rows_b = (find_rows(engine, name, protocol, number) for name, number in map(_parse, (first, second)))
    pairs = [(a, b) for a in rows_a for b in rows_b]
    fitting = [(a, b) for a, b in pairs if objection(a, b) is None]
    if not fitting:
        raise UsageError(f"cannot compare {first} and {second}: {objection(*pairs[0])}")

    def rank(two: tuple[dict[str, Any], dict[str, Any]]) -> tuple[int, bool, bool]:
        alike = (two[0][name] == two[1][name] for name in ("linearization", "sketch"))
        return min(row["n"] for row in two), *alike

    a, b = max(fitting, key=rank)
    return load_detail(engine, a["id"]), load_detail(engine, b["id"])


def _parse(name: str) -> tuple[str, int | None]:
    """``NAME@ID`` as a name and an audit's id."""
    model, _, number = name.rpartition("@")
    return (model, int(number)) if model and number.isdecimal() and len(number) < 10 else (name, None)


def _side(detail: "Detail") -> dict[str, Any]:
    row = detail.row
    gaps = ("gap", "gap_centred", "gap_deflated", "gap_features")
    names = ("model", "id", "n", "flags", "weights_sha256", "linearization", "correlation", "sketch", "gap_error")
    return {name: row[name] for name in (*names, *gaps)}


def _numbers(paired: "Paired") -> dict[str, Any]:
    from dataclasses import asdict

    from auditor.statistics import mcnemar

    low, high = paired.interval()
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
        "mcnemar_p": mcnemar(paired.only_first, paired.only_second),
    }


def _verdict(found: dict[str, Any]) -> dict[str, Any]:
    """``more_robust``: a result's model and id, or None; ``verdict``: a sentence."""
    a, b, robust = found["a"], found["b"], found["robust"]
    for side in (a, b):
        if side["flags"]:
            flags = ", ".join(side["flags"])
            return {
                "more_robust": None,
                "verdict": f"no verdict: {_name(side)} is flagged ({flags}), its number cannot be trusted",
            }
    reach = f"95 % interval {100 * robust['low']:+.1f} to {100 * robust['high']:+.1f}, McNemar p {_p(robust)}"
    if robust["mcnemar_p"] >= SIGNIFICANT:
        points = f"{100 * robust['difference']:+.1f} points"
        return {"more_robust": None, "verdict": f"no significant difference in robustness: {points}, {reach}"}
    better, worse = (a, b) if robust["difference"] > 0 else (b, a)
    points = f"{100 * abs(robust['difference']):.1f} points"
    return {
        "more_robust": {"model": better["model"], "id": better["id"]},
        "verdict": f"{_name(better)} is more robust than {_name(worse)}: by {points} (A minus B: {reach})",
    }


def _name(side: dict[str, Any]) -> str:
    return f"{side['model']}@{side['id']}"


def _p(numbers: dict[str, Any]) -> str:
    p = numbers["mcnemar_p"]
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _print(found: dict[str, Any]) -> None:
    from auditor.cli.tables import print_pairs, print_table
    from auditor.eps import format_eps

    a, b = found["a"], found["b"]
    setting = f"{found['protocol']}, {found['norm']} {format_eps(found['eps'])}, {found['n']} samples of both"
    print_pairs(setting, [("A", _name(a)), ("B", _name(b))])
    click.echo()
    print_table(
        ("share of samples", "A %", "B %", "both", "only A", "only B", "neither", "A - B, points (95 %)", "McNemar p"),
        [
            (
                words,
                f"{100 * part['a']:.1f}",
                f"{100 * part['b']:.1f}",
                *(str(part[name]) for name in ("both", "only_a", "only_b", "neither")),
                f"{100 * part['difference']:+.1f} ({100 * part['low']:+.1f} to {100 * part['high']:+.1f})",
                _p(part),
            )
            for words, part in (("survive every attack", found["robust"]), ("right when clean", found["clean"]))
        ],
    )
    click.echo()
    gaps = {"gap": "C, templates", "gap_centred": "C, centred", "gap_deflated": "C, deflated", "gap_features": "F"}
    rows = [(words, *(_gap(side, name) for side in (a, b))) for name, words in gaps.items()]
    print_table(("gap", "A", "B"), [row for row in rows if row[1:] != ("–", "–")])
    click.echo(f"\n{found['verdict']}")


def _gap(side: dict[str, Any], name: str) -> str:
    """The error is known of the templates' own gap; the others of a sketch are marked as estimates."""
    if side[name] is None:
        return "–"
    if name == "gap_features" or side["sketch"] is None:
        return f"{side[name]:.3f}"
    return (
        f"{side[name]:.3f}±{side['gap_error']:.3f}"
        if name == "gap" and side["gap_error"] is not None
        else f"≈{side[name]:.3f}"
    )
