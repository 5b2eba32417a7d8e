"""First-order margins and the local gap against closed forms, and what they do not depend on."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from auditor.clustering import centred, clustering_scores, correlation
from auditor.screening.local import local_maps
from auditor.screening.probes import PROBES, probe_images
from auditor.screening.statistics import local_gap
from benchmarks.study.statistics import (
    boundary_radii,
    dreamed_images,
    fisher_norms,
    linearity_errors,
    reached_targets,
)

SIZE = (2, 6, 6)
SUPERCLASSES = ("a", "a", "b", "b", "c")


class Affine(nn.Module):
    """``W x + b``, both from a seed."""

    def __init__(self, seed: int = 0, classes: int = 5) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(classes, 72, generator=random, dtype=torch.float64))
        self.bias = nn.Parameter(torch.randn(classes, generator=random, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight.T + self.bias


class Curved(nn.Module):
    """A small network that is smooth, in float64."""

    def __init__(self, scale: float = 1.0, shift: bool = False) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(72, 16), nn.Tanh(), nn.Linear(16, 5)).double()
        self.scale, self.shift = scale, shift

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.scale * self.body(x)
        return logits + 3 * x.flatten(1).sin().sum(1, keepdim=True) + 7 if self.shift else logits


def images(kind: str = "uniform", count: int = 9) -> Tensor:
    return probe_images(kind, count, SIZE, 1).double()


@pytest.mark.parametrize("norm", ["Linf", "L2"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_margins_of_a_linear_model_are_the_distances_to_its_boundaries(norm: str, seed: int) -> None:
    model, x = Affine(seed), images()
    maps = local_maps(model, x, norm, batch_size=4)
    logits = model(x).detach()
    for i, z in enumerate(logits):
        first, second = (int(k) for k in z.topk(2).indices)
        away = {
            k: float(z[first] - z[k]) / float(dual((model.weight[first] - model.weight[k]).detach(), norm))
            for k in range(5) if k != first
        }  # fmt: skip
        assert maps.two_class[i].item() == pytest.approx(away[second], rel=1e-10)
        assert maps.all_class[i].item() == pytest.approx(min(away.values()), rel=1e-10)


def dual(row: Tensor, norm: str) -> Tensor:
    return row.abs().sum() if norm == "Linf" else row.square().sum().sqrt()


@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_a_step_of_the_margin_reaches_the_boundary_of_a_linear_model_and_a_shorter_one_does_not(norm: str) -> None:
    model, x = Affine(4), images()
    maps = local_maps(model, x, norm)
    before = model(x).argmax(1)
    for factor, crossed in ((0.99, False), (1.01, True)):
        for i in range(len(x)):
            ends = set()
            for k in range(5):
                row = (model.weight[k] - model.weight[before[i]]).detach()
                way = row.sign() if norm == "Linf" else row / row.norm().clamp_min(1e-30)
                step = factor * maps.all_class[i] * way.view(1, *SIZE)
                ends.add(int(model(x[i : i + 1] + step).argmax()))
            assert (ends != {int(before[i])}) == crossed


@pytest.mark.parametrize("kind", ["uniform", "smooth", "leaves"])
def test_the_local_gap_of_a_linear_model_is_the_gap_of_its_weights(kind: str) -> None:
    model = Affine(5)
    maps = local_maps(model, images(kind), "Linf")
    gram = (model.weight @ model.weight.T).detach().numpy()
    gap = clustering_scores(correlation(centred(gram)), SUPERCLASSES).gap
    assert local_gap(maps.gram, SUPERCLASSES) == pytest.approx(gap, abs=1e-10)
    assert local_gap(maps.raw_gram, SUPERCLASSES) == pytest.approx(
        clustering_scores(correlation(gram), SUPERCLASSES).gap, abs=1e-10
    )


@pytest.mark.parametrize("norm", ["Linf", "L2"])
@pytest.mark.parametrize(("scale", "shift"), [(1000.0, False), (1e-4, False), (1.0, True), (0.01, True)])
def test_nothing_depends_on_the_scale_of_logits_or_on_what_all_share(norm: str, scale: float, shift: bool) -> None:
    x = images("smooth")
    found = [_everything(Curved(*how), x, norm) for how in ((1.0, False), (scale, shift))]
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, rtol=1e-6, atol=1e-8, msg=name)


def _everything(model: nn.Module, x: Tensor, norm: str) -> dict[str, Any]:
    maps = local_maps(model, x, norm)
    return {
        "two_class": maps.two_class,
        "all_class": maps.all_class,
        "gap": local_gap(maps.gram, SUPERCLASSES),
        "fisher": fisher_norms(maps),
        "radii": boundary_radii(model, x, norm=norm, eps=0.1),
        "linearity": linearity_errors(model, x, norm=norm, eps=0.1),
        "reached": list(reached_targets(model, x[:3], norm=norm, eps=0.1).values()),
    }


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


def test_zero_and_broken_gradients_give_no_distance() -> None:
    class Steps(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            z = x.flatten(1)[:, :3] * 2
            return z + (z.round() - z).detach() - z + z.detach()  # values, no gradient

    class Root(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([(x.flatten(1)[:, 0] * 0).sqrt(), x.flatten(1)[:, 1] + 1], 1)  # infinite at 0

    for model in (Steps(), Root()):
        maps = local_maps(model, images(), "Linf")
        assert maps.two_class.isnan().all()
        assert maps.all_class.isnan().all()
    assert math.isnan(local_gap(local_maps(Steps(), images(), "L2").gram, ("a", "a", "b")))


@pytest.mark.parametrize("kind", sorted(PROBES))
@pytest.mark.parametrize("size", [(1, 28, 28), (3, 32, 32), (3, 17, 40), (1, 4, 4)])
def test_probes_are_images_whatever_the_count_and_differ_by_seed(kind: str, size: tuple[int, int, int]) -> None:
    few, many = probe_images(kind, 3, size, 5), probe_images(kind, 6, size, 5)
    assert few.shape == (3, *size)
    assert few.dtype == torch.float32
    assert torch.equal(few, many[:3])
    assert many.min() >= 0
    assert many.max() <= 1
    assert len(torch.unique(many, dim=0)) == 6
    assert not torch.equal(few, probe_images(kind, 3, size, 6))


def test_dreams_show_the_model_each_class_in_turn() -> None:
    model = Affine(7)
    found = dreamed_images(model, SIZE, 5, 10, seed=0)
    answers = model(found).argmax(1)
    assert (answers == torch.arange(10) % 5).double().mean() >= 0.8


def test_the_mean_map_is_the_mean_of_the_jacobians_of_all_batches() -> None:
    model, x = Curved(), images()
    jacobians = [torch.autograd.functional.jacobian(model, one[None])[0, :, 0] for one in x]
    found = local_maps(model, x, "L2", batch_size=4).mean_map
    assert found is not None
    assert torch.allclose(found, torch.stack(jacobians).mean(0))


def test_the_mean_map_leaves_out_images_without_a_finite_jacobian() -> None:
    class Broken(Affine):
        def forward(self, x: Tensor) -> Tensor:
            bad = (x.flatten(1)[:, :1] > 0.5).double()
            return super().forward(x) + bad * (x.flatten(1)[:, :1] - 2).sqrt()

    x = images()
    x[:, 0, 0, 0] = 0.0
    x[0, 0, 0, 0] = 0.9
    found = local_maps(Broken(), x, "L2").mean_map
    assert found is None or torch.isfinite(found).all()
