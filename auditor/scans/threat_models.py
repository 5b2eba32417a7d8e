"""Scans of common corruptions: which models are audited under them, and which options have a meaning there."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from auditor.data.corruptions import choose_data
from auditor.errors import UsageError
from auditor.records import Measurement, ZooEntry
from auditor.records.corruptions import NO_RADIUS, THREAT_MODELS, is_corruptions
from auditor.scans.request import under


def entries_under(
    entries: Sequence[ZooEntry], norm: str | None, eps: float | None, threat_model: str | None, data: Path | None
) -> list[ZooEntry]:
    """The entries under the requested threat model: common corruptions, a norm ball, or for None their own.

    Args:
        norm, eps: the norm ball; None keeps that of the entry.
        threat_model: ``corruptions`` or ``corruptions_3d`` stands for all entries; other names only select models.
        data: the path with the images, which may hold published corruptions.

    Raises:
        UsageError: as :func:`auditor.scans.request.under`; a norm ball for corruptions; or 3D corruptions without their
            published files.
    """
    if threat_model in THREAT_MODELS and (norm is not None or eps is not None):
        raise UsageError(
            f"--threat-model {threat_model} measures corruptions, which have no norm and no radius: leave out --norm "
            "and --eps, or leave out --threat-model and select the models with --match or --model"
        )
    if threat_model in THREAT_MODELS:
        return [_corrupted(entry, threat_model, data) for entry in entries]
    changed = [under(entry, norm, eps) for entry in entries]
    return [_corrupted(entry, entry.threat_model, data) if is_corruptions(entry.norm) else entry for entry in changed]


def _corrupted(entry: ZooEntry, threat_model: str, data: Path | None) -> ZooEntry:
    norm = choose_data(entry, threat_model, data)
    return replace(entry, threat_model=threat_model, norm=norm, eps=NO_RADIUS)


def check_options(entries: Sequence[ZooEntry], request: Measurement) -> None:
    """Refuse options that only attacks have, if a model is audited under corruptions.

    Raises:
        UsageError: such an option is given.
    """
    corrupted = [entry.model for entry in entries if is_corruptions(entry.norm)]
    if not corrupted:
        return
    audit = request.audit
    given = {
        "--protocol strong": audit.protocol == "strong",
        "--targeted": audit.targeted is not None,
        "--curve": audit.curve,
        "--certify": audit.certify is not None,
        "--attack or --transfer-from": audit.extra_attacks is not None,
        "--sequential": audit.may_stop,
        "--triage": audit.triage is not None,
        "--save-adversarials": request.adversarials is not None,
    }
    option = next((name for name, is_given in given.items() if is_given), None)
    if option is not None:
        instead = "use --protocol standard" if option == "--protocol strong" else f"leave out {option}"
        raise UsageError(
            f"{option} has no meaning for {corrupted[0]}, which is audited under corruptions without an attack: "
            f"{instead}, or attack it with --norm and --eps"
        )
