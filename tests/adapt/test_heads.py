"""Another head: the mean of the sources' templates, whatever network it is put on, and nothing else is changed."""

import pytest
import torch
from torch import nn

from auditor.adapt import superclass_head
from auditor.adapt.heads import find_head
from auditor.errors import InputError
from auditor.zoo.demo.networks import ARCHITECTURES
from auditor.zoo.normalized import Normalized
from tests.adapt.data import network

MEMBERS = [[0, 2], [4, 7, 5]]


class Backwards(nn.Module):
    """Registers its head first and another linear layer of as many outputs last."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 8)
        self.inner = nn.Linear(64, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.inner(x.flatten(1)).relu())
        return logits


class TwoNames(nn.Module):
    """One head under two names, of which the second is used."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(64, 8, bias=False)
        self.classifier = self.fc

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(x.flatten(1))
        return logits


def _timm(name: str, classes: int = 8) -> nn.Module:
    from auditor.zoo.timm import import_timm

    torch.manual_seed(0)
    model: nn.Module = import_timm().create_model(name, num_classes=classes, in_chans=1)
    nn.init.normal_(model.get_classifier().weight, std=0.1)
    return Normalized(model, [0.5], [0.5]).eval()


NETWORKS = {
    "convolutional": lambda: (network(), 8),
    "normalized": lambda: (Normalized(network(), [0.3], [0.2]).eval(), 8),
    "demo resnet": lambda: (ARCHITECTURES["small_resnet"](8).eval(), 28),
    "demo plain": lambda: (ARCHITECTURES["plain_convnet"](8).eval(), 28),
    "two names": lambda: (TwoNames().eval(), 8),
    "timm resnet10t": lambda: (_timm("resnet10t"), 32),
    "timm test_vit": lambda: (_timm("test_vit"), 160),
    "timm test_efficientnet": lambda: (_timm("test_efficientnet"), 64),
    "timm convolution as head": lambda: (_timm("tinynet_e"), 64),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_superclass_s_logit_is_the_mean_of_its_sources_logits(name: str) -> None:
    torch.manual_seed(1)
    model, side = NETWORKS[name]()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    probe = torch.rand(3, 1, side, side, generator=torch.Generator().manual_seed(0))
    adapted = superclass_head(model, MEMBERS, probe)
    with torch.no_grad():
        old, new = model(probe), adapted.model(probe)
    expected = torch.stack([old[:, [0, 2]].mean(1), old[:, [4, 7, 5]].mean(1)], 1)
    torch.testing.assert_close(new, expected, rtol=1e-4, atol=1e-5)
    assert find_head(adapted.model, 2) is adapted.head
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert not adapted.model.training
    fresh = [superclass_head(model, MEMBERS, probe, fresh=True, seed=seed) for seed in (5, 5, 6)]
    assert torch.equal(fresh[0].head.weight, fresh[1].head.weight)
    assert not torch.equal(fresh[0].head.weight, fresh[2].head.weight)
    assert fresh[0].head.weight.abs().max() > 0


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (Backwards(), "last linear layer does not give its logits"),
        (nn.Sequential(nn.Conv2d(1, 8, 8), nn.Flatten()), "ends with a linear layer of 8 classes"),
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.GLU()), "ends with a linear layer of 8 classes"),
    ],
)
def test_a_network_without_such_a_head_is_an_error(model: nn.Module, said: str) -> None:
    with pytest.raises(InputError, match=said):
        superclass_head(model, MEMBERS, torch.rand(2, 1, 8, 8))
