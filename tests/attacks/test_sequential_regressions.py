"""Early answers about regressions: errors at any time over simulated streams, and how soon a loss is found."""

import numpy as np
import pytest
import torch

from auditor.attacks import evaluate_robustness
from auditor.attacks.sequential import CHUNK, ERROR, decide_regression, log_capital
from auditor.errors import InputError
from auditor.statistics import e_benjamini_hochberg
from tests.factories.attacked_models import Linear

STREAMS, LENGTH = 10_000, 1000


def decided(loss: float, gain: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """For each stream of paired verdicts, the first image at which it is worse, and better; LENGTH + 1 for never.

    ``loss``: the probability that an image survived before and is broken now; ``gain``: the reverse.
    """
    draws = np.random.default_rng(seed).random((STREAMS, LENGTH), np.float32)
    losses = np.cumsum(draws < loss, 1, dtype=np.int16)
    gains = np.cumsum(draws > 1 - gain, 1, dtype=np.int16)
    size = int(max(losses.max(), gains.max())) + 1
    up, down = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
    table = log_capital(up, up + down, 0.5) >= -np.log(ERROR)
    found = []
    for crossed in (table[losses, gains], table[gains, losses]):
        found.append(np.where(crossed.any(1), crossed.argmax(1) + 1, LENGTH + 1))
    return found[0], found[1]


@pytest.mark.parametrize(("loss", "gain"), [(0.01, 0.01), (0.05, 0.05), (0.2, 0.2), (0.05, 0.06), (0.1, 0.15)])
def test_at_most_one_of_twenty_streams_without_a_loss_is_called_worse(loss: float, gain: float) -> None:
    worse, better = decided(loss, gain, seed=1)
    assert (worse <= LENGTH).mean() <= ERROR
    if loss == gain:
        assert (better <= LENGTH).mean() <= ERROR


@pytest.mark.parametrize(("loss", "gain"), [(0.1, 0.0), (0.11, 0.01), (0.12, 0.02)])
def test_a_loss_of_ten_points_needs_a_fifth_of_the_images(loss: float, gain: float) -> None:
    worse, better = decided(loss, gain, seed=2)
    assert np.median(np.ceil(worse / CHUNK) * CHUNK) <= LENGTH / 5
    assert (worse <= LENGTH).mean() > 0.99
    assert (better < worse).mean() <= ERROR


@pytest.mark.parametrize("changed", [10, 60, 200])
def test_the_error_on_given_images_in_random_order(changed: int) -> None:
    """As many losses as gains among the images of the data set, drawn without replacement: exact, by enumeration."""
    reach = {(0, 0): 1.0}
    wrong = 0.0
    for _ in range(2 * changed):
        following: dict[tuple[int, int], float] = {}
        for (losses, gains), chance in reach.items():
            left = 2 * changed - losses - gains
            for step, share in (((1, 0), (changed - losses) / left), ((0, 1), (changed - gains) / left)):
                if share > 0:
                    place = losses + step[0], gains + step[1]
                    following[place] = following.get(place, 0.0) + chance * share
        stopped = {place for place in following if decide_regression(*place) == "worse"}
        wrong += sum(following[place] for place in stopped)
        reach = {place: chance for place, chance in following.items() if place not in stopped}
    assert wrong <= ERROR


def test_an_audit_stops_once_it_is_worse_and_not_without_a_change() -> None:
    model = Linear(4)
    images = torch.rand(640, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    labels = model(images).argmax(1)
    given = {"norm": "Linf", "eps": 0.01, "protocol": "quick"}
    whole = evaluate_robustness(model, images, labels, **given)
    same = evaluate_robustness(model, images, labels, **given, earlier=whole.survived)
    assert torch.equal(same.survived, whole.survived)
    worse = evaluate_robustness(model, images, labels, **given, earlier=torch.ones(640, dtype=torch.bool))
    n = len(worse.positions)
    assert n % CHUNK == 0
    assert n < 640
    losses = n - int(worse.survived.sum())
    assert decide_regression(losses, 0) == "worse"
    assert torch.equal(worse.survived, whole.survived[worse.positions])


@pytest.mark.parametrize(
    ("earlier", "stop_at"), [(torch.ones(3, dtype=torch.bool), None), (torch.ones(4), None),
                             (torch.ones(4, dtype=torch.bool), 0.5)],
)  # fmt: skip
def test_earlier_verdicts_of_other_samples_are_refused(earlier: torch.Tensor, stop_at: float | None) -> None:
    images, labels = torch.rand(4, 1, 6, 6), torch.arange(4)
    with pytest.raises(InputError, match="expected earlier as 4 bool values, without stop_at"):
        evaluate_robustness(
            Linear(4), images, labels, norm="Linf", eps=0.1, protocol="quick", earlier=earlier, stop_at=stop_at
        )


def _final_e_values(loss: np.ndarray, gain: np.ndarray, draws: np.ndarray, tests: int) -> np.ndarray:
    """The e-value with which each audit ends: it stops once it is worse or better for all tests together.

    ``loss``, ``gain``: ``(M,)`` of each model; ``draws``: ``(S, M, N)`` uniform, in S scans.
    """
    losses = np.cumsum(draws < loss[None, :, None], 2, dtype=np.int16)
    gains = np.cumsum(draws > 1 - gain[None, :, None], 2, dtype=np.int16)
    losses, gains = (counts[:, :, CHUNK - 1 :: CHUNK] for counts in (losses, gains))
    capital, other = log_capital(losses, losses + gains, 0.5), log_capital(gains, losses + gains, 0.5)
    stopped = (capital >= np.log(tests / ERROR)) | (other >= np.log(tests / ERROR))
    at = np.where(stopped.any(2), stopped.argmax(2), stopped.shape[2] - 1)
    return np.exp(np.take_along_axis(capital, at[:, :, None], 2)[:, :, 0])


def _false_and_true(e_values: np.ndarray, worse: int) -> tuple[float, float]:
    """The mean share of false reports, and the mean share of the worse models that are reported, by e-BH.

    The first ``worse`` models are worse.
    """
    shares, powers = [], []
    for row in e_values:
        reported = row >= e_benjamini_hochberg(row.tolist(), ERROR)
        shares.append(reported[worse:].sum() / max(reported.sum(), 1))
        powers.append(reported[:worse].mean() if worse else 0.0)
    return float(np.mean(shares)), float(np.mean(powers))


@pytest.mark.parametrize("worse", [0, 1, 5])
@pytest.mark.parametrize("shared", [True, False], ids=["the same images are hard for all", "independent"])
def test_of_many_models_at_most_a_twentieth_of_the_reports_is_false(worse: int, shared: bool) -> None:
    """Ten models, of which the first have lost ten points, and the others as many images as they have gained."""
    models, scans, n = 10, 400, 640
    generator = np.random.default_rng(5)
    draws = generator.random((scans, 1 if shared else models, n), np.float32)
    draws = np.broadcast_to(draws, (scans, models, n))
    loss = np.where(np.arange(models) < worse, 0.15, 0.05)
    e_values = _final_e_values(loss, np.full(models, 0.05), draws, tests=models)
    false, found = _false_and_true(e_values, worse)
    assert false <= ERROR
    assert not worse or found > 0.9
    if worse == 0:  # each for itself, more than one scan in twenty would have a false report
        alone = _final_e_values(loss, np.full(models, 0.05), draws, tests=1)
        assert shared or (alone >= 1 / ERROR).any(1).mean() > 2 * ERROR


def test_an_answer_for_many_models_needs_more_images() -> None:
    assert decide_regression(10, 0) == decide_regression(14, 0, tests=10) == "worse"
    assert decide_regression(10, 0, tests=10) is None
    model = Linear(4)
    images = torch.rand(640, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    labels = model(images).argmax(1)
    given = {"norm": "Linf", "eps": 0.01, "protocol": "quick", "stop_at": 0.3}
    counts = [len(evaluate_robustness(model, images, labels, **given, tests=tests).positions) for tests in (1, 10**30)]
    assert counts[0] < counts[1]
