"""The threat model of a scan's entries, common corruptions included, and the options that have a meaning under it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from auditor.data.corruptions import choose_data
from auditor.errors import UsageError
from auditor.records import Measurement, ZooEntry
from auditor.records.certificates import CERTIFIED_NORMS, CertificateMethod
from auditor.records.corruptions import NO_RADIUS, THREAT_MODELS, is_corruptions
from auditor.text.numbers import counted


def entries_under(
    entries: Sequence[ZooEntry], norm: str | None, eps: float | None, threat_model: str | None, data: Path | None
) -> list[ZooEntry]:
    """The entries under the requested threat model: common corruptions, a norm ball, or for None their own.

    Args:
        norm, eps: the norm ball; None keeps that of the entry.
        threat_model: ``corruptions`` or ``corruptions_3d`` stands for all entries; other names only select models.
        data: the path with the images, which may hold published corruptions.

    Raises:
        UsageError: as :func:`under`; a norm ball for corruptions; or 3D corruptions without their
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


def under(entry: ZooEntry, norm: str | None, eps: float | None) -> ZooEntry:
    """The entry under the requested threat model.

    Raises:
        UsageError: the norm is another one than the entry's and has no radius, the entry has no norm, or an Linf radius
            is above 1.
    """
    if norm not in (None, entry.norm) and eps is None:
        raise UsageError(f"--norm {norm} needs --eps, because the radius of {entry.model} is for {entry.norm}")
    if norm is None and eps is not None and is_corruptions(entry.norm):
        raise UsageError(f"--eps needs --norm, because {entry.model} is listed for common corruptions and has no norm")
    changed = replace(entry, norm=norm or entry.norm, eps=eps or entry.eps)
    if changed.norm == "Linf" and changed.eps > 1:
        raise UsageError(f"expected an Linf radius of at most 1, in units of the [0, 1] pixels, got {changed.eps:g}")
    return changed if norm in (None, entry.norm) else replace(changed, threat_model=norm)


def _corrupted(entry: ZooEntry, threat_model: str, data: Path | None) -> ZooEntry:
    norm = choose_data(entry, threat_model, data)
    return replace(entry, threat_model=threat_model, norm=norm, eps=NO_RADIUS)


def check_options(entries: Sequence[ZooEntry], request: Measurement) -> list[str]:
    """Refuse options that have no meaning for any of the entries.

    Returns in words which options :meth:`Measurement.under` leaves out for some of the entries only.

    Raises:
        UsageError: an option that only attacks have, for corruptions; or a certificate in a norm that its method does
            not know.
    """
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
    options = [name for name, is_given in given.items() if is_given]
    corrupted = [entry for entry in entries if is_corruptions(entry.norm)]
    if options and corrupted and len(corrupted) == len(entries):
        option = options[0]
        instead = "use --protocol standard" if option == "--protocol strong" else f"leave out {option}"
        raise UsageError(
            f"{option} has no meaning for {corrupted[0].model}, which is audited under corruptions without an attack: "
            f"{instead}, or attack it with --norm and --eps"
        )
    left_out = [
        f"{option} has no meaning under corruptions: {counted(len(corrupted), 'model')}, such as "
        f"{corrupted[0].model}, will be measured without it"
        for option in options
        if corrupted
    ]
    return left_out + _check_certify(audit.certify, [entry for entry in entries if not is_corruptions(entry.norm)])


def _check_certify(method: CertificateMethod | None, attacked: Sequence[ZooEntry]) -> list[str]:
    wrong = [] if method is None else [entry for entry in attacked if entry.norm not in CERTIFIED_NORMS[method]]
    if not wrong:
        return []
    unknown = f"--certify {method} does not know the norm {wrong[0].norm} of {wrong[0].model}"
    if len(wrong) == len(attacked):
        hint = "--norm L2 --eps …" if method == "smoothing" else "another --norm"
        raise UsageError(f"{unknown}: add {hint}")
    return [f"{unknown}: {counted(len(wrong), 'model')} will be measured without a certificate"]
