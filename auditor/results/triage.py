"""What a triage attacked and left alone, and what its random tenth says about the robust models that it missed."""

from collections.abc import Sequence
from dataclasses import dataclass

from auditor.records.results import ResultRow
from auditor.screening.triage import is_drawn
from auditor.statistics import wilson_interval
from auditor.text.numbers import percent


@dataclass(frozen=True)
class Triage:
    """The rows of a scan with ``--triage``, counted.

    Attributes:
        threshold: the score from which models were attacked.
        above: attacked models with such a score, or with none.
        drawn: attacked models below the threshold: a random tenth.
        robust: those of ``drawn`` with at least half of their clean accuracy left.
        left: models that were not attacked.
        before: models below the threshold that were not drawn, but have been attacked by another scan.
    """

    threshold: float
    above: int
    drawn: int
    robust: int
    left: int
    before: int = 0

    def lines(self) -> list[str]:
        """Sentences for people."""
        below = self.drawn + self.left + self.before
        text = (
            f"triage at {self.threshold:g}: {self.above + self.drawn} of {self.above + below} models attacked, "
            f"{self.above} with a higher score or none, {self.drawn} drawn from the {below} below"
        )
        text += f"; {self.before} more were attacked by another scan" if self.before else ""
        if not self.left:
            return [f"{text}."]
        if not self.drawn:
            return [f"{text}. None was drawn, so nothing is known of robust models among the {self.left} others."]
        low, high = wilson_interval(self.robust, self.drawn)
        return [
            f"{text}.",
            f"{self.robust} of those {self.drawn} kept at least half of their clean accuracy: of the {self.left} "
            f"models that were not attacked {percent(low, 0)} to {percent(high, 0)} would do so, too (95 % interval): "
            f"{self.left * low:.0f} to {self.left * high:.0f} models.",
        ]


def count_triage(rows: Sequence[ResultRow], threshold: float) -> Triage:
    """Count the done rows of a scan with a triage."""
    done = [row for row in rows if row.status == "done"]
    attacked = [row for row in done if row.robust_accuracy is not None]
    below = [row for row in attacked if row.screen_score is not None and row.screen_score < threshold]
    drawn = [row for row in below if row.identity is not None and is_drawn(row.identity)]
    robust = sum((row.robust_accuracy or 0) >= 0.5 * (row.clean_accuracy or 0) for row in drawn)
    return Triage(
        threshold=threshold,
        above=len(attacked) - len(below),
        drawn=len(drawn),
        robust=robust,
        left=len(done) - len(attacked),
        before=len(below) - len(drawn),
    )
