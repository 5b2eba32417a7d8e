"""Early answers of gates: errors at any time, over simulated streams and computed exactly, and how soon they come."""

import numpy as np
import pytest

from auditor.attacks.sequential import BETS, CHUNK, ERROR, anytime_interval, decide, log_capital

STREAMS, LENGTH = 10_000, 1000


def stops(truth: float, threshold: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """For each stream, the first image at which it is decided above and below; LENGTH + 1 for never."""
    draws = np.random.default_rng(seed).random((STREAMS, LENGTH), np.float32) < truth
    successes = np.cumsum(draws, 1, dtype=np.int32)
    n = np.arange(1, LENGTH + 1)
    totals = np.arange(LENGTH + 1)[:, None]
    bound, found = -np.log(ERROR), []
    for up, level in ((successes, threshold), (n - successes, 1 - threshold)):
        table = log_capital(np.minimum(totals, n), np.broadcast_to(n, (LENGTH + 1, LENGTH)), level) >= bound
        crossed = table[up, n - 1]
        found.append(np.where(crossed.any(1), crossed.argmax(1) + 1, LENGTH + 1))
    return found[0], found[1]


@pytest.mark.long
@pytest.mark.parametrize("threshold", [0.05, 0.45, 0.9])
@pytest.mark.parametrize("off", [0.0, -0.02, 0.02])
def test_at_most_one_of_twenty_streams_is_decided_wrongly(threshold: float, off: float) -> None:
    """A stop is looked for after each image, more often than an audit does."""
    above, below = stops(threshold + off, threshold, seed=1)
    if off <= 0:
        assert (above <= LENGTH).mean() <= ERROR
    if off >= 0:
        assert (below <= LENGTH).mean() <= ERROR


@pytest.mark.long
@pytest.mark.parametrize("threshold", [0.3, 0.45, 0.5, 0.6])
@pytest.mark.parametrize("off", [-0.1, 0.1])
def test_ten_points_off_half_of_the_audits_need_a_fifth_of_the_images(threshold: float, off: float) -> None:
    above, below = stops(threshold + off, threshold, seed=2)
    chunks = np.ceil(np.minimum(above, below) / CHUNK) * CHUNK
    assert np.median(chunks) <= LENGTH / 5


@pytest.mark.parametrize("share", [0.05, 0.45, 0.5, 0.9])
def test_the_error_on_a_finite_set_of_images_in_random_order(share: float) -> None:
    """Exact, by dynamic programming over draws without replacement from 1,000 images at the threshold."""
    robust, reach = round(share * LENGTH), np.zeros(LENGTH + 1)
    reach[0], wrong, k = 1.0, 0.0, np.arange(LENGTH + 1)
    for drawn in range(LENGTH):
        hit = np.clip((robust - k) / (LENGTH - drawn), 0, 1)
        moved = reach * (1 - hit)
        moved[1:] += (reach * hit)[:-1]
        crossed = log_capital(np.minimum(k, drawn + 1), np.full(LENGTH + 1, drawn + 1), share) >= -np.log(ERROR)
        wrong += moved[crossed].sum()
        reach = np.where(crossed, 0, moved)
    assert wrong <= ERROR


def test_the_capital_is_that_of_the_bets() -> None:
    verdicts, threshold = [1, 0, 1, 1], 0.4
    capital = 0.0
    for gain, weight in BETS:
        bet = gain / (threshold * (1 - threshold))
        capital += weight * np.prod([1 + bet * (x - threshold) for x in verdicts])
    assert np.exp(log_capital(3, 4, threshold)) == pytest.approx(capital)
    assert log_capital(0, 0, threshold) == pytest.approx(0)


@pytest.mark.parametrize(("successes", "n"), [(0, 40), (40, 40), (25, 40), (0, 0)])
def test_the_interval_holds_the_estimate_and_agrees_with_the_decision(successes: int, n: int) -> None:
    low, high = anytime_interval(successes, n, error=2 * ERROR)
    assert 0 <= low <= (successes / n if n else 0.5) <= high <= 1
    for threshold in (0.1, 0.3, 0.5, 0.9):
        side = "above" if threshold < low else "below" if threshold > high else None
        assert decide(successes, n, threshold) == side
