"""Lower bound and upper bound on the demo zoo: no certified image is broken, and one model's two ends are close."""

import pytest
import torch

from auditor.data import load_images
from auditor.zoo.demo import DemoZoo
from benchmarks.certificates import Ends, measure_ends

CERTIFIED = "demo:certified-eps0.10"


def ends(entry: object, eps: float, protocol: str, samples: int) -> Ends:
    found = load_images("fashion_mnist", samples)
    images, labels = torch.from_numpy(found.images), torch.from_numpy(found.labels)
    return measure_ends(DemoZoo().load(entry).model, images, labels, eps, protocol)


@pytest.mark.slow
@pytest.mark.parametrize("eps", [0.02, 0.1])
@pytest.mark.parametrize("entry", DemoZoo().entries(), ids=lambda entry: entry.model)
def test_no_certified_image_is_broken(entry: object, eps: float) -> None:
    found = ends(entry, eps, "strong", 32)
    assert found.violations == 0
    assert found.certified <= found.survived


@pytest.mark.long
def test_the_ends_of_the_certified_model_are_within_ten_points() -> None:
    (entry,) = (entry for entry in DemoZoo().entries() if entry.model == CERTIFIED)
    found = ends(entry, entry.eps, "strong", 200)
    assert found.violations == 0
    assert found.correct > 0.8 * found.n
    assert found.certified <= found.survived <= found.certified + 0.1 * found.n
    assert found.certified > 0.65 * found.n
