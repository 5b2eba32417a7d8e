"""Products, statistics, maxima, recurrence: each kind of rule against a linear twin written by hand from the method."""

import pytest
import torch
from torch import Tensor, nn

from auditor.linear import implicit_weight, linearize
from tests.linear.weightings import CASES, SIZE, Case


class _Network(nn.Module):
    """Layers, a step over them, and a head; the twin is the same with another step."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.step = case.network
        for name, make in case.layers.items():
            setattr(self, name, make())
        with torch.no_grad():
            width = self.step(self.float(), torch.rand(1, *SIZE)).flatten(1).shape[1]
        self.head = nn.Linear(width, 5)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        self.double().eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.step(self, x).flatten(1))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_weight_is_the_jacobian_of_the_twin(case: Case) -> None:
    torch.manual_seed(3)
    network = _Network(case)
    at = torch.randn(SIZE, dtype=torch.float64)

    def twin(x: Tensor) -> Tensor:
        return network.head(case.twin(network, x[None]).flatten(1))[0]

    expected = torch.func.jacrev(twin)(at)
    assert expected.abs().max() > 1e-3
    weight = implicit_weight(network, SIZE)
    torch.testing.assert_close(weight, expected.detach(), rtol=0, atol=1e-9 * expected.abs().max().item())
    torch.testing.assert_close(linearize(network)(at[None])[0], twin(at).detach(), rtol=1e-4, atol=1e-4)
