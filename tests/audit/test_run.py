"""One audit: its parts, what happens when one cannot be measured, and what its identity is made of."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from auditor.attacks.norms import L2Norm
from auditor.audit import templates
from auditor.audit.identity import identity
from auditor.audit.run import audit
from auditor.clustering import clustering_scores
from auditor.data import load_images
from auditor.errors import ModelLoadError
from auditor.linear import TemplateSketch, implicit_weight, template_sketch
from auditor.records import AuditRecord, AuditRequest, JobContext
from auditor.zoo import LoadedModel
from auditor.zoo.demo import DemoZoo
from tests.factories.records import entry

REQUEST = AuditRequest(protocol="quick")
ENTRY = entry("test")


def run(model: nn.Module, request: AuditRequest = REQUEST, samples: int = 20) -> AuditRecord:
    images = load_images("fashion_mnist", samples) if request.protocol != "screen" else None
    return audit(ENTRY, LoadedModel(model, "w" * 64), request, images, JobContext())


class _Linear(nn.Module):
    """Templates of one's choice, behind a function of one's choice."""

    def __init__(self, weight: Tensor, last: object = lambda z: z) -> None:
        super().__init__()
        self.weight, self.last = nn.Parameter(weight), last

    def forward(self, x: Tensor) -> Tensor:
        return self.last(x.flatten(1) @ self.weight.T)


def _random(classes: int = 10) -> Tensor:
    return 0.1 * torch.randn(classes, 784, generator=torch.Generator().manual_seed(0))


def test_all_parts_of_a_demo_model() -> None:
    zoo = DemoZoo()
    chosen = next(entry for entry in zoo.entries() if entry.model == "demo:at-eps0.10")
    loaded, images = zoo.load(chosen), load_images("fashion_mnist", 20)
    parts: list[str] = []
    record = audit(chosen, loaded, REQUEST, images, JobContext(progress=lambda part, *_: parts.append(part)))
    assert {part.kind for part in record.clusterings} == {"weights", "centred", "features"}
    weights = next(part for part in record.clusterings if part.kind == "weights")
    rows = implicit_weight(loaded.model, (1, 28, 28)).flatten(1).double()
    unit = (rows / rows.norm(dim=1, keepdim=True)).numpy()
    np.testing.assert_allclose(weights.matrix, unit @ unit.T, atol=1e-5)
    assert weights.scores.gap == pytest.approx(clustering_scores(unit @ unit.T, record.superclasses).gap, abs=1e-5)
    assert {"linearize", "clean", "fgsm", "pgd-20"} <= set(parts)
    assert record.verdicts.survived.sum() == round(record.robust_accuracy * 20)
    assert np.array_equal(record.verdicts.indices, images.indices)
    assert np.array_equal(record.verdicts.labels, images.labels)
    assert np.array_equal(record.verdicts.survived, record.verdicts.predicted == images.labels)
    assert [int((record.verdicts.broken_at == k).sum()) for k in (0, 1)] == [one.broken for one in record.attacks]
    assert record.flags == ()
    assert record.versions.keys() >= {"torch", "auditor", "pyautoattack"}


def test_what_cannot_be_linearized_is_attacked_all_the_same() -> None:
    record = run(_Linear(_random(), lambda z: z.sinh()))
    (reason,) = record.not_measurable
    assert reason.startswith("linearize: ")
    assert "sinh" in reason
    assert [part.kind for part in record.clusterings] == ["features"]
    assert math.isnan(record.affinity_error)
    assert 0 <= record.robust_accuracy <= record.clean_accuracy <= 1
    assert [score.attack for score in record.attacks] == ["fgsm", "pgd-20"]


def test_rank_collapse_is_flagged_and_shown_without_its_leading_direction() -> None:
    direction = torch.randn(784, generator=torch.Generator().manual_seed(1))
    signs = torch.tensor([1.0, -1, 1, 1, -1, 1, -1, 1, -1, 1])
    record = run(_Linear(signs[:, None] * direction + 0.05 * _random()), replace(REQUEST, protocol="screen"))
    assert "rank_collapse" in record.flags
    scores = {part.kind: part.scores for part in record.clusterings}
    assert scores["weights"].effective_rank < 1.5 < scores["deflated"].effective_rank
    assert math.isnan(record.robust_accuracy)
    assert record.verdicts is None


@pytest.mark.long
def test_a_sketch_is_near_the_exact_scores_and_says_how_near() -> None:
    model, screen = _Linear(_random()), replace(REQUEST, protocol="screen")
    exact, sketch = run(model, screen), run(model, replace(screen, sketch=2000))
    assert (exact.sketch, sketch.sketch) == (None, 2000)
    for one, other in zip(exact.clusterings, sketch.clusterings, strict=True):
        assert one.kind == other.kind
        assert math.isnan(one.scores.gap_error)
        assert 0 < other.scores.gap_error < 0.02
        assert other.scores.gap != one.scores.gap
        assert other.scores.gap == pytest.approx(one.scores.gap, abs=4 * other.scores.gap_error)
        assert other.scores.effective_rank == pytest.approx(one.scores.effective_rank, rel=0.05)
    again, other = run(model, replace(screen, sketch=2000)), run(model, replace(screen, sketch=2000, seed=1))
    assert again.clusterings[0].scores.gap == sketch.clusterings[0].scores.gap != other.clusterings[0].scores.gap


@pytest.mark.parametrize("size", [1e-170, 1e170])
def test_scores_of_a_sketch_do_not_depend_on_the_size_of_w(size: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Squares of these responses leave float64."""
    model, screen = _Linear(_random()), replace(REQUEST, protocol="screen", sketch=64)
    expected = run(model, screen)

    def resized(*args: object, **more: object) -> TemplateSketch:
        found = template_sketch(*args, **more)
        return replace(found, responses=size * found.responses)

    monkeypatch.setattr(templates, "template_sketch", resized)
    for one, other in zip(expected.clusterings, run(model, screen).clusterings, strict=True):
        assert other.scores.gap == pytest.approx(one.scores.gap)
        assert other.scores.gap_error == pytest.approx(one.scores.gap_error)


def test_few_probes_of_a_high_rank_are_no_collapse() -> None:
    record = run(_Linear(_random()), replace(REQUEST, protocol="screen", sketch=8))
    assert record.flags == ()
    assert record.clusterings[0].scores.effective_rank > 4


def test_a_sketch_of_a_collapsed_rank_is_deflated_in_float64() -> None:
    direction = torch.randn(784, generator=torch.Generator().manual_seed(1))
    signs = torch.tensor([1.0, -1, 1, 1, -1, 1, -1, 1, -1, 1])
    model = _Linear(signs[:, None] * direction + 0.05 * _random())
    screen = replace(REQUEST, protocol="screen")
    exact, sketch = run(model, screen), run(model, replace(screen, sketch=2000))
    assert sketch.flags == exact.flags == ("rank_collapse",)
    assert sketch.affinity_error < 1e-10
    one, other = exact.clusterings[2], sketch.clusterings[2]
    assert one.kind == other.kind == "deflated"
    np.testing.assert_allclose(other.matrix, one.matrix, atol=0.15)
    assert other.scores.effective_rank == pytest.approx(one.scores.effective_rank, rel=0.05)
    assert other.scores.gap == pytest.approx(one.scores.gap, abs=4 * other.scores.gap_error)


def test_a_sketch_of_what_is_not_affine_is_not_measurable() -> None:
    record = run(_Linear(_random(), lambda z: z.sinh()), replace(REQUEST, protocol="screen", sketch=8))
    assert record.not_measurable[0].startswith("linearize: ")
    assert record.clusterings == ()


OTHER_CLASSES = r"expected 10 logits for fashion_mnist, got \(N, 12\): features instead of logits\?"


@pytest.mark.parametrize("protocol", ["screen", "quick"])
def test_another_number_of_classes_than_the_data_set(protocol: str) -> None:
    with pytest.raises(ModelLoadError, match=OTHER_CLASSES):
        run(_Linear(_random(12)), replace(REQUEST, protocol=protocol))
    with pytest.raises(ModelLoadError, match=OTHER_CLASSES):
        run(_Linear(_random(12), lambda z: z.sinh()))


IMAGES = load_images("fashion_mnist", 20)


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"entry": replace(ENTRY, architecture={"name": "other"})}, False),
        ({"entry": replace(ENTRY, preprocessing={"mean": [0.5]})}, False),
        ({"entry": replace(ENTRY, norm="L2")}, False),
        ({"entry": replace(ENTRY, eps=0.2)}, False),
        ({"weights_sha256": "x" * 64}, False),
        ({"images": load_images("fashion_mnist", 21)}, False),
        ({"images": None}, False),
        ({"request": replace(REQUEST, seed=1)}, False),
        ({"request": replace(REQUEST, linearization="fold")}, False),
        ({"request": replace(REQUEST, sketch=64)}, False),
        ({"request": replace(REQUEST, targeted="superclass")}, False),
        ({"request": replace(REQUEST, targeted=None)}, True),
        ({"request": replace(REQUEST, protocol="standard")}, False),
        ({"request": replace(REQUEST, device="cuda", batch_size=7, measure_batch=True)}, True),
        ({"entry": replace(ENTRY, model="demo:renamed", description="words", training={})}, True),
    ],
)
def test_identity_is_all_that_can_change_the_numbers(change: dict, same: bool) -> None:
    parts = {"entry": ENTRY, "weights_sha256": "w" * 64, "request": REQUEST, "images": IMAGES}
    assert (identity(**parts) == identity(**(parts | change))) is same


def test_mixed_precision_has_an_identity_of_its_own() -> None:
    parts = {"entry": ENTRY, "weights_sha256": "w" * 64, "images": IMAGES}
    strong = replace(REQUEST, protocol="strong")
    assert identity(**parts, request=strong) != identity(**parts, request=replace(strong, mixed_precision=True))


@pytest.mark.parametrize(
    ("norm", "protocol", "curve", "same"),
    [
        ("L2", "strong", False, False),
        ("Linf", "strong", True, True),
        ("L2", "standard", False, True),
        ("L2", "standard", True, False),
    ],
)
def test_the_balls_of_a_search_in_l2_are_part_of_its_identity(
    monkeypatch: pytest.MonkeyPatch, norm: str, protocol: str, curve: bool, same: bool
) -> None:
    parts = {"entry": replace(ENTRY, norm=norm), "weights_sha256": "w" * 64, "images": IMAGES}
    request = replace(REQUEST, protocol=protocol, curve=curve)
    before = identity(**parts, request=request)
    monkeypatch.setattr(L2Norm, "radii", (4.0, 1.0))
    assert (identity(**parts, request=request) == before) is same


@pytest.mark.parametrize("right", [0, 1, 3])
def test_a_model_that_is_hardly_ever_right_is_audited_all_the_same(right: int) -> None:
    """Margins at correctly classified images are measured where there are any."""
    images = load_images("fashion_mnist", 20)
    model = _Linear(_random())
    with torch.no_grad():
        logits = model(torch.from_numpy(images.images))
    # The labels are all wrong but for the first few, and no class is left out of them.
    labels = logits.argsort(1)[:, 0].numpy()
    labels[:right] = logits.argmax(1).numpy()[:right]
    record = audit(ENTRY, LoadedModel(model, "w" * 64), REQUEST, replace(images, labels=labels), JobContext())
    assert record.clean_accuracy == right / 20
    assert math.isnan(record.screening.data_margin) is (right == 0)
