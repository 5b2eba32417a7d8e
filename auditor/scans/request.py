"""A scan before it runs: what it asks for, what is checked first, and what it would do."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from auditor.attacks import find_protocol
from auditor.errors import UsageError
from auditor.records import AuditRequest, Measurement, ZooEntry


@dataclass(frozen=True, kw_only=True)
class ScanRequest:
    """All that a scan asks for, so that another process, on another machine, can do it.

    Attributes:
        folder: of the zoo, absolute; None for the source's own on the machine that does it.
        trust_code: whether a local zoo's Python may run, where the worker agrees.
        seconds: of wall time that one model may take; ``memory`` in bytes, None for most of the machine's.
        force: repeat what is done.
        reverify: the models whose done results are to be measured again, and compared.
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
        """A request with the protocol's own number of samples where none was asked for.

        Raises:
            UsageError: samples were asked for under a protocol that uses none.
        """
        protocol = find_protocol(audit.protocol)
        if samples is not None and protocol.samples == 0:
            raise UsageError(f"--samples has no meaning under {protocol.name!r}, which uses no images")
        number = protocol.samples if samples is None else samples
        measurement = Measurement(audit=audit, samples=number, data=data, adversarials=adversarials)
        return cls(measurement=measurement, **others)

    def to_json(self) -> dict[str, Any]:
        """As a scan's row keeps it: one flat object."""
        own = {name: getattr(self, name) for name in ("folder", "trust_code", "seconds", "memory", "force")}
        asked = self.measurement
        places = {name: None if path is None else str(path) for name, path in _places(asked).items()}
        own["reverify"] = list(self.reverify)
        return {**asdict(asked.audit), "samples": asked.samples, **places, **own}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> "ScanRequest":
        """Raises UsageError where an older auditor kept too little."""
        try:
            audit = {name: stored[name] for name in AuditRequest.__dataclass_fields__}
            own = {name: stored[name] for name in ("folder", "trust_code", "seconds", "memory", "force")}
            places = {name: None if stored[name] is None else Path(stored[name]) for name in ("data", "adversarials")}
            samples = stored["samples"]
        except KeyError as error:
            raise UsageError(f"the scan was made by an older auditor, which kept no {error}: scan again") from error
        measurement = Measurement(audit=AuditRequest(**audit), samples=samples, **places)
        return cls(measurement=measurement, reverify=tuple(stored.get("reverify", ())), **own)


def _places(asked: Measurement) -> dict[str, Path | None]:
    return {"data": asked.data, "adversarials": asked.adversarials}


def under(entry: ZooEntry, norm: str | None, eps: float | None) -> ZooEntry:
    """The entry under the threat model that was asked for.

    Raises:
        UsageError: another norm without a radius of its own, or a radius that no image has room for.
    """
    if norm not in (None, entry.norm) and eps is None:
        raise UsageError(f"--norm {norm} needs --eps: {entry.model}'s own radius is one of {entry.norm}")
    changed = replace(entry, norm=norm or entry.norm, eps=eps or entry.eps)
    if changed.norm == "Linf" and changed.eps > 1:
        raise UsageError(f"expected an Linf radius of at most 1, in units of the [0, 1] pixels, got {changed.eps:g}")
    return changed if norm in (None, entry.norm) else replace(changed, threat_model=norm)
