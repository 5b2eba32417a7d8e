"""Mixed precision leads the search of protocol `strong`; float32 decides what it has broken."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from auditor.attacks import PROTOCOLS, Protocol, evaluate_robustness
from auditor.attacks.ascent import ascend
from auditor.attacks.gradient import frozen, margin
from auditor.attacks.mixed_precision import MixedPrecision
from auditor.attacks.norms import LINF
from auditor.attacks.protocols import MIXED_PRECISION, draws_by_sample, in_mixed_precision
from tests.factories.attacked_models import Linear, distances

SEARCH = Protocol("search", None, PROTOCOLS["strong"].attacks[2:3], "")


def _clear_images(model: nn.Module, count: int, norm: str) -> tuple[Tensor, Tensor, Tensor, float]:
    """Images, labels, distances to the boundary, and a radius that none of these is near."""
    images = 0.3 + 0.4 * torch.rand(count, 1, 6, 6, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        labels = model(images).argmax(1)
    reach = distances(model, images, labels, norm)
    eps = reach.median().item()
    clear = (reach - eps).abs() > 0.05 * eps
    return images[clear], labels[clear], reach[clear], eps


@pytest.mark.long
@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_robust_accuracy_of_a_linear_classifier_is_its_closed_form(norm: str) -> None:
    model = Linear(5)
    images, labels, reach, eps = _clear_images(model, 40, norm)
    protocol = in_mixed_precision(SEARCH)
    result = evaluate_robustness(model, images, labels, norm=norm, eps=eps, protocol=protocol)
    assert torch.equal(result.survived, reach > eps)
    assert result.attacks[0].parameters["precision"] == MIXED_PRECISION


def test_the_network_runs_in_short_numbers_and_answers_in_float32() -> None:
    seen: list[torch.dtype] = []
    network = nn.Sequential(nn.Flatten(), nn.Linear(36, 5))
    network[1].register_forward_hook(lambda _, __, output: seen.append(output.dtype))
    images = torch.rand(3, 1, 6, 6)
    exact, mixed = network(images), MixedPrecision(network)(images)
    assert seen == [torch.float32, torch.bfloat16]
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed, exact, atol=0.02, rtol=0.02)
    assert not torch.equal(mixed, exact)


class _Mistaken(nn.Module):
    """A stand-in for mixed precision whose logits are those of the network, plus an error."""

    def __init__(self, network: nn.Module, error: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.network, self.error = network, error

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images)
        return logits + self.error(logits)


def _ascend(model: nn.Module, leader: nn.Module, images: Tensor, labels: Tensor, eps: float) -> Tensor:
    with frozen(model):
        end = ascend(
            leader, images, labels, lambda rows: margin(labels[rows]),
            norm=LINF, eps=eps, iterations=10, start=images, confirm=model,
        )  # fmt: skip
        wrong = model(end.points).argmax(1) != labels
    assert torch.equal(end.broken, wrong)
    return end.broken


def test_what_only_the_short_numbers_break_is_attacked_further() -> None:
    """The leader misjudges each clean image; every sample that can be broken is broken all the same, and no other."""
    model = Linear(5)
    images, labels, reach, eps = _clear_images(model, 40, "Linf")

    def wrong_everywhere(logits: Tensor) -> Tensor:
        return 1e6 * torch.eye(5)[4].expand_as(logits).clone()  # its margins still point to the boundary of class 4

    leader = _Mistaken(model, wrong_everywhere)
    broken = _ascend(model, leader, images, labels, eps)
    towards_4 = reach_of(model, images, labels, 4)
    can = (labels != 4) & (towards_4 < 0.95 * eps)
    assert can.any()
    assert broken[can].all()
    assert not broken[reach > eps].any()


def test_what_only_float32_breaks_counts_at_the_end() -> None:
    """The leader takes every point for correct; the last point decides."""
    model = Linear(5)
    images, labels, reach, eps = _clear_images(model, 40, "Linf")
    confident = _Mistaken(model, lambda logits: 1e3 * nn.functional.one_hot(labels, 5)[: len(logits)])
    broken = _ascend(model, confident, images, labels, eps)
    assert torch.equal(broken, reach < eps)


def reach_of(model: Linear, images: Tensor, labels: Tensor, target: int) -> Tensor:
    """The Linf distance of each image to the boundary between its class and the target."""
    with torch.no_grad():
        logits = model(images)
    gap = logits.gather(1, labels[:, None])[:, 0] - logits[:, target]
    return gap / (model.weight[labels] - model.weight[target]).abs().sum(1).clamp_min(1e-9)


@pytest.mark.parametrize(
    ("name", "expected"), [("quick", True), ("strong", True), ("standard", False), ("full", False)]
)
def test_which_protocols_draw_by_sample(name: str, expected: bool) -> None:
    assert draws_by_sample(PROTOCOLS[name]) is expected


def test_only_the_search_changes() -> None:
    before, after = PROTOCOLS["strong"], in_mixed_precision(PROTOCOLS["strong"])
    changed = [old.name for old, new in zip(before.attacks, after.attacks, strict=True) if old != new]
    assert changed == ["search"]
    assert in_mixed_precision(PROTOCOLS["quick"]) == PROTOCOLS["quick"]
