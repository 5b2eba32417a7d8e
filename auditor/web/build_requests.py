"""Bodies of HTTP requests as the requests of scans and boosts that any process can run."""

from auditor.config import settings
from auditor.errors import NotFoundError, UsageError
from auditor.jobs.limits import Limits
from auditor.records import AuditRequest, ZooEntry
from auditor.records.boosts import RecipeOptions
from auditor.scans.request import ScanRequest
from auditor.scans.threat_models import check_options, entries_under
from auditor.trainings.boost import BoostRequest
from auditor.web.errors import as_invalid_request
from auditor.web.shapes.requests import BoostBody, ScanBody
from auditor.zoo import Source, check_installed, find_source, select


def build_scan_request(body: ScanBody) -> tuple[Source, list[ZooEntry], ScanRequest]:
    """Find the zoo and its models, and build the request of their audits.

    Raises:
        UsageError: there is no such model, or the fields contradict each other.
        EnvironmentUnusableError: a package that the source needs is not installed.
    """
    check_installed(body.source)
    zoo = find_source(body.source)
    audit = AuditRequest(
        protocol=body.protocol,
        linearization=body.linearization,
        sketch=body.sketch,
        triage=body.triage,
        targeted=body.targeted,
        stop_at=body.stop_at,
        curve=body.curve,
        certify=body.certify,
        sigma=body.sigma,
        mixed_precision=body.mixed_precision,
        measure_batch=settings().measure_batch,
        seed=body.seed,
        device=body.device,
        batch_size=settings().batch_size,
    )
    seconds = Limits.of(body.protocol, None, None).seconds
    request = ScanRequest.make(audit, samples=body.samples, seconds=seconds, force=body.force)
    with as_invalid_request(NotFoundError):
        entries = _select_entries(zoo, body)
    check_options(entries, request.measurement)
    return zoo, entries, request


def build_boost_request(body: BoostBody) -> tuple[ZooEntry, BoostRequest]:
    """Find the model, and build the request of its training and audits. Raises as :func:`build_scan_request`."""
    source = body.model.partition(":")[0]
    same = {name: getattr(body, name) for name in ("protocol", "samples", "norm", "eps", "seed", "device")}
    scan = ScanBody.model_validate({"source": source, "models": [body.model], **same})
    _, (entry,), request = build_scan_request(scan)
    with as_invalid_request(UsageError):
        recipe = RecipeOptions.select(body.model_dump()).make_recipe(eps=entry.eps, norm=entry.norm)
    return entry, BoostRequest(recipe=recipe, scan=request, training_seconds=60 * body.time_limit)


def _select_entries(zoo: Source, body: ScanBody) -> list[ZooEntry]:
    from auditor.data import has_hierarchy

    entries = select(
        zoo.entries(),
        models=tuple(body.models),
        match=body.match,
        dataset=body.dataset,
        threat_model=body.threat_model,
        pretrained_only=body.pretrained_only,
        limit=body.limit,
    )
    known = [entry for entry in entries if body.models or has_hierarchy(entry)]
    if not known:
        raise NotFoundError(f"no model of {body.source} that matches these filters can be audited; change the filters")
    return entries_under(known, body.norm, body.eps, body.threat_model, None)
