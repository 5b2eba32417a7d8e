"""An adaptation in whatever process: load the model that was asked for, if it was one, and adapt."""

from typing import Any

from auditor.adapt import adapt
from auditor.records import JobContext, ZooEntry
from auditor.records.adaptations import AdaptTask, result_to
from auditor.zoo import Source


def adapt_model(source: Source | None, entry: ZooEntry | None, asked: AdaptTask, context: JobContext) -> dict[str, Any]:
    """The result as JSON.

    Raises:
        AuditorError: the model or the data cannot be had, or do not fit what was asked for.
    """
    given = None if source is None or entry is None else (entry, source.load(entry))
    return result_to(adapt(asked.adapt, context.progress, given=given, folder=asked.data, device=asked.device))
