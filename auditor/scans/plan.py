"""Checks a scan before it runs, and plans a dry run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from auditor.data import CLASSES, check_images
from auditor.data.corruptions import check_corrupted_images
from auditor.db.store import Store
from auditor.errors import AuditorError, TooFewImagesError, UsageError, one_line
from auditor.jobs.audit import Estimator
from auditor.jobs.run import Reporter
from auditor.records import Estimate, JobContext, Measurement, ZooEntry
from auditor.records.corruptions import is_corruptions
from auditor.scans.request import ScanRequest
from auditor.scans.threat_models import check_options
from auditor.zoo import Source


def check_scan(store: Store, entries: Sequence[ZooEntry], request: Measurement, *, images: bool = True) -> None:
    """Check everything that can fail before a model is loaded; ``images``: the data sets, too.

    Raises:
        UsageError: another folder has a model of the same name, or an option has no meaning for a model.
        TooFewImagesError: no data set has as many images as requested.
        DataError: images are not available on this machine.
    """
    _check_places(store, entries)
    check_options(entries, request)
    if images:
        _check_images(entries, request)


@dataclass(frozen=True)
class Planned:
    """The plan for one model: ``to do``, ``done before``, ``to download`` or ``fails``, with a reason."""

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
    """Plan a scan: load the models that are on this machine, download nothing, store nothing.

    Raises:
        DataError, UsageError: as :func:`check_scan`.
    """
    check_scan(store, entries, request.measurement)
    plan = []
    for entry in entries:
        reporter.model(entry.model)
        plan.append(_plan_model(store, source, entry, request, reporter, estimator, len(entries)))
        reporter.ended(entry.model, plan[-1].plan)
    return plan


def _plan_model(
    store: Store,
    source: Source,
    entry: ZooEntry,
    request: ScanRequest,
    reporter: Reporter,
    estimator: Estimator,
    models: int,
) -> Planned:
    def needs_measuring(identity: str) -> bool:
        return request.force or store.find_done(entry.model, identity) is None

    def progress(part: str, done: int, total: int) -> None:
        reporter.part(entry.model, part, done, total)

    try:
        missing = source.missing(entry)
        if missing:
            return Planned(entry.model, "to download", missing)
        context = JobContext(progress=progress, needs_measuring=needs_measuring, models=lambda: models)
        estimate = estimator(source, entry, request.measurement, context)
    except AuditorError as error:
        return Planned(entry.model, "fails", one_line(str(error)))
    if estimate is None:
        return Planned(entry.model, "done before")
    reason = "; ".join(filter(None, (estimate.screened_only, *estimate.notes)))
    return Planned(entry.model, "to do", reason, estimate)


def _check_places(store: Store, entries: Sequence[ZooEntry]) -> None:
    """Refuse a model whose name is stored for another folder, because results are found by name."""
    places = {entry.model: entry.place for entry in entries if entry.place is not None}
    for model, known in store.find_places(list(places)).items():
        if _elsewhere(known, places[model]):
            name = model.partition(":")[2]
            advice = f"in its zoo.toml; names may contain a slash, for example team-b/{name}"
            if model.startswith("hub:"):
                advice = "by renaming its folder"
            raise UsageError(
                f"{model} is a model of {known}, and {places[model]} has another one of the same name: rename one of "
                f"them {advice}"
            )


def _elsewhere(known: str, place: str) -> bool:
    """Whether ``known`` still exists and is another folder; if it does not exist, the model has moved."""
    try:
        return Path(known).is_dir() and not Path(known).samefile(place)
    except OSError:
        return known != place


def _check_images(entries: Sequence[ZooEntry], request: Measurement) -> None:
    """Raise DataError for the first data set that lacks images, TooFewImagesError if every data set has too few."""
    if request.samples == 0:
        return
    corrupted = {(entry.dataset, entry.own_data, entry.norm): entry for entry in entries if is_corruptions(entry.norm)}
    for entry in corrupted.values():
        check_corrupted_images(entry, request)
    entries = [entry for entry in entries if not is_corruptions(entry.norm)]
    too_few: list[TooFewImagesError] = []
    sets = dict.fromkeys((entry.dataset, entry.own_data) for entry in entries)
    for name, own in sets:
        if own is None and name not in CLASSES:
            continue  # the audit of a model without a data set fails later
        try:
            check_images(name, request.samples, request.data, custom=own, or_fewer=request.or_fewer)
        except TooFewImagesError as error:
            too_few.append(error)
    if too_few and len(too_few) == len(sets):  # otherwise only the audits of models with such a data set fail
        raise too_few[0]
