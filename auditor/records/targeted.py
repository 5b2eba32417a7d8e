"""What targeted attacks on the correctly classified samples reached, within their superclasses and across them."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TargetedScore:
    """Counts of samples.

    Attributes:
        targets: the number of wrong classes that each sample was attacked towards.
        n: the number of samples attacked, all that are classified correctly.
        within_n, within: those with a target in their own superclass, and those that became such a target.
        across_n, across: those with a target in another superclass, and those that became such a target.
    """

    targets: int
    n: int
    within_n: int
    within: int
    across_n: int
    across: int
