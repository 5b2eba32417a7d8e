"""Every task that auditor gives to a child process.

Child processes receive these functions by reference. Each function imports its room when it runs: the processes that
start children never import torch.
"""

from typing import Any

from auditor.records import AuditRecord, Estimate, JobContext, Measurement, ZooEntry
from auditor.records.adaptations import AdaptTask
from auditor.records.boosts import BoostOutcome, BoostTask
from auditor.zoo import Source


def measure_audit(source: Source, entry: ZooEntry, request: Measurement, context: JobContext) -> AuditRecord | None:
    """Audit one model; see :func:`auditor.audit.task.measure`."""
    from auditor.audit.task import measure

    return measure(source, entry, request, context)


def estimate_audit(source: Source, entry: ZooEntry, request: Measurement, context: JobContext) -> Estimate | None:
    """Estimate the time and memory of an audit; see :func:`auditor.audit.estimate.estimate`."""
    from auditor.audit.estimate import estimate

    return estimate(source, entry, request, context)


def train_boost(source: Source, entry: ZooEntry, request: BoostTask, context: JobContext) -> BoostOutcome:
    """Fine-tune one model and write its checkpoint; see :func:`auditor.boost.task.boost`."""
    from auditor.boost.task import boost

    return boost(source, entry, request, context)


def run_adaptation(
    source: Source | None, entry: ZooEntry | None, request: AdaptTask, context: JobContext
) -> dict[str, Any]:
    """Adapt a given model, or one that is trained for it; see :func:`auditor.adapt.task.adapt_model`."""
    from auditor.adapt.task import adapt_model

    return adapt_model(source, entry, request, context)
