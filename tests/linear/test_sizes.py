"""Maps of odd sizes: heads narrower than their classes, biases that drown, squares that leave float64."""

import pytest
import torch
from torch import Tensor, nn

from auditor.linear import class_correlation, implicit_weight, linearize, template_gram
from auditor.linear.affinity import probe_points
from auditor.linear.weight import AffineMap


def test_a_head_narrower_than_its_classes_is_gone_through() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36, 7), nn.ReLU(), nn.Linear(7, 50))
    conv, middle, head = network[0], network[3], network[5]

    def twin(x: Tensor) -> Tensor:
        return head(middle(conv(x[None]).flatten(1)))[0]

    expected = torch.func.jacrev(twin)(torch.zeros(3, 5, 5)).detach()
    affine = AffineMap(linearize(network), probe_points((3, 5, 5), torch.zeros(1)))
    assert sum(len(rows) for _, rows in affine.rows()) == 7
    torch.testing.assert_close(implicit_weight(network, (3, 5, 5)), expected, rtol=1e-4, atol=1e-6)
    gram = expected.flatten(1).double() @ expected.flatten(1).double().T
    for held_bytes in (2**30, 0):
        found = template_gram(network, (3, 5, 5), double=True, held_bytes=held_bytes)
        torch.testing.assert_close(found.gram, gram, rtol=1e-4, atol=1e-6 * gram.abs().max().item())


def test_biases_do_not_drown_a_small_map() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).double()
    with torch.no_grad():
        network[1].weight.mul_(1e-16)
    found = template_gram(network, (1, 2, 2))
    weight = network[1].weight.detach()
    assert found.affinity_error < 1e-8
    torch.testing.assert_close(found.gram, weight @ weight.T, rtol=1e-9, atol=0)


@pytest.mark.parametrize("held_bytes", [2**30, 0])
@pytest.mark.parametrize("size", [1e200, 1e-200])
def test_maps_whose_squares_leave_float64(size: float, held_bytes: int) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3, bias=False)).double()
    weight = network[1].weight.detach().clone()
    with torch.no_grad():
        network[1].weight.mul_(size)
    found = template_gram(network, (1, 2, 2), held_bytes=held_bytes)
    gram = weight @ weight.T
    torch.testing.assert_close(found.gram / found.gram.trace(), gram / gram.trace())
    assert found.norm == pytest.approx(size * weight.norm().item())
    assert torch.isfinite(class_correlation(network, (1, 2, 2))).all()


def _hotter(z: Tensor, head: nn.Linear) -> Tensor:
    logits = head(z)
    logits *= 3
    return logits


def _features_changed_later(z: Tensor, head: nn.Linear) -> Tensor:
    logits = head(z)
    z.mul_(5)
    return logits


@pytest.mark.parametrize(("last", "factor"), [(_hotter, 3), (_features_changed_later, 1)])
def test_a_head_is_not_gone_through_where_something_changed_in_place(last: object, factor: float) -> None:
    class Changing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Linear(12, 3), nn.Linear(3, 8)

        def forward(self, x: Tensor) -> Tensor:
            return last(self.body(x.flatten(1)), self.head)

    network = Changing().double()
    expected = factor * network.head.weight.detach() @ network.body.weight.detach()
    torch.testing.assert_close(implicit_weight(network, (3, 2, 2)).flatten(1), expected)
