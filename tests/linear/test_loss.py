"""Losses on C: their value and their gradient in the parameters, against finite differences and autograd."""

import copy

import pytest
import torch
from torch import nn

from auditor.boost.regularizers import gap_of, linear_regularizer
from auditor.clustering import clustering_scores
from auditor.errors import InputError, LinearizationError
from auditor.linear import class_correlation, correlation_loss
from auditor.zoo.demo.networks import PlainConvNet, SmallResNet

FAMILIES = tuple("aaaabbccde")


class Gated(nn.Module):
    """Squeeze-excite, softmax attention over positions, and layer norm, before a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.gate = nn.Conv2d(1, 6, 3, 2, 1), nn.Linear(6, 6)
        self.query, self.norm, self.head = nn.Linear(6, 6), nn.LayerNorm(6), nn.Linear(6, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        x = x * torch.sigmoid(self.gate(x.mean((2, 3))))[:, :, None, None]
        tokens = self.norm(x.flatten(2).transpose(1, 2))
        shares = (self.query(tokens) @ tokens.transpose(1, 2)).softmax(-1)
        return self.head((shares @ tokens + tokens).mean(1))


@pytest.mark.long
@pytest.mark.parametrize("network", [SmallResNet, PlainConvNet, Gated])
def test_the_gradient_is_that_of_finite_differences(network: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model = network().double()
    linear_regularizer(model, (1, 28, 28), FAMILIES).backward()
    checked = 0
    for weight in model.parameters():
        if weight.ndim < 2:
            continue
        direction = torch.randn_like(weight)
        ends = []
        for sign in (1, -1):
            moved = copy.deepcopy(model)
            with torch.no_grad():
                dict(moved.named_parameters())[next(n for n, p in model.named_parameters() if p is weight)].add_(
                    sign * 1e-5 * direction
                )
            ends.append(1 - gap_of(class_correlation(moved, (1, 28, 28)), FAMILIES).item())
        expected = (ends[0] - ends[1]) / 2e-5
        found = 0.0 if weight.grad is None else (weight.grad * direction).sum().item()
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-8)
        checked += abs(expected) > 1e-4
    assert checked > 1


def test_the_gradient_is_that_of_autograd_through_w_of_a_linear_network() -> None:
    """Where the network is linear, W is a product of its weights, and torch differentiates that."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 7), nn.ReLU(), nn.Dropout(0.5), nn.Linear(7, 4)).double()
    families = ("a", "a", "b", "b")
    unit = nn.functional.normalize(model[4].weight @ model[1].weight, dim=1)
    expected = 1 - gap_of(unit @ unit.T, families)
    gradients = torch.autograd.grad(expected, [model[1].weight, model[4].weight])
    found = linear_regularizer(model, (3, 2, 2), families)
    torch.testing.assert_close(found, expected)
    for one, other in zip(torch.autograd.grad(found, [model[1].weight, model[4].weight]), gradients, strict=True):
        torch.testing.assert_close(one, other)
    assert model.training


def test_the_gap_is_the_one_that_audits_report() -> None:
    torch.manual_seed(0)
    model = SmallResNet()
    correlation = class_correlation(model, (1, 28, 28))
    expected = clustering_scores(correlation.numpy(), FAMILIES).gap
    assert gap_of(correlation, FAMILIES).item() == pytest.approx(expected)
    assert 1 - linear_regularizer(model, (1, 28, 28), FAMILIES).item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.long
def test_steps_along_the_gradient_raise_the_gap() -> None:
    torch.manual_seed(0)
    model = SmallResNet().train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    values = []
    for _ in range(30):
        value = linear_regularizer(model, (1, 28, 28), FAMILIES)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < values[0] - 0.3
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())
    assert model.training


def test_what_cannot_be_linearized_or_has_no_gap_is_an_error() -> None:
    class Absolute(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(784, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(x.flatten(1)).abs()

    with pytest.raises(LinearizationError):
        correlation_loss(Absolute(), (1, 28, 28), lambda c: c.sum())
    with pytest.raises(InputError, match="there is no gap"):
        linear_regularizer(SmallResNet(), (1, 28, 28), ("a",) * 10)
    with pytest.raises(InputError, match="one for each class"):
        linear_regularizer(SmallResNet(), (1, 28, 28), FAMILIES[:9])
