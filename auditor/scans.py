"""A scan before it runs: what it asks for, what is checked first, and what it would do."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from auditor.attacks import find_protocol
from auditor.data import CLASSES, check_images
from auditor.db.store import Store
from auditor.errors import AuditorError, UsageError, one_line
from auditor.jobs import Estimator, Reporter
from auditor.records import AuditRequest, Contact, Estimate, Measurement, ZooEntry
from auditor.zoo import Source


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


def check_scan(store: Store, entries: Sequence[ZooEntry], request: Measurement, *, images: bool = True) -> None:
    """What can be known to fail before any model is loaded.

    Raises:
        UsageError: another folder has a model of the same name.
        DataError: ``images`` cannot be had on this machine.
    """
    _check_places(store, entries)
    if images:
        _check_images(entries, request)


@dataclass(frozen=True)
class Planned:
    """What a scan would do with a model: ``to do``, ``done before``, ``to download`` or ``fails``, with a reason."""

    model: str
    plan: str
    reason: str = ""
    estimate: Estimate | None = None


def plan_scan(
    store: Store,
    source: Source,
    entries: Sequence[ZooEntry],
    request: ScanRequest,
    reporter: Reporter,
    estimator: Estimator,
) -> list[Planned]:
    """What a scan would do; loads what is on this machine, downloads nothing, stores nothing.

    Raises:
        DataError, UsageError: as a scan would.
    """
    check_scan(store, entries, request.measurement)
    plan = []
    for entry in entries:
        reporter.model(entry.model)
        plan.append(_planned(store, source, entry, request, reporter, estimator))
        reporter.ended(entry.model, plan[-1].plan)
    return plan


def _planned(
    store: Store,
    source: Source,
    entry: ZooEntry,
    request: ScanRequest,
    reporter: Reporter,
    estimator: Estimator,
) -> Planned:
    def wanted(identity: str) -> bool:
        return request.force or store.find_done(entry.model, identity) is None

    def progress(part: str, done: int, total: int) -> None:
        reporter.part(entry.model, part, done, total)

    try:
        missing = source.missing(entry)
        if missing:
            return Planned(entry.model, "to download", missing)
        found = estimator(source, entry, request.measurement, Contact(progress=progress, wanted=wanted))
    except AuditorError as error:
        return Planned(entry.model, "fails", one_line(str(error)))
    return Planned(entry.model, "to do" if found else "done before", estimate=found)


def _check_places(store: Store, entries: Sequence[ZooEntry]) -> None:
    """Models are known by name: two folders' models of one name would pass for one model that has changed."""
    places = {entry.model: entry.place for entry in entries if entry.place is not None}
    for model, known in store.find_places(list(places)).items():
        if _elsewhere(known, places[model]):
            name = model.partition(":")[2]
            raise UsageError(
                f"{model} is a model of {known} already, so that the one of {places[model]} would be taken for it: "
                f"rename one of them in its zoo.toml; names may hold a slash, for example team-b/{name}"
            )


def _elsewhere(known: str, place: str) -> bool:
    """Whether ``known`` is still a folder, and not this one; where it is gone the model has moved."""
    try:
        return Path(known).is_dir() and not Path(known).samefile(place)
    except OSError:
        return known != place


def _check_images(entries: Sequence[ZooEntry], request: Measurement) -> None:
    """Say what is missing of the data sets before any model is loaded."""
    if request.samples != 0:
        for name, own in dict.fromkeys((entry.dataset, entry.own_data) for entry in entries):
            if own is None and name not in CLASSES:
                continue  # a model without a data set fails by itself
            check_images(name, request.samples, request.data, own=own)
