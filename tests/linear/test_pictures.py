"""Pictures of templates: means over cells of W, from the passes that give its Gram matrix."""

import numpy as np
import pytest
import torch
from torch import nn

from auditor.linear import implicit_weight, template_gram


def _networks() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    return {
        "plain": nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 96, 3)),
        "narrow head": nn.Sequential(nn.Flatten(), nn.Linear(192, 5), nn.ReLU(), nn.Linear(5, 12)),
    }


@pytest.mark.parametrize("name", ["plain", "narrow head"])
@pytest.mark.parametrize("held_bytes", [2**30, 0])
def test_pictures_are_means_over_cells_of_w(name: str, held_bytes: int) -> None:
    network, size = _networks()[name], (2, 8, 12)
    found = template_gram(network, size, pictures=(4, 6), held_bytes=held_bytes)
    weight = implicit_weight(network, size).double().numpy()
    expected = weight.reshape(len(weight), 2, 4, 2, 6, 2).mean((3, 5))
    assert found.pictures is not None
    np.testing.assert_allclose(found.pictures.numpy(), expected, rtol=1e-5, atol=1e-7)
    plain = template_gram(network, size, held_bytes=held_bytes)
    assert plain.pictures is None
    assert torch.equal(plain.gram, found.gram)


def test_pictures_of_the_full_size_are_w_itself() -> None:
    network, size = _networks()["plain"], (2, 8, 12)
    found = template_gram(network, size, pictures=(8, 12))
    assert found.pictures is not None
    assert torch.equal(found.pictures.float(), implicit_weight(network, size))
