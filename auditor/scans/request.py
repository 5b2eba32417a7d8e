"""The request of a scan."""

from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from auditor import tracing
from auditor.attacks import find_protocol
from auditor.errors import UsageError
from auditor.jobs.stored_requests import load_request
from auditor.records import AuditRequest, Measurement
from auditor.records.json import to_json
from auditor.tracing import Span


@dataclass(frozen=True, kw_only=True)
class ScanRequest:
    """Everything that a process, perhaps on another machine, needs to run a scan.

    Attributes:
        folder: the absolute folder of the zoo; None for the source's default on the machine that runs the scan.
        trust_code: whether a local zoo's Python code may run; a worker may refuse it.
        seconds: wall time that one model may take; ``memory`` in bytes, None for most of the machine's.
        force: measure models again that have results.
        reverify: the models whose results are measured again and compared.
    """

    measurement: Measurement
    folder: str | None = None
    trust_code: bool = False
    seconds: float = 3600.0
    memory: int | None = None
    force: bool = False
    reverify: tuple[str, ...] = ()

    @property
    def place(self) -> Path | None:
        return None if self.folder is None else Path(self.folder)

    @classmethod
    def make(
        cls,
        audit: AuditRequest,
        *,
        samples: int | None,
        data: Path | None = None,
        adversarials: Path | None = None,
        **others: Any,
    ) -> "ScanRequest":
        """A request; ``samples`` is by default the protocol's number, or all images of a smaller data set.

        Raises:
            UsageError: ``samples``, a triage, a curve, certificates, targeted or extra attacks are given for a protocol
                without images, or ``stop_at`` for one that needs all images at once.
        """
        protocol = find_protocol(audit.protocol)
        if audit.triage is not None and protocol.samples == 0:
            raise UsageError(f"--triage has no meaning under {protocol.name!r}, which attacks no model")
        if audit.targeted is not None and protocol.samples == 0:
            raise UsageError(f"--targeted has no meaning under {protocol.name!r}, which attacks no model")
        if audit.curve and protocol.samples == 0:
            raise UsageError(f"--curve has no meaning under {protocol.name!r}, which attacks no model")
        if audit.mixed_precision and not any(attack.engine == "search" for attack in protocol.attacks):
            raise UsageError(f"--mixed-precision has no meaning under {protocol.name!r}: only strong has a search")
        if samples is not None and protocol.samples == 0:
            raise UsageError(f"--samples has no meaning under {protocol.name!r}, which uses no images")
        if audit.extra_attacks is not None and protocol.samples == 0:
            raise UsageError(f"--attack and --transfer-from have no meaning under {protocol.name!r}, without attacks")
        if audit.targeted is not None and audit.may_stop:
            raise UsageError("--sequential attacks fewer images than --targeted needs: use one of the two")
        if audit.curve and audit.may_stop:
            raise UsageError("--sequential attacks fewer images than --curve needs: use one of the two")
        if audit.certify is not None and protocol.samples == 0:
            raise UsageError(f"--certify has no meaning under {protocol.name!r}, which uses no images")
        if audit.certify is not None and audit.may_stop:
            raise UsageError("--sequential attacks fewer images than --certify needs: use one of the two")
        if audit.sigma is not None and audit.certify != "smoothing":
            raise UsageError("--sigma is the noise of --certify smoothing: add that option, or leave --sigma out")
        if audit.may_stop and others.get("reverify"):
            raise UsageError("--sequential attacks fewer images than --reverify needs: use one of the two")
        if audit.may_stop and protocol.samples == 0:
            raise UsageError(f"an early answer has no meaning under {protocol.name!r}, which attacks no model")
        if audit.may_stop and protocol.name == "strong":
            raise UsageError("--sequential needs quick, standard or full: strong spreads its budget over all images")
        measurement = Measurement(
            audit=audit,
            samples=protocol.samples if samples is None else samples,
            or_fewer=samples is None,
            data=data,
            adversarials=adversarials,
        )
        return cls(measurement=measurement, **others)

    def span(self, source: str, *, parent: str | None = None, **attributes: Any) -> AbstractContextManager[Span]:
        """The span of a scan with this request; arguments as in :func:`auditor.tracing.span`."""
        audit = self.measurement.audit
        return tracing.span(
            "scan", parent=parent, source=source, protocol=audit.protocol, device=audit.device, **attributes
        )

    def to_json(self) -> dict[str, Any]:
        """As a scan's row stores it: one flat object."""
        stored = to_json(self)
        measurement = stored.pop("measurement")
        return {**measurement.pop("audit"), **measurement, **stored}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> "ScanRequest":
        """Raises UsageError if another version of auditor stored the request."""
        nested = {**stored, "measurement": {**stored, "audit": stored}}
        return load_request(cls, nested, "scan", STORED)


ADDED_LATER = {
    "audit", "measurement", "reverify", "triage", "targeted", "or_fewer", "stop_at", "curve", "stop_on_regression",
    "extra_attacks", "certify", "sigma", "mixed_precision", "measure_batch",
}  # fmt: skip
STORED = [
    field.name
    for kind in (AuditRequest, Measurement, ScanRequest)
    for field in fields(kind)
    if field.name not in ADDED_LATER
]
"""The names that every stored request has; requests of older versions lack the others."""
