"""What the options of ``auditor scan`` ask for, as a request."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from auditor.scans.request import ScanRequest


def make_request(
    options: dict[str, Any], folder: Path | None, adversarials: Path | None, *, trust_code: bool, queue: str
) -> "ScanRequest":
    """The options as a request; a device is looked for only where the scan is to run here."""
    from auditor.config import settings
    from auditor.jobs.limits import GIB, Limits
    from auditor.machine.devices import check_device
    from auditor.records import AuditRequest
    from auditor.scans.request import ScanRequest

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
