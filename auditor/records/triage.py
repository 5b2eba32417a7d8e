"""The random tenth of a triage: which models below its threshold are attacked all the same."""

SHARE = 0.1
"""The share of models below the threshold that are attacked, to tell how many robust ones it misses."""


def is_drawn(identity: str) -> bool:
    """Whether the draw chooses a model.

    It depends on the audit's identity alone: every process and every repetition draws the same models.
    """
    return int(identity[:12], 16) / 16**12 < SHARE
