"""The study's statistics of local maps and of small attacks at random images, against closed forms."""

import math

import pytest
import torch

from auditor.screening.local import local_maps
from benchmarks.study.statistics import (
    boundary_radii,
    dreamed_images,
    fisher_norms,
    linearity_errors,
    reached_targets,
)
from tests.factories.smooth_models import SIZE, Affine, Curved, images


@pytest.mark.long
@pytest.mark.parametrize("norm", ["Linf", "L2"])
@pytest.mark.parametrize(("scale", "shift"), [(1000.0, False), (1e-4, False), (1.0, True), (0.01, True)])
def test_nothing_depends_on_the_scale_of_logits_or_on_what_all_share(norm: str, scale: float, shift: bool) -> None:
    x = images("smooth")
    one, other = (
        [
            fisher_norms(local_maps(model, x, norm)),
            boundary_radii(model, x, norm=norm, eps=0.1),
            linearity_errors(model, x, norm=norm, eps=0.1),
            torch.tensor(list(reached_targets(model, x[:3], norm=norm, eps=0.1).values())),
        ]
        for model in (Curved(), Curved(scale, shift))
    )
    torch.testing.assert_close(other, one, rtol=1e-6, atol=1e-8)


def test_fisher_norm_is_that_of_the_fisher_information_in_full() -> None:
    model, x = Curved(), images()
    maps = local_maps(model, x, "L2")
    logits = maps.logits - maps.logits.mean(1, keepdim=True)
    scale = logits.square().mean().sqrt()
    for i, found in enumerate(fisher_norms(maps)):
        jacobian = torch.autograd.functional.jacobian(lambda image: model(image)[0], x[i : i + 1]).flatten(1) / scale
        p = (maps.logits[i] / scale).softmax(0)
        information = jacobian.T @ (torch.diag(p) - p[:, None] * p) @ jacobian
        assert found.item() == pytest.approx(torch.linalg.eigvalsh(information)[-1].sqrt().item(), rel=1e-8)


def test_a_linear_model_has_no_linearity_error_and_radii_just_beyond_its_margins() -> None:
    model, x = Affine(6), images()
    assert linearity_errors(model, x, norm="Linf", eps=0.01).max() < 1e-9
    margins = local_maps(model, x, "Linf").all_class
    for margin, radius in zip(margins, boundary_radii(model, x, norm="Linf", eps=0.05), strict=True):
        assert math.isinf(radius) or margin <= radius * 0.05 * (1 + 1e-9)


def test_dreams_show_the_model_each_class_in_turn() -> None:
    model = Affine(7)
    found = dreamed_images(model, SIZE, 5, 10, seed=0)
    answers = model(found).argmax(1)
    assert (answers == torch.arange(10) % 5).double().mean() >= 0.8
