"""``batch_dependent``: models whose logits of an image change with its neighbours, and no others."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from auditor.attacks import evaluate_robustness
from auditor.attacks.flags import depends_on_batch, output_flags
from auditor.zoo.demo.networks import PlainConvNet, SmallResNet

IMAGES = torch.rand(64, 1, 28, 28, generator=torch.Generator().manual_seed(0))


class _Around(nn.Module):
    """A small network, and something done to its logits."""

    def __init__(self, last: Callable[[Tensor], Tensor], network: Callable[[], nn.Module] = PlainConvNet) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.network, self.last = network(), last

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.network(x))


def _attention() -> nn.Module:
    layer = nn.TransformerEncoderLayer(28, 4, 32, batch_first=True)
    return nn.Sequential(nn.Flatten(1, 2), nn.Linear(28, 28), layer, nn.Flatten(), nn.Linear(784, 10))


def _grouped() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, 2), nn.GroupNorm(4, 16), nn.GELU(), nn.Conv2d(16, 16, 3, 2), nn.InstanceNorm2d(16),
        nn.Dropout(0.5), nn.Flatten(), nn.Linear(576, 10),
    )  # fmt: skip


def _outliers_last(z: Tensor) -> Tensor:
    return z + (torch.arange(len(z)) == len(z) - 1)[:, None] * torch.eye(10)[0]


@pytest.mark.parametrize(
    "last",
    [
        lambda z: z - z.mean(0),
        lambda z: F.batch_norm(torch.cat([z, z + 1]), None, None, training=True)[: len(z)],
        lambda z: z / z.norm(),
        _outliers_last,
        lambda z: z.roll(1, 0),
    ],
    ids=["centred", "batch norm in training", "scaled together", "position", "mixed up"],
)
def test_models_that_look_at_their_neighbours(last: Callable[[Tensor], Tensor]) -> None:
    model = _Around(last).eval()
    with torch.no_grad():
        assert output_flags(model, IMAGES, model(IMAGES)) == ["batch_dependent"]


@pytest.mark.parametrize("network", [SmallResNet, PlainConvNet, _grouped, _attention])
@pytest.mark.parametrize(
    "last",
    [
        lambda z: z,
        lambda z: 1000 * z,
        lambda z: z + 1e4,
        lambda z: z.repeat_interleave(2, 1),  # ties, which rounding decides
        lambda z: torch.cat([z, z + 1e-7 * z.roll(1, 1)], 1),
    ],
    ids=["itself", "scaled", "offset", "ties", "near ties"],
)
def test_ordinary_layers_in_eval_mode_are_never_flagged(
    network: Callable[[], nn.Module], last: Callable[[Tensor], Tensor]
) -> None:
    model = _Around(last, network).eval()
    with torch.no_grad():
        for images in (IMAGES, IMAGES[:2], IMAGES[:1]):
            assert not depends_on_batch(model, images, model(images))


def test_one_image_has_no_neighbours() -> None:
    model = _Around(lambda z: z / z.norm()).eval()
    assert not depends_on_batch(model, IMAGES[:1], model(IMAGES[:1]))


def test_a_robust_accuracy_of_a_batch_carries_the_flag() -> None:
    labels = torch.arange(64) % 10
    model = _Around(lambda z: z - z.mean(0)).eval()
    result = evaluate_robustness(model, IMAGES, labels, norm="Linf", eps=0.1, protocol="quick")
    assert "batch_dependent" in result.flags
    assert "randomized" not in result.flags
