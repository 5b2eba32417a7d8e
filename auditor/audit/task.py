"""From a zoo entry to an audit record, in any process: load the images and the model, then audit."""

from dataclasses import replace

from auditor.audit.earlier import pair_earlier
from auditor.audit.extra_attacks import load_attacks
from auditor.audit.identity import identity
from auditor.audit.run import audit
from auditor.data import ImageSet, load_images
from auditor.data.corruptions import load_corrupted_images
from auditor.records import AuditRecord, JobContext, Measurement, ZooEntry
from auditor.records.corruptions import is_corruptions
from auditor.tracing import part
from auditor.zoo import Source


def measure(source: Source, entry: ZooEntry, request: Measurement, context: JobContext) -> AuditRecord | None:
    """Audit one model; None if ``context.needs_measuring`` returns False for its identity.

    Raises:
        AuditorError: the model, or its images, cannot be loaded, or do not match.
    """
    request = with_tests(request.under(entry.norm), context)
    with part("load images", dataset=entry.dataset) as span:
        images = images_of(entry, request)
        span.set(images=0 if images is None else len(images.labels))
    with part("load model"):
        loaded = source.load(entry)
        extra = load_attacks(entry, request.audit)
    complete = request.audit.complete
    if not context.needs_measuring(identity(entry, loaded.weights_sha256, complete, images, extra.identity)):
        return None
    earlier = pair_earlier(context, images) if request.audit.stop_on_regression else None
    audit_request = complete if earlier is None and request.audit.stop_on_regression else request.audit
    if audit_request.may_stop:
        stopped = identity(entry, loaded.weights_sha256, audit_request, images, extra.identity, earlier)
        if not context.needs_measuring(stopped):
            return None
    return audit(entry, loaded, audit_request, images, context, request.adversarials, extra, earlier)


def with_tests(request: Measurement, context: JobContext) -> Measurement:
    """The request with the number of models about which early answers are given together."""
    if not request.audit.may_stop:
        return request
    return replace(request, audit=replace(request.audit, tests=context.models()))


def images_of(entry: ZooEntry, request: Measurement) -> ImageSet | None:
    """The images of an entry's data set; None if the protocol needs none."""
    if request.samples == 0:
        return None
    if is_corruptions(entry.norm):
        return load_corrupted_images(entry, request)
    return load_images(
        entry.dataset,
        request.samples,
        request.data,
        custom=entry.own_data,
        transform=entry.transform,
        channels=entry.input_size[0],
        or_fewer=request.or_fewer,
    )
