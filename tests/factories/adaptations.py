"""Adaptations in the test's own database, in any state, without training."""

from dataclasses import replace

from auditor.config import settings
from auditor.db.session import open_database
from auditor.db.trainings import Trainings
from auditor.records.adaptations import Accuracy, AdaptRequest, AdaptResult, AdaptScore, SourceScore, result_to
from auditor.trainings.adapt import AdaptJobRequest

REQUEST = AdaptRequest(start="robust", shots=(0, 1, 20), seeds=(0, 1))


def accuracy(robust: float, n: int = 500) -> Accuracy:
    """An accuracy on ``n`` images; the clean one is higher by 0.1."""
    return Accuracy(clean=robust + 0.1, robust=robust, low=robust - 0.04, high=robust + 0.04, n=n)


def result(request: AdaptRequest = REQUEST) -> AdaptResult:
    """A result that grows with the number of images; the nearest mean has none for 0 images."""
    scores = tuple(
        AdaptScore(
            seed=seed,
            shots=shots,
            adapted=accuracy(0.5 + 0.01 * shots + 0.02 * seed),
            baseline=accuracy(0.4 + 0.01 * shots) if shots else None,
        )
        for seed in request.seeds
        for shots in request.shots
    )
    sources = tuple(SourceScore(seed=seed, accuracy=accuracy(0.8), weights_sha256="a" * 64) for seed in request.seeds)
    note = "a note about <the> data"
    return AdaptResult(
        request=request, scores=scores, sources=sources, data_sha256=("b" * 64, "c" * 64), notes=(note,), seconds=9.0
    )


def adapted(state: str = "done", request: AdaptRequest = REQUEST, reason: str = "the images are missing") -> int:
    """Store an adaptation in this state and return its ID."""
    trainings = Trainings(open_database(settings().database_url))
    stored = replace(AdaptJobRequest(adapt=request), folder="/private/zoo").to_json()
    number = trainings.create("adapt", request.start, None, stored, queue="cpu").training_id
    if state == "queued":
        return number
    attempt = trainings.leases.claim(number)
    assert attempt is not None
    if state == "done":
        assert trainings.finish_adaptation(number, attempt, result_to(result(request)), 12.0)
    elif state == "failed":
        assert trainings.fail(number, attempt, reason)
    return number
