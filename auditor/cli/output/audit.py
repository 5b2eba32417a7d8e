"""``auditor results show``: everything about one audit."""

from collections.abc import Iterator

from auditor.cli.output.class_errors import error_pairs
from auditor.cli.output.corruptions import print_corruptions
from auditor.cli.output.published import claim_lines
from auditor.cli.output.tables import print_pairs, print_table
from auditor.db.results import Detail
from auditor.records import Clustering
from auditor.records.matrices import ERROR_NAMES, MATRIX_NAMES
from auditor.records.results import ResultRow
from auditor.results.calibration import calibration_lines, score_lines
from auditor.results.certificates import certificate_words, range_words
from auditor.results.class_errors import ClassErrors, find_class_errors
from auditor.results.curves import curve_pairs
from auditor.results.ranking import GAP_NOTE, SCREEN_NOTE, format_gap_error
from auditor.results.serialize import pruned_kinds
from auditor.results.targeted import targeted_words
from auditor.text.eps import format_eps, format_threat
from auditor.text.numbers import DASH, counted, number, percent, significant


def print_detail(detail: Detail) -> None:
    row, errors = detail.row, find_class_errors(detail)
    print_pairs(
        f"{row.model}: {detail.description}",
        [
            (
                "protocol",
                f"{row.protocol}, {format_threat(row.norm, row.eps)}, "
                f"{counted(row.n, 'image') if row.n else 'no images'}",
            ),
            *(("beyond the protocol", attacks) for attacks in [row.extra_attacks] if attacks),
            ("clean accuracy", percent(row.clean_accuracy)),
            (
                "robust accuracy",
                f"{percent(row.robust_accuracy)} ({percent(row.robust_low)} to {percent(row.robust_high)})",
            ),
            *error_pairs(errors),
            *(("targeted", targeted_words(score)) for score in [detail.targeted] if score is not None),
            *(curve_pairs(detail.curve, row.eps) if detail.curve else ()),
            *(("certified", certificate_words(found)) for found in [detail.certificate] if found is not None),
            *(("range", words) for words in [range_words(row)] if words is not None),
            *claim_lines(detail),
            (
                "linearization",
                f"batch norm: {row.linearization}, affinity error {significant(row.affinity_error)}",
            ),
            ("correlation", _correlation(row)),
            *_screening(detail),
            ("flags", ", ".join(row.flags) or "none"),
            *(("note", note) for note in row.notes),
            *(("not measurable", part) for part in row.not_measurable),
            *(("pruned", f"{part}; `auditor scan … --force` makes them again") for part in _gone(detail)),
            *(("adversarial images", path) for path in [detail.adversarials] if path),
            ("weights", f"SHA-256 {row.weights_sha256}"),
            ("run", f"{row.started_at}, {row.seconds:.1f} s on {row.device}, seed {row.seed}"),
            ("versions", ", ".join(f"{name} {number}" for name, number in row.versions.items())),
        ],
    )
    if detail.attacks:
        print()
        print_table(
            ("attack", "run on", "broke", "left standing", "seconds"),
            [
                (
                    score.attack,
                    str(score.n),
                    str(score.broken),
                    percent(score.robust_accuracy),
                    f"{score.seconds:.1f}",
                )
                for score in detail.attacks
            ],
        )
    if detail.corruptions:
        print()
        print_corruptions(detail.corruptions)
    if detail.clusterings:
        print()
        names = (
            "gap", *(() if row.sketch is None else ("gap_error",)), "p_value", "intra", "inter", "silhouette",
            "rand_index", "cophenetic", "effective_rank",
        )  # fmt: skip
        print_table(
            ("clustering", *names),
            [
                (MATRIX_NAMES[kind], *(significant(getattr(part.scores, name)) for name in names))
                for kind, part in detail.clusterings.items()
            ]
            + [
                (ERROR_NAMES[part.kind], *(significant(getattr(part.scores, name)) for name in names))
                for part in _scored(errors)
            ],
        )
        print(f"\n{SCREEN_NOTE if row.protocol == 'screen' else GAP_NOTE}")
        if row.protocol == "screen":
            print("\n".join([*score_lines(row.norm), *calibration_lines(row.linearization)]))


def _scored(errors: ClassErrors | None) -> Iterator[Clustering]:
    if errors is not None and errors.attack_success is not None:
        yield errors.attack_success


def _screening(detail: Detail) -> Iterator[tuple[str, str]]:
    row, found = detail.row, detail.screening
    if found is None:
        return
    score = found.reasons.get("score", DASH) if row.screen_score is None else number(row.screen_score)
    yield "screening score", score
    lengths = {"confident probes": row.margin, "test images": row.data_margin}
    known = [f"{value:.3g} at {where}" for where, value in lengths.items() if value is not None]
    if known:
        yield "margins", f"{', '.join(known)} (ε {format_eps(row.eps)})"
    if row.local_gap is not None:
        yield "local gap", number(row.local_gap)


def _gone(detail: Detail) -> Iterator[str]:
    if kinds := pruned_kinds(detail):
        yield f"the matrices of {', '.join(kinds)}"
    if detail.row.n and detail.verdicts is None:
        yield "the verdicts by sample"


def _correlation(row: ResultRow) -> str:
    if row.sketch is None:
        return "exact"
    error = format_gap_error(row)
    return f"sketch of {row.sketch} probes{f', gap {error[0]} {error[1:]}' if error else ''}"
