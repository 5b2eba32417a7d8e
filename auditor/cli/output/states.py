"""The state of a job as text, with what its process has last shown of itself."""

from collections.abc import Iterable

from auditor.cli.output.progress import say
from auditor.records.scans import ScanAudit, ScanDetail, ScanRow
from auditor.records.trainings import TrainingRow
from auditor.text.signs_of_life import no_sign_of_life, no_worker, start_worker


def state_of(row: ScanRow | ScanAudit | TrainingRow) -> str:
    """The state, with how long its process has been silent, or that no worker serves its queue."""
    if row.silent_since is not None:
        return f"{row.state}, {no_sign_of_life(row.silent_since)}"
    if not isinstance(row, ScanAudit) and row.unserved:
        return f"{row.state}, {no_worker(row.queue)}"
    return row.state


class SilenceReports:
    """Says on stderr that a process has become silent, or that a queue has no worker: once for each silence."""

    def __init__(self) -> None:
        self._said: set[tuple[str, str | None]] = set()

    def report(self, row: ScanDetail | TrainingRow) -> None:
        """Report what is new in a row that is read again and again."""
        current = {**_silences(row.audits if isinstance(row, ScanDetail) else [row])}
        if row.unserved:
            current[row.queue, None] = f"{no_worker(row.queue)}; {start_worker(row.queue)}"
        for key, sentence in current.items():
            if key not in self._said:
                say(sentence)
        self._said = set(current)


def _silences(rows: Iterable[ScanAudit | TrainingRow]) -> dict[tuple[str, str | None], str]:
    return {
        (row.model, row.silent_since): f"{row.model}: {no_sign_of_life(row.silent_since)} of {row.worker}"
        for row in rows
        if row.silent_since is not None
    }
