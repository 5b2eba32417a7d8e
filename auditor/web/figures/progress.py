"""How far a scan is, as a stacked bar: every audit of the scan has a place in it."""

from dataclasses import dataclass

from auditor.records.scans import ScanRow

STATES = ("done", "reused", "failed", "cancelled", "running", "queued")
"""The states in the order of the bar; what has a result is on the left."""


@dataclass(frozen=True)
class Segment:
    """The audits in one state: from ``x``, ``width`` long, both in percent of the bar."""

    state: str
    count: int
    x: float
    width: float


@dataclass(frozen=True)
class Progress:
    """The bar of a scan. ``ended`` counts audits with a result or a failure; cancelled ones are not progress."""

    total: int
    ended: int
    segments: tuple[Segment, ...]

    @property
    def label(self) -> str:
        """The bar as text."""
        return ", ".join(f"{segment.count} {segment.state}" for segment in self.segments) or "no audits"


def scan_progress(scan: ScanRow) -> Progress:
    """The stacked bar of a scan, without empty segments."""
    counts = {state: getattr(scan, state) for state in STATES}
    total = sum(counts.values())
    segments, x = [], 0.0
    for state, count in counts.items():
        if count:
            segments.append(Segment(state, count, round(x, 3), round(100 * count / total, 3)))
            x += 100 * count / total
    return Progress(total, scan.done + scan.reused + scan.failed, tuple(segments))
