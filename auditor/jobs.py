"""Claim, run, store: the one code path of every job, wherever it runs. No torch: what measures has it."""

import contextlib
import logging
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

from sqlalchemy.exc import SQLAlchemyError

from auditor.attacks import find_protocol
from auditor.data import CLASSES, check_images
from auditor.db.store import Job, Store
from auditor.errors import AuditorError, UsageError, first_line, one_line
from auditor.records import AuditRecord, AuditRequest, Contact, Estimate, Measurement, Progress, ZooEntry
from auditor.zoo import Source

logger = logging.getLogger(__name__)

Estimator = Callable[[Source, ZooEntry, Measurement, Contact], Estimate | None]
Measure = Callable[[Source, ZooEntry, Measurement, Contact], AuditRecord | None]
"""How one model is measured: :func:`auditor.measure.measure` itself, or the same in a child process."""


class Reporter(Protocol):
    """Who wants to know how a scan gets on."""

    def model(self, name: str) -> None:
        """An audit begins."""

    def part(self, name: str, done: int, total: int) -> None:
        """A part of it has come this far."""

    def ended(self, name: str, outcome: str) -> None:
        """It is ``done``, ``reused`` or ``failed: REASON``."""


@dataclass(frozen=True, kw_only=True)
class ScanRequest:
    """What a scan asks of each model; ``force`` repeats what is done."""

    measurement: Measurement
    force: bool = False

    @classmethod
    def make(
        cls,
        audit: AuditRequest,
        *,
        samples: int | None,
        force: bool = False,
        data: Path | None = None,
        adversarials: Path | None = None,
    ) -> "ScanRequest":
        """A request with the protocol's own number of samples where none was asked for.

        Raises:
            UsageError: samples were asked for under a protocol that uses none.
        """
        protocol = find_protocol(audit.protocol)
        if samples is not None and protocol.samples == 0:
            raise UsageError(f"--samples has no meaning under {protocol.name!r}, which uses no images")
        number = protocol.samples if samples is None else samples
        return cls(
            measurement=Measurement(audit=audit, samples=number, data=data, adversarials=adversarials), force=force
        )


@dataclass
class ScanOutcome:
    """What became of a scan's models, by name."""

    scan_id: int
    done: list[str] = field(default_factory=list)
    reused: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def run_scan(
    store: Store,
    source: Source,
    name: str,
    entries: Sequence[ZooEntry],
    request: ScanRequest,
    reporter: Reporter,
    measure: Measure,
) -> ScanOutcome:
    """Audit every entry here and now; one that fails is stored as failed, and the scan goes on.

    A KeyboardInterrupt cancels what is not done, keeps what is, and is raised again.

    Raises:
        DataError, UsageError: the images cannot be had, or another folder has a model of the same name; before any
            model is loaded.
    """
    _check_places(store, entries)
    _check_images(entries, request.measurement)
    asked = request.measurement
    stored = {**asdict(asked.audit), "samples": asked.samples, "force": request.force}
    scan_id, queue = store.create_scan(name, stored, entries)
    outcome = ScanOutcome(scan_id)
    try:
        for job in queue:
            reporter.model(job.entry.model)
            ended = run_audit(store, scan_id, job, source, request, reporter.part, measure)
            _note(outcome, job.entry.model, ended)
            reporter.ended(job.entry.model, ended)
    except BaseException as error:
        reason = "interrupted" if isinstance(error, KeyboardInterrupt) else f"the scan ended: {first_line(error)}"
        with uninterrupted(), contextlib.suppress(SQLAlchemyError):  # of two errors the first one counts
            store.cancel(scan_id, reason)
        raise
    store.finish_scan(scan_id)
    return outcome


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
    """What :func:`run_scan` would do; loads what is on this machine, downloads nothing, stores nothing.

    Raises:
        DataError, UsageError: as a scan would.
    """
    _check_places(store, entries)
    _check_images(entries, request.measurement)
    plan = []
    for entry in entries:
        reporter.model(entry.model)
        plan.append(_planned(store, source, entry, request, reporter.part, estimator))
        reporter.ended(entry.model, plan[-1].plan)
    return plan


def _planned(
    store: Store,
    source: Source,
    entry: ZooEntry,
    request: ScanRequest,
    progress: Progress,
    estimator: Estimator,
) -> Planned:
    def wanted(identity: str) -> bool:
        return request.force or store.find_done(entry.model, identity) is None

    try:
        missing = source.missing(entry)
        if missing:
            return Planned(entry.model, "to download", missing)
        found = estimator(source, entry, request.measurement, Contact(progress=progress, wanted=wanted))
    except AuditorError as error:
        return Planned(entry.model, "fails", one_line(str(error)))
    return Planned(entry.model, "to do" if found else "done before", estimate=found)


def run_audit(
    store: Store,
    scan_id: int,
    job: Job,
    source: Source,
    request: ScanRequest,
    progress: Progress,
    measure: Measure,
) -> str:
    """One audit from claim to stored row; returns ``done``, ``reused``, ``taken`` or ``failed: REASON``."""
    attempt = store.claim(job.audit_id)
    if attempt is None:
        return "taken"
    done: int | None = None

    def wanted(identity: str) -> bool:
        nonlocal done
        done = None if request.force else store.find_done(job.entry.model, identity)
        return done is None

    try:
        record = measure(source, job.entry, request.measurement, Contact(progress=progress, wanted=wanted))
    except SQLAlchemyError:
        raise
    except Exception as error:  # a model is other people's code: whatever it raises is its failure, not the scan's
        said = str(error) if isinstance(error, AuditorError) else f"{type(error).__name__}: {first_line(error)}"
        reason = one_line(said)
        logger.debug("audit of %s failed", job.entry.model, exc_info=True)
        return f"failed: {reason}" if store.fail(job.audit_id, attempt, reason) else "taken"
    if record is not None:
        return "done" if store.finish(job.audit_id, attempt, record) else "taken"
    return "reused" if done and store.reuse(scan_id, job.audit_id, attempt, done) else "taken"


INTERRUPTS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """A second Ctrl-C waits for nothing and stops nothing in here."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {kind: signal.signal(kind, signal.SIG_IGN) for kind in INTERRUPTS}
    try:
        yield
    finally:
        for kind, handler in handlers.items():
            signal.signal(kind, handler)


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


def _note(outcome: ScanOutcome, model: str, ended: str) -> None:
    if ended == "reused":
        outcome.reused.append(model)
    elif ended.startswith("failed: "):
        outcome.failed[model] = ended.removeprefix("failed: ")
    else:
        outcome.done.append(model)
