"""One adaptation in a child process: load the model, if the request names one, and adapt it."""

from typing import Any

from auditor.adapt import adapt
from auditor.records import JobContext, ZooEntry
from auditor.records.adaptations import AdaptTask, result_to
from auditor.zoo import Source


def adapt_model(source: Source | None, entry: ZooEntry | None, task: AdaptTask, context: JobContext) -> dict[str, Any]:
    """Adapt a model and return the result as JSON.

    Raises:
        AuditorError: the model or the data cannot be loaded, or do not fit the request.
    """
    given = None if source is None or entry is None else (entry, source.load(entry))
    return result_to(adapt(task.adapt, context.progress, given=given, folder=task.data, device=task.device))
