"""What the options of ``auditor scan`` ask for, as a request."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from auditor.records import ZooEntry
    from auditor.scans import ScanRequest


def under(entry: "ZooEntry", norm: str | None, eps: float | None) -> "ZooEntry":
    """The entry under the threat model that was asked for.

    Raises:
        UsageError: another norm without a radius of its own, or a radius that no image has room for.
    """
    from auditor.errors import UsageError

    if norm not in (None, entry.norm) and eps is None:
        raise UsageError(f"--norm {norm} needs --eps: {entry.model}'s own radius is one of {entry.norm}")
    changed = replace(entry, norm=norm or entry.norm, eps=eps or entry.eps)
    if changed.norm == "Linf" and changed.eps > 1:
        raise UsageError(f"expected an Linf radius of at most 1, in units of the [0, 1] pixels, got {changed.eps:g}")
    return changed if norm in (None, entry.norm) else replace(changed, threat_model=norm)


def make_request(
    options: dict[str, Any], folder: Path | None, adversarials: Path | None, *, trust_code: bool, queue: str
) -> "ScanRequest":
    """The options as a request; a device is looked for only where the scan is to run here."""
    from auditor.config import settings
    from auditor.devices import check_device
    from auditor.limits import GIB, Limits
    from auditor.records import AuditRequest
    from auditor.scans import ScanRequest

    limits = Limits.of(options["protocol"], options["time_limit"], options["memory_limit"])
    audit = AuditRequest(
        protocol=options["protocol"],
        linearization=options["linearization"],
        sketch=options["sketch"],
        seed=options["seed"],
        device=check_device(options["device"]) if queue == "here" else options["device"],
        batch_size=settings().batch_size,
    )
    memory = options["memory_limit"]
    return ScanRequest.make(
        audit,
        samples=options["samples"],
        data=options["data"] and options["data"].absolute(),
        adversarials=adversarials,
        folder=str(folder.absolute()) if folder else None,
        trust_code=trust_code,
        seconds=limits.seconds,
        memory=None if memory is None else int(memory * GIB),
        force=options["force"],
    )
