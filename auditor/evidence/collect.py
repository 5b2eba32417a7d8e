"""Stored results as records of evidence."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine

from auditor.checkpoints.metadata import hub_dataset
from auditor.db.results import Detail, Filter, list_results, load_detail, load_entry
from auditor.db.scans import load_scan
from auditor.errors import EvidenceError, UsageError
from auditor.evidence.figures import compute_figures, find_differences
from auditor.records import STOPPED_EARLY, ZooEntry
from auditor.records.evidence import (
    AuditedModel,
    AuditSetting,
    CertificateSetting,
    CurveSetting,
    EvidenceRecord,
    NotIncluded,
    RunAttack,
    Sample,
)
from auditor.records.results import ResultRow
from auditor.results.serialize import nan_to_none

STATED = (
    "affinity_error", "intra", "inter", "gap", "gap_error", "p_value", "effective_rank", "screen_score", "margin",
    "local_gap", "data_margin", "claimed_clean_accuracy", "claimed_robust_accuracy", "not_measurable", "notes", "flags",
)  # fmt: skip
"""The fields of a result that do not follow from its verdicts."""


@dataclass(frozen=True, kw_only=True)
class Collected:
    """What is exported: the rows of the results, their records, and what is left out; ``scan``: None for one audit."""

    scan: int | None
    rows: tuple[ResultRow, ...]
    records: tuple[EvidenceRecord, ...]
    not_included: tuple[NotIncluded, ...] = ()


def collect_audit(engine: Engine, audit_id: int) -> Collected:
    """The evidence of one audit.

    Raises:
        NotFoundError: the audit does not exist.
        UsageError: it has no verdicts to show.
    """
    row, found = _collect(engine, audit_id)
    if isinstance(found, str):
        raise UsageError(f"there is no evidence of audit {audit_id} ({row.model}): {found}")
    return Collected(scan=None, rows=(row,), records=(found,))


def collect_scan(engine: Engine, scan_id: int) -> Collected:
    """The evidence of all audits of a scan that have verdicts.

    Raises:
        NotFoundError: the scan does not exist.
        UsageError: it still runs, or no audit has verdicts to show.
    """
    if load_scan(engine, scan_id).state == "running":
        raise UsageError(f"scan {scan_id} is still running: export it once it has ended")
    rows = list_results(engine, Filter(scan=scan_id), sort="model")
    found = [(row, _collect(engine, row.id)[1] if row.status == "done" else _why_not_done(row)) for row in rows]
    kept = [(row, record) for row, record in found if isinstance(record, EvidenceRecord)]
    left = [NotIncluded(model=row.model, reason=reason) for row, reason in found if isinstance(reason, str)]
    if not kept:
        reasons = "; ".join(f"{one.model}: {one.reason}" for one in left[:3]) or "it has no audits"
        raise UsageError(f"there is no evidence of scan {scan_id}: {reasons}")
    return Collected(
        scan=scan_id,
        rows=tuple(row for row, _ in kept),
        records=tuple(record for _, record in kept),
        not_included=tuple(left),
    )


def _why_not_done(row: ResultRow) -> str:
    return f"its audit is {row.status}" + (f": {row.reason}" if row.reason else "")


def _collect(engine: Engine, audit_id: int) -> tuple[ResultRow, EvidenceRecord | str]:
    """The row of an audit and its record, or why it has none."""
    detail = load_detail(engine, audit_id)
    row = detail.row
    if row.status != "done":
        return row, _why_not_done(row)
    entry, obstacle = load_entry(engine, audit_id), _find_obstacle(detail)
    if obstacle is not None or entry is None:
        return row, obstacle or "an older auditor stored it; `auditor scan … --force` measures it again"
    return row, _make_record(detail, entry)


def _find_obstacle(detail: Detail) -> str | None:
    again = "`auditor scan … --force` measures them again"
    if detail.row.robust_accuracy is None:
        return "the model was not attacked"
    if detail.verdicts is None:
        return f"its verdicts were pruned from the database; {again}"
    if STOPPED_EARLY in detail.row.flags:
        return "it stopped early, so it answers its gate only; audit the model without --sequential"
    if any(score.verdicts is None for score in detail.corruptions):
        return f"its verdicts under corruptions were pruned from the database; {again}"
    return None


def _make_record(detail: Detail, entry: ZooEntry) -> EvidenceRecord:
    """The record of an audit with verdicts, whose figures follow from them.

    Raises:
        EvidenceError: a stored figure does not follow from the stored verdicts.
    """
    row, curve, certificate = detail.row, detail.curve, detail.certificate
    parts: dict[str, Any] = {
        "audit": AuditSetting(
            **{name: getattr(row, name) for name in AuditSetting.__dataclass_fields__ if name != "hub_dataset"},
            hub_dataset=hub_dataset(entry),
        ),
        "model": AuditedModel(
            name=row.model,
            source=row.source,
            description=detail.description,
            architecture=entry.architecture,
            preprocessing=entry.preprocessing,
            input_size=entry.input_size,
            weights_sha256=row.weights_sha256 or "",
            file_sha256=entry.file_sha256,
            training=detail.training,
        ),
        "classes": detail.classes,
        "superclasses": detail.superclasses,
        "attacks": tuple(
            RunAttack(attack=score.attack, parameters=score.parameters, n=score.n, seconds=score.seconds)
            for score in detail.attacks
        ),
        "curve": None if curve is None else CurveSetting(norm=curve.norm, largest=curve.largest, attacks=curve.attacks),
        "certificate": None
        if certificate is None
        else CertificateSetting(method=certificate.method, parameters=certificate.parameters),
        "corruptions": tuple(f"{score.corruption}/{score.severity}" for score in detail.corruptions),
        "stated": _stated(detail),
        "samples": tuple(_samples(detail)),
    }
    figures = compute_figures(EvidenceRecord(**parts))
    for difference in find_differences(*_both(detail, figures)):
        raise EvidenceError(
            f"audit {row.id} ({row.model}): its verdicts give another figure than is stored, {difference}"
        )
    return EvidenceRecord(**parts, figures=figures)


def _stated(detail: Detail) -> dict[str, Any]:
    stated = {name: getattr(detail.row, name) for name in STATED}
    if detail.certificate is not None and detail.certificate.method == "smoothing":
        stated["smoothed_abstained"] = detail.certificate.abstained
    if detail.targeted is not None:
        from auditor.results.targeted import targeted_values

        stated["targeted"] = targeted_values(detail.targeted)
    plain: dict[str, Any] = nan_to_none(stated)
    return plain


def _samples(detail: Detail) -> Iterator[Sample]:
    verdicts, curve, certificate = detail.verdicts, detail.curve, detail.certificate
    assert verdicts is not None
    for k, index in enumerate(verdicts.indices.tolist()):
        values: dict[str, Any] = {"correct": bool(verdicts.correct[k]), "survived": bool(verdicts.survived[k])}
        if verdicts.pictures is not None:
            values["picture"] = f"{int(verdicts.pictures[k]):016x}"
        if verdicts.labels is not None:
            values |= _classes(detail, k, values["correct"])
        if curve is not None:
            size, found_by = float(curve.sizes[k]), int(curve.found_by[k])
            values |= {"size": size if math.isfinite(size) else None, "found_by": None if found_by < 0 else found_by}
        if certificate is not None:
            values["certified"] = bool(certificate.certified[k])
            values["radius"] = None if certificate.radii is None else float(certificate.radii[k])
        if detail.corruptions:
            values["corruptions"] = "".join(
                "1" if score.verdicts is not None and score.verdicts[k] else "0" for score in detail.corruptions
            )
        yield Sample(index=index, **values)


def _classes(detail: Detail, k: int, correct: bool) -> dict[str, Any]:
    """The classes of a sample. The stored class after the attacks is that of the clean image if no attack broke it."""
    verdicts = detail.verdicts
    assert verdicts is not None
    assert verdicts.labels is not None
    label = int(verdicts.labels[k])
    if verdicts.predicted is None or verdicts.broken_at is None:
        return {"label": label, "clean_class": label if correct else None}
    after, broken_by = int(verdicts.predicted[k]), int(verdicts.broken_at[k])
    if broken_by < 0:
        return {"label": label, "clean_class": after}
    return {"label": label, "clean_class": label, "broken_by": broken_by, "adversarial_class": after}


def _both(detail: Detail, figures: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The figures that the database stores, and the same ones from the samples."""
    row, robust = detail.row, figures["robust_accuracy"]
    stored: dict[str, Any] = {
        "n": row.n,
        "clean_accuracy": row.clean_accuracy,
        "robust_accuracy": row.robust_accuracy,
        "robust_low": row.robust_low,
        "robust_high": row.robust_high,
    }
    found = {
        "n": figures["n"],
        "clean_accuracy": figures["clean_accuracy"]["value"],
        "robust_accuracy": robust["value"],
        "robust_low": robust["low"],
        "robust_high": robust["high"],
    }
    if attacks := figures.get("attacks"):
        stored["attacks"] = [(score.broken, score.robust_accuracy) for score in detail.attacks]
        found["attacks"] = [(attack["broken"], attack["robust_accuracy"]) for attack in attacks]
    if detail.certificate is not None:
        share = figures.get("certified_accuracy") or figures["smoothed_certified_accuracy"]
        stored["certified"] = [detail.certificate.accuracy, detail.certificate.low, detail.certificate.high]
        found["certified"] = [share["value"], share["low"], share["high"]]
    return stored, found
