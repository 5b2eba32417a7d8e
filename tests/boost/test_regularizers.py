"""The clustering regularizer against the formula written out, gradient stopped at the mean as in the paper."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from auditor.boost import cluster_regularizer
from auditor.errors import InputError

SUPERCLASSES = ("tops", "trouser", "tops", "tops", "bag", "shoes", "tops", "shoes", "bottom", "shoes")


def _written_out(logits: torch.Tensor, superclasses: tuple) -> torch.Tensor:
    names = [name for name in set(superclasses) if superclasses.count(name) >= 2]
    total = logits.new_zeros(())
    for name in names:
        members = [k for k, label in enumerate(superclasses) if label == name]
        centre = sum(logits[:, k] for k in members).detach() / len(members)
        inner = logits.new_zeros(())
        for k in members:
            inner = inner + ((logits[:, k] - centre) ** 2).mean()
        total = total + inner / len(members)
    return total / len(names)


@given(st.integers(0, 10**6), st.integers(1, 9))
def test_value_and_gradient(seed: int, n: int) -> None:
    logits = torch.randn(n, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(seed), requires_grad=True)
    found, expected = cluster_regularizer(logits, SUPERCLASSES), _written_out(logits, SUPERCLASSES)
    torch.testing.assert_close(found, expected)
    (ours,) = torch.autograd.grad(found, logits)
    (theirs,) = torch.autograd.grad(expected, logits)
    torch.testing.assert_close(ours, theirs)


def test_classes_that_stand_alone_are_left_alone() -> None:
    logits = torch.zeros(2, 10, requires_grad=True)
    shifted = logits + torch.tensor([0.0, 5, 0, 0, 7, 0, 0, 0, -9, 0])
    assert cluster_regularizer(shifted, SUPERCLASSES).item() == 0


@pytest.mark.parametrize(
    ("shape", "superclasses"), [((2, 3), ("a", "b")), ((3,), ("a", "a", "a")), ((2, 3), ("a", "b", "c"))]
)
def test_nothing_to_pull_together_is_an_error(shape: tuple, superclasses: tuple) -> None:
    with pytest.raises(InputError):
        cluster_regularizer(torch.zeros(shape), superclasses)
