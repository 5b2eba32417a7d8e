"""The context of one audit in a page or a report."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from auditor.db.results import Detail
from auditor.records import STOPPED_EARLY
from auditor.records.corruptions import GENERATED, is_corruptions, threat_model_of
from auditor.records.results import ResultRow
from auditor.results.calibration import calibration_lines, score_lines
from auditor.results.certificates import certificate_words, range_words
from auditor.results.curves import curve_pairs
from auditor.results.ranking import GAP_NOTE, SCREEN_NOTE, describe_setting, setting_of
from auditor.results.serialize import pruned_kinds
from auditor.scans.command import early_gate
from auditor.text.eps import format_eps, format_threat, parse_eps
from auditor.text.numbers import DASH, number, percent
from auditor.web.audit.errors import AuditErrors, build_audit_errors
from auditor.web.figures.bars import Bar, attack_bars, corruption_bars, range_bar
from auditor.web.figures.heatmap import Heatmap, heatmap
from auditor.web.figures.lines import Lines, history
from auditor.web.figures.robustness import CurvePlot, curve_plot
from auditor.web.figures.templates import TemplateTiles

HEATMAPS = ("weights", "deflated", "features")


@dataclass(frozen=True)
class AuditDetail:
    """One audit. ``remarks`` are sentences about its numbers; ``screening``, ``provenance``: names and values.

    ``templates``: pictures of the templates; None leaves the section out. ``curve``, ``curve_pairs``: the robust
    accuracy at every radius, and names and values of its summary; None and empty without a curve. ``certificate``:
    sentences about what is proven; ``range``: from the certified to the robust accuracy, None without both.
    """

    row: ResultRow
    description: str
    setting: str
    bars: tuple[Bar, ...]
    heatmaps: tuple[Heatmap, ...]
    history: tuple[Lines, ...]
    screening: tuple[tuple[str, str], ...]
    provenance: tuple[tuple[str, str], ...]
    command: str
    remarks: tuple[str, ...]
    errors: AuditErrors | None
    templates: TemplateTiles | None = None
    curve: CurvePlot | None = None
    curve_pairs: tuple[tuple[str, str], ...] = ()
    certificate: tuple[str, ...] = ()
    range: Bar | None = None

    @property
    def corrupted(self) -> bool:
        """Whether the bars are of corruptions instead of attacks."""
        return is_corruptions(self.row.norm)

    @property
    def anchor(self) -> str:
        """The ID of its section in a report."""
        return f"audit-{self.row.id}"


def build_audit_detail(
    detail: Detail,
    results: Sequence[ResultRow] = (),
    *,
    order: Sequence[int] | None = None,
    templates: TemplateTiles | None = None,
    request: Mapping[str, Any] | None = None,
) -> AuditDetail:
    """Build the context of an audit; ``results`` of the same model become its history.

    ``request``: the stored request of its scan; it says which gate stopped the audit early.

    ``order``: of the classes in all matrices; None gives each matrix the order of its dendrogram.
    """
    row = detail.row
    drawn = (
        heatmap(detail.clusterings[kind], detail.classes, detail.superclasses, order)
        for kind in HEATMAPS
        if kind in detail.clusterings
    )
    return AuditDetail(
        row=row,
        description=detail.description,
        setting=describe_setting(setting_of(row)),
        bars=attack_bars(row, detail.attacks) if not detail.corruptions else corruption_bars(row, detail.corruptions),
        heatmaps=tuple(one for one in drawn if one is not None),
        history=history(row, results),
        screening=tuple(_screening_pairs(detail)),
        provenance=tuple(_provenance(row)),
        command=repeat_command(row, _options_of(detail, request or {})),
        remarks=tuple(_remarks(detail)),
        errors=build_audit_errors(detail),
        templates=templates,
        curve=curve_plot([(row.model, detail)]),
        curve_pairs=tuple(curve_pairs(detail.curve, row.eps)) if detail.curve else (),
        certificate=tuple(_certificate_sentences(detail)),
        range=range_bar(row),
    )


def _certificate_sentences(detail: Detail) -> list[str]:
    if detail.certificate is None:
        return []
    words = range_words(detail.row)
    return [
        f"Certified: {certificate_words(detail.certificate)}.",
        *([] if words is None else [f"{words[0].upper()}{words[1:]}."]),
    ]


def _options_of(detail: Detail, request: Mapping[str, Any]) -> dict[str, Any]:
    """What the audit was requested to measure beside the attacks, by the names of a stored request."""
    found = detail.certificate
    gate = ("stop_at", "stop_on_regression", "samples") if STOPPED_EARLY in detail.row.flags else ()
    return {name: request.get(name) for name in gate} | {
        "targeted": None if detail.targeted is None else "superclass",
        "curve": detail.curve is not None,
        "mixed_precision": any("precision" in score.parameters for score in detail.attacks),
        "certify": None if found is None else found.method,
        "sigma": None if found is None else found.parameters.get("sigma"),
    }


def repeat_command(row: ResultRow, options: Mapping[str, Any]) -> str:
    """Write the command that repeats the audit; ``DIR`` stands for the folder of a local zoo, which is not stored.

    ``options``: what was measured beside the attacks and how, as in a stored request: targeted, curve, certify, sigma,
    mixed_precision; and, of an audit that may stop early, its gate and the number of images to draw from.
    """
    words = ["auditor", "scan", row.source, *(["DIR"] if row.source == "local" else [])]
    words += ["--model", row.model.partition(":")[2], "--protocol", row.protocol]
    gate = early_gate(options)
    samples = options.get("samples") if gate else row.n or row.samples  # of a smaller data set, all images were used
    if samples and row.samples and row.protocol != "screen":
        words += ["--samples", str(samples)]
    if is_corruptions(row.norm):
        words += ["--threat-model", threat_model_of(row.norm), *([] if row.norm == GENERATED else ["--data", "PATH"])]
        return shlex.join([*words, "--seed", str(row.seed), *_further_options(row)])
    eps = format_eps(row.eps) if parse_eps(format_eps(row.eps)) == row.eps else repr(row.eps)
    words += ["--norm", row.norm, "--eps", eps, "--seed", str(row.seed)]
    words += ["--targeted", str(options["targeted"])] if options.get("targeted") else []
    words += ["--curve"] if options.get("curve") else []
    words += ["--mixed-precision"] if options.get("mixed_precision") else []
    words += ["--certify", str(options["certify"])] if options.get("certify") else []
    words += ["--sigma", f"{options['sigma']:.15g}"] if options.get("sigma") else []
    return shlex.join([*words, *gate, *_further_options(row)])


def _further_options(row: ResultRow) -> list[str]:
    words = [] if row.linearization == "remove" else ["--linearization", row.linearization]
    words += [] if row.sketch is None else ["--sketch", str(row.sketch)]
    return [*words, *_extra_attacks(row.extra_attacks), "--device", row.device, "--force"]


def _extra_attacks(label: str | None) -> list[str]:
    """The options of the attacks beyond the protocol's; ``PATH`` stands for the folder of a file."""
    words, own = list[str](), False
    for name in label.split(", ") if label else ():
        if name.startswith("transfer from "):
            words += ["--transfer-from", re.sub("@[0-9a-f]{8}$", "", name.removeprefix("transfer from "))]
        else:
            words, own = [*words, "--attack", f"PATH/{name.rpartition('@')[0]}"], True
    return [*words, "--trust-code"] if own else words


def _provenance(row: ResultRow) -> list[tuple[str, str]]:
    versions = ", ".join(f"{name} {number}" for name, number in row.versions.items())
    seconds = DASH if row.seconds is None else f"{row.seconds:.1f} s"
    return [
        ("audit", str(row.id)),
        ("threat model", f"{format_threat(row.norm, row.eps)}, zoo entry's: {row.threat_model}"),
        ("weights, SHA-256", row.weights_sha256 or "–"),
        ("images, SHA-256", row.images_sha256 or "–"),
        ("identity", row.identity or "–"),
        ("seed", str(row.seed)),
        ("beyond the protocol", row.extra_attacks or "–"),
        ("linearization", f"batch norm: {row.linearization}, C {row.correlation}"),
        ("affinity error", DASH if row.affinity_error is None else f"{row.affinity_error:.1e}"),
        ("device", f"{row.device}, batches of {row.batch_size or '–'}"),
        ("run", f"{row.started_at or '–'} to {row.finished_at or '–'}, {seconds}"),
        ("versions", versions or "–"),
    ]


def _screening_pairs(detail: Detail) -> list[tuple[str, str]]:
    row, found = detail.row, detail.screening
    if found is None:
        return []
    lengths = [
        ("margin at confident probes", row.margin, "margin"),
        ("margin at test images", row.data_margin, "data_margin"),
    ]
    pairs = [
        (name, found.reasons.get(key, DASH) if value is None else f"{value:.3g}, {value / row.eps:.2g} of ε")
        for name, value, key in lengths
        if value is not None or key in found.reasons
    ]
    gap = found.reasons.get("local_gap", DASH) if row.local_gap is None else number(row.local_gap)
    return [*pairs, ("local gap", gap)]


def _remarks(detail: Detail) -> list[str]:
    row = detail.row
    doubts = [flag for flag in row.flags if flag != STOPPED_EARLY]
    words = [f"Flagged: {', '.join(doubts)}. The number cannot be trusted."] if doubts else []
    if STOPPED_EARLY in row.flags:
        words.append("The audit stopped early, once its gate was decided: it attacked a part of the images.")
    words += [f"Note: {note}." for note in row.notes]
    words += [f"Not measurable: {part}." for part in row.not_measurable]
    if gone := pruned_kinds(detail):
        words.append(f"Pruned from the database: the matrices of {', '.join(gone)}.")
    if row.claimed_robust_accuracy is not None:
        doubt = ", marked unreliable by its publisher" if row.claimed_unreliable else ""
        words.append(f"Claimed robust accuracy: {percent(row.claimed_robust_accuracy, 2)}{doubt}.")
    if row.protocol == "screen":
        words += [SCREEN_NOTE, *score_lines(row.norm), *calibration_lines(row.linearization)]
    return [*words, GAP_NOTE] if row.n else words
