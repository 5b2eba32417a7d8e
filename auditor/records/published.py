"""Published figures of a model, such as those of RobustBench."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Published:
    """The published figures of a model. Accuracies are fractions from 0 to 1; None if a figure was not published.

    Attributes:
        model: its name, ``source:id``.
        norm, eps: the threat model of the robust accuracies, in [0, 1] pixels; None for common corruptions.
        autoattack_accuracy: accuracy under AutoAttack.
        external_accuracy: accuracy under a stronger attack by others.
        corruptions_accuracy: accuracy under common corruptions, which is no accuracy in a norm ball.
        unreliable: whether the publisher marks AutoAttack's figure as unreliable.
    """

    model: str
    norm: str | None = None
    eps: float | None = None
    clean_accuracy: float | None = None
    autoattack_accuracy: float | None = None
    external_accuracy: float | None = None
    corruptions_accuracy: float | None = None
    unreliable: bool = False
    architecture: str | None = None
    paper: str | None = None
    venue: str | None = None
    link: str | None = None

    @property
    def robust_accuracy(self) -> float | None:
        """The lowest published accuracy under any attack."""
        figures = [x for x in (self.autoattack_accuracy, self.external_accuracy) if x is not None]
        return min(figures) if self.norm is not None and figures else None
