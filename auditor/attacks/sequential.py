"""Gates that may be decided after every image: anytime-valid tests of a share, by betting. No torch.

A bet on "the share is above ``threshold``" multiplies its capital with ``1 + λ (x - threshold)`` at each verdict x, 0
or 1 (Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", 2024). If the bet is wrong,
the capital grows beyond 20 with a probability of at most 5 %, however often one looks (Ville's inequality). The
capital is divided among fixed bets, so each is the likelihood ratio of a larger share to the threshold.
"""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from auditor.text.numbers import percent

ERROR = 0.05
"""The largest probability of a wrong early answer."""
CHUNK = 32
"""The number of images between two looks."""
BETS = ((0.05, 0.15), (0.1, 0.6), (0.2, 0.15), (0.4, 0.1))
"""Distances from the threshold, and the shares of the capital that bet on them: most of it on ten points."""
PARAMETERS = {"bets": BETS, "error": ERROR, "chunk": CHUNK}

Decision = Literal["above", "below"]


def log_capital(successes: ArrayLike, n: ArrayLike, threshold: float) -> NDArray[np.float64]:
    """The logarithm of the capital of a bet that the share is above ``threshold``, in (0, 1); 0 without images.

    Args:
        successes: any shape, at most ``n``.
        n: the numbers of images, of the same shape.
    """
    up, down = np.asarray(successes, np.float64), np.asarray(n, np.float64) - np.asarray(successes, np.float64)
    capital = np.full(up.shape, -np.inf)
    for distance, weight in BETS:
        gain = min(distance, 0.9 * (1 - threshold))
        growth = up * np.log1p(gain / threshold) + down * np.log1p(-gain / (1 - threshold))
        capital = np.logaddexp(capital, np.log(weight) + growth)
    return capital


def decide(successes: int, n: int, threshold: float, tests: int = 1) -> Decision | None:
    """Whether the share is certainly above or below ``threshold``: each is wrong with a probability of at most 5 %.

    Valid after every image of a random order. None if undecided. With several tests, this holds for all of them
    together: any answer "above" is wrong with at most this probability, and so is any answer "below", whatever the
    dependence of the tests.

    Example:
        >>> decide(60, 64, 0.45), decide(5, 64, 0.45), decide(30, 64, 0.45)
        ('above', 'below', None)
    """
    if not 0 < threshold < 1 or n == 0:
        return None
    enough = np.log(tests / ERROR)
    if log_capital(successes, n, threshold) >= enough:
        return "above"
    return "below" if log_capital(n - successes, n, 1 - threshold) >= enough else None


def e_value_of_regression(losses: int, gains: int) -> float:
    """The capital of the bet that a model is worse than before, for one unit at the start: an e-value at any time.

    Example:
        >>> round(e_value_of_regression(12, 0)), e_value_of_regression(0, 0)
        (130, 1.0)
    """
    return float(np.exp(log_capital(losses, losses + gains, 0.5)))


def decide_regression(losses: int, gains: int, tests: int = 1) -> Literal["worse", "better"] | None:
    """Whether a model is certainly worse or better than before: each is wrong with a probability of at most 5 %.

    Only the images on which the two differ count, as in McNemar's test. Without a change, each is a loss or a gain with
    the same probability. The bet is on the share of losses. None if undecided.

    Args:
        losses: images that survived before and are broken now.
        gains: images that were broken before and survive now.
        tests: the number of models, for all of which together the probability holds.

    Example:
        >>> decide_regression(12, 0), decide_regression(12, 10), decide_regression(0, 12)
        ('worse', None, 'better')
    """
    found = decide(losses, losses + gains, 0.5, tests)
    return None if found is None else "worse" if found == "above" else "better"


def anytime_interval(successes: int, n: int, error: float = ERROR) -> tuple[float, float]:
    """The shares that no bet has refuted, from 0 to 1: they hold the truth at any time with probability 1 - ``error``.

    Each end is wrong with a probability of at most half of ``error``.
    """
    return _lower_end(successes, n, error / 2), 1 - _lower_end(n - successes, n, error / 2)


def _lower_end(successes: int, n: int, error: float) -> float:
    """The largest refuted share, by bisection; 0 if none is."""
    low, high = 0.0, successes / n if n else 0.0
    for _ in range(40):
        middle = (low + high) / 2
        if 0 < middle < 1 and log_capital(successes, n, middle) >= -np.log(error):
            low = middle
        else:
            high = middle
    return low


def describe_stop(accuracy: float, n: int, total: int, threshold: float) -> str:
    """What was decided after how many images, in one line."""
    low, high = anytime_interval(round(accuracy * n), n)
    side = "above" if accuracy > threshold else "below"
    return (
        f"decided after {n} of {total} images: the robust accuracy is {side} {percent(threshold)} "
        f"(95 % anytime-valid interval {percent(low)} to {percent(high)})"
    )


def describe_regression(losses: int, gains: int, n: int, total: int, earlier: int, tests: int = 1) -> str:
    """What was decided beside an earlier result after how many images, in one line."""
    return (
        f"decided after {n} of {total} images: {decide_regression(losses, gains, tests)} than result {earlier}, "
        f"{losses} images are broken that survived then, and {gains} survive that were broken"
    )
