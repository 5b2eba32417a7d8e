"""What a scan checks before it runs, and what it would do."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from auditor.data import CLASSES, check_images
from auditor.db.store import Store
from auditor.errors import AuditorError, UsageError, one_line
from auditor.jobs.audit import Estimator
from auditor.jobs.run import Reporter
from auditor.records import Estimate, JobContext, Measurement, ZooEntry
from auditor.scans.request import ScanRequest
from auditor.zoo import Source


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
        found = estimator(source, entry, request.measurement, JobContext(progress=progress, wanted=wanted))
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
            check_images(name, request.samples, request.data, custom=own)
