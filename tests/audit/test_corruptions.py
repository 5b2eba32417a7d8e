"""The measurement: in any batches, resumed behind the last corruption, and refused outputs."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from auditor.audit.corruptions import measure_corruptions
from auditor.audit.resume import SavedAttempt
from auditor.data import ImageSet
from auditor.errors import InputError
from auditor.records import AuditRequest, JobContext

N, NAMES = 23, ("fog", "snow", "frost")
DRAWN = np.random.default_rng(0)
CLEAN = DRAWN.random((N, 1, 6, 6), np.float32)
LABELS = DRAWN.integers(0, 4, N)
PIXELS = {name: DRAWN.integers(0, 256, (5, N, 1, 6, 6)).astype(np.uint8) for name in NAMES}


class Corrupted:
    """Corruptions in memory; ``loaded`` lists the requested ones."""

    names, notes = NAMES, ()

    def __init__(self) -> None:
        self.identity: dict[str, Any] = {}
        self.loaded: list[str] = []

    def first(self, number: int) -> "Corrupted":
        raise NotImplementedError

    def load(self, name: str) -> Iterator[NDArray[np.uint8]]:
        self.loaded.append(name)
        yield from PIXELS[name]


class Memory:
    """A job that keeps what is saved."""

    def __init__(self) -> None:
        self.states: list[bytes] = []
        self.parts: list[tuple[str, int, int]] = []
        context = JobContext(
            load=lambda _: self.states[-1] if self.states else None,
            save=lambda _, state: self.states.append(state),
            progress=lambda *part: self.parts.append(part),
        )
        self.attempt = SavedAttempt(context, "k" * 64)


def images() -> ImageSet:
    return ImageSet("made up", CLEAN, LABELS, np.arange(N), np.arange(N, dtype=np.uint64), "digest")


def model() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(36, 4)).double()


@pytest.mark.parametrize("batch_size", [1, 7, 256])
def test_the_verdicts_are_those_of_a_loop(batch_size: int) -> None:
    network = model()
    result = measure_corruptions(
        network, images(), Corrupted(), AuditRequest(protocol="quick", batch_size=batch_size), Memory().attempt
    )
    expected = []
    for name in NAMES:
        for pixels in PIXELS[name]:
            for picture, label in zip(pixels, LABELS, strict=True):
                logits = network(torch.from_numpy(picture[None].astype(np.float32) / np.float32(255)).double())
                expected.append(int(logits.argmax()) == label)
    right = np.array(expected).reshape(15, N)
    assert np.array_equal([score.verdicts for score in result.scores], right)
    assert result.accuracy == pytest.approx(right.mean())
    assert result.low < result.accuracy < result.high
    assert np.array_equal(result.survived, result.correct & right.all(0))
    assert (result.scores[7].corruption, result.scores[7].severity) == ("snow", 3)


def test_an_audit_goes_on_behind_the_last_corruption() -> None:
    request = AuditRequest(protocol="quick")
    whole = measure_corruptions(model(), images(), Corrupted(), request, Memory().attempt)
    job, first = Memory(), Corrupted()
    measure_corruptions(model(), images(), first, request, job.attempt)
    assert (first.loaded, len(job.states)) == (list(NAMES), 3)
    job.states.pop()  # as if the process had been killed in the third corruption
    second = Corrupted()
    resumed = measure_corruptions(model(), images(), second, request, job.attempt)
    assert second.loaded == ["frost"]
    assert np.array_equal([one.verdicts for one in resumed.scores], [one.verdicts for one in whole.scores])
    assert ("corruption frost", 5, 5) in job.parts
    job.states.append(b"k" * 64 + b"damaged")
    third = Corrupted()
    again = measure_corruptions(model(), images(), third, request, job.attempt)
    assert third.loaded == list(NAMES)
    assert again.accuracy == whole.accuracy


def test_logits_that_are_not_finite_are_refused() -> None:
    network = model()
    with torch.no_grad():
        network[1].bias[0] = float("nan")
    with pytest.raises(InputError, match="NaN or infinite"):
        measure_corruptions(network, images(), Corrupted(), AuditRequest(protocol="quick"), Memory().attempt)
