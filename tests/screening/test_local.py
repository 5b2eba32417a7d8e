"""First-order margins and the local gap against closed forms, and what they do not depend on."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from auditor.clustering import centred, clustering_scores, correlation
from auditor.compute.batches import map_batches
from auditor.screening.local import local_maps
from auditor.screening.probes import DRAWN_SIDE, PROBES, probe_images
from auditor.screening.statistics import local_gap
from tests.factories.smooth_models import SIZE, SUPERCLASSES, Affine, Curved, images


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
    }


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


@pytest.mark.parametrize("kind", sorted(PROBES))
def test_large_pictures_are_enlarged_and_keep_their_shape(kind: str) -> None:
    size = (3, 2 * DRAWN_SIDE, 3 * DRAWN_SIDE)
    found = probe_images(kind, 2, size, 5)
    assert found.shape == (2, *size)
    assert found.min() >= 0
    assert found.max() <= 1
    if kind == "uniform":
        assert torch.equal(found[0], torch.rand(size, generator=torch.Generator().manual_seed(5_000_015)))
    else:  # averaging each 3x3 block of an enlarged picture gives back about what was drawn
        drawn = probe_images(kind, 2, (3, round(DRAWN_SIDE * 2 / 3), DRAWN_SIDE), 5)
        back = nn.functional.interpolate(found, drawn.shape[2:], mode="area")
        assert (back - drawn).abs().mean() < 0.03


@pytest.mark.parametrize("most", [0, 4])
def test_the_two_class_statistics_do_not_depend_on_the_other_rows(most: int) -> None:
    x = images()
    every, leading = local_maps(Curved(), x, "Linf"), local_maps(Curved(), x, "Linf", most_classes=most)
    torch.testing.assert_close(leading.two_class, every.two_class, rtol=1e-9, atol=0)
    torch.testing.assert_close(leading.slopes, every.slopes, rtol=1e-9, atol=0)
    assert leading.gram is None
    assert leading.all_class.isnan().all()


@pytest.mark.parametrize(("fits", "batches"), [(9, [9]), (4, [4, 4, 1]), (1, [1] * 9)])
def test_batches_are_halved_where_memory_runs_out(fits: int, batches: list[int]) -> None:
    def length(some: Tensor) -> int:
        if len(some) > fits:
            raise torch.OutOfMemoryError
        return len(some)

    assert map_batches(length, images(), 9) == batches
    with pytest.raises(torch.OutOfMemoryError):
        map_batches(lambda some: length(some.repeat(10, 1, 1, 1)), images(), 9)


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
