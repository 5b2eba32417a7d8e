"""What was asked for over HTTP, found in the zoos and made into requests that any process can carry out."""

from auditor.config import settings
from auditor.errors import UsageError
from auditor.jobs.limits import Limits
from auditor.records import AuditRequest, ZooEntry
from auditor.records.boosts import BoostOptions
from auditor.scans.request import ScanRequest, under
from auditor.trainings.boost import BoostRequest
from auditor.web.shapes.requests import BoostBody, ScanBody
from auditor.zoo import Source, check_installed, find_source, select


def scan_wanted(asked: ScanBody) -> tuple[Source, list[ZooEntry], ScanRequest]:
    """The zoo, its models and how they are to be audited.

    Raises:
        UsageError: there is no such model, or the request contradicts itself.
        EnvironmentUnusableError: what the source needs is not installed.
    """
    check_installed(asked.source)
    zoo = find_source(asked.source)
    audit = AuditRequest(
        protocol=asked.protocol,
        linearization=asked.linearization,
        sketch=asked.sketch,
        seed=asked.seed,
        device=asked.device,
        batch_size=settings().batch_size,
    )
    seconds = Limits.of(asked.protocol, None, None).seconds
    request = ScanRequest.make(audit, samples=asked.samples, seconds=seconds, force=asked.force)
    return zoo, _entries(zoo, asked), request


def boost_wanted(asked: BoostBody) -> tuple[ZooEntry, BoostRequest]:
    """The model, and how it is to be fine-tuned and audited. Raises as :func:`scan_wanted`."""
    source = asked.model.partition(":")[0]
    same = {name: getattr(asked, name) for name in ("protocol", "samples", "norm", "eps", "seed", "device")}
    scan = ScanBody.model_validate({"source": source, "models": [asked.model], **same})
    _, (entry,), request = scan_wanted(scan)
    recipe = BoostOptions.select(asked.model_dump()).make_recipe(eps=entry.eps, norm=entry.norm)
    return entry, BoostRequest(recipe=recipe, scan=request, training_seconds=60 * asked.time_limit)


def _entries(zoo: Source, asked: ScanBody) -> list[ZooEntry]:
    from auditor.data import has_hierarchy

    found = select(
        zoo.entries(),
        models=tuple(asked.models),
        match=asked.match,
        dataset=asked.dataset,
        threat_model=asked.threat_model,
        pretrained_only=asked.pretrained_only,
        limit=asked.limit,
    )
    known = [entry for entry in found if asked.models or has_hierarchy(entry)]
    if not known:
        raise UsageError(f"no model of {asked.source} that can be audited is left by these filters")
    return [under(entry, asked.norm, asked.eps) for entry in known]
