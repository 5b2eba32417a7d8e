"""The five families: shapes, and a linearized network that is affine."""

import pytest
import torch

from auditor.linear import template_gram
from auditor.reproduce.networks import FAMILIES, build
from auditor.reproduce.records import FAMILIES as NAMES


def test_names() -> None:
    assert tuple(FAMILIES) == NAMES


@pytest.mark.parametrize("family", NAMES)
def test_shapes_and_linearization(family: str) -> None:
    torch.manual_seed(0)
    for channels, size in ((1, 28), (3, 32), (3, 64)):
        network = build(family, channels, size, 7, 0.34).eval()
        assert network(torch.rand(2, channels, size, size)).shape == (2, 7)
    small = build(family, 1, 28, 4, 0.34).eval()
    assert template_gram(small, (1, 28, 28)).affinity_error < 1e-3
    assert sum(p.numel() for p in build(family, 1, 28, 4, 1.0).parameters()) > sum(
        p.numel() for p in small.parameters()
    )
