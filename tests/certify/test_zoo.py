"""Lower bound and upper bound on the demo zoo: no certified image is broken."""

import pytest
import torch

from auditor.attacks import evaluate_robustness
from auditor.certify import certify_bounds
from auditor.data import load_images
from auditor.zoo.demo import DemoZoo

IMAGES = 32


@pytest.mark.slow
@pytest.mark.parametrize("eps", [0.02, 0.1])
@pytest.mark.parametrize("entry", DemoZoo().entries(), ids=lambda entry: entry.model)
def test_no_certified_image_is_broken(entry: object, eps: float) -> None:
    found = load_images("fashion_mnist", IMAGES)
    images, labels = torch.from_numpy(found.images), torch.from_numpy(found.labels)
    model = DemoZoo().load(entry).model
    certified = certify_bounds(model, images, labels, norm="Linf", eps=eps) > 0
    attacked = evaluate_robustness(model, images, labels, norm="Linf", eps=eps, protocol="quick")
    print(f"| `{entry.model.removeprefix('demo:')}` | {eps:g} | {int(attacked.correct.sum())} | "
          f"{int(attacked.survived.sum())} | {int(certified.sum())} |")  # fmt: skip
    assert not (certified & ~attacked.survived).any()
