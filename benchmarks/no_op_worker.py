"""``auditor worker`` whose models take no time: ``python -m benchmarks.no_op_worker OPTIONS`` for benchmarks.queue.

How a model is measured is replaced, and the import of torch before it: claims, leases, signs of life, rows and messages
are real.
"""

import sys  # noqa: I001

from workers.__main__ import main  # first: it sets what Celery reads when it is imported

from auditor.jobs.audit import Measure
from auditor.records import AuditRecord, JobContext, Measurement, ZooEntry
from auditor.scans.request import ScanRequest
from auditor.zoo import Source
from workers import process


def nothing(source: Source, entry: ZooEntry, request: Measurement, context: JobContext) -> AuditRecord | None:  # noqa: ARG001
    """Check that the audit needs measuring, as a real measurement does, and measure nothing."""
    identity = f"no-op of {entry.model}"
    if not context.needs_measuring(identity):
        return None
    return AuditRecord(
        entry=entry,
        identity=identity,
        protocol=request.audit.protocol,
        parameters={},
        linearization=request.audit.linearization,
        hierarchy="",
        seed=request.audit.seed,
        weights_sha256="",
        classes=("cat", "dog"),
        superclasses=("cat", "dog"),
    )


def measure(self: process.Process, request: ScanRequest) -> Measure:  # noqa: ARG001
    return nothing


if __name__ == "__main__":
    process.Process.measure = measure  # type: ignore[method-assign]
    process.warm_up = lambda: None  # sixteen imports of torch would take the machine's memory, and no audit needs one
    main(sys.argv[1])
