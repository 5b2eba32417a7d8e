"""Sketches against W itself, on every network that has a linear twin; what must be refused; memory and seeds."""

import pytest
import torch
from torch import Tensor, nn

from auditor.errors import InputError
from auditor.linear import LinearizationError, implicit_weight, linearize, template_sketch
from auditor.linear import sketch as sketching
from tests.factories.layers import Refused, hidden, hooked
from tests.linear.twins import CASES, Case


def _probes(size: tuple[int, int, int], count: int, seed: int = 0) -> Tensor:
    """The probe images as documented: one after another, from a float64 generator on the CPU."""
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randn(size, generator=generator, dtype=torch.float64) for _ in range(count)])


@pytest.mark.parametrize("batch_norm", ["remove", "fold"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_responses_are_w_times_the_probes(case: Case, batch_norm: str) -> None:
    found = template_sketch(case.network, case.size, probes=11, batch_norm=batch_norm)
    weight = implicit_weight(case.network, case.size, batch_norm=batch_norm).flatten(1)
    expected = _probes(case.size, 11).flatten(1) @ weight.T
    scale = expected.abs().max().item()
    torch.testing.assert_close(found.responses, expected, rtol=0, atol=1e-9 * scale)
    torch.testing.assert_close(found.gram, expected.T @ expected / 11, rtol=0, atol=1e-9 * scale**2)
    assert found.dtype == "float64"
    assert 0 <= found.affinity_error < 1e-10


def _network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 49, 12))


def test_biases_do_not_drown_the_probes() -> None:
    network = _network()
    with torch.no_grad():
        network[3].bias += 1000 * network[3].weight.norm()
    weight = implicit_weight(network, (3, 15, 15)).double().flatten(1)
    expected = _probes((3, 15, 15), 8).flatten(1) @ weight.T
    found = template_sketch(network, (3, 15, 15), probes=8)
    assert found.dtype == "float32"
    assert ((found.responses - expected).norm() / expected.norm()).item() < 1e-3


def test_the_seed_alone_decides_not_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    network = _network()
    first = template_sketch(network, (3, 15, 15), probes=20, seed=5)
    assert first.responses.dtype == torch.float64
    assert first.responses.shape == (20, 12)
    monkeypatch.setattr(sketching, "BATCH", 3)
    torch.testing.assert_close(
        template_sketch(network, (3, 15, 15), probes=20, seed=5).responses, first.responses, rtol=1e-4, atol=1e-5
    )
    longer = template_sketch(network, (3, 15, 15), probes=30, seed=5).responses
    torch.testing.assert_close(longer[:20], first.responses, rtol=1e-4, atol=1e-5)
    other = template_sketch(network, (3, 15, 15), probes=20, seed=6).responses
    assert (other - first.responses).abs().max() > 0.1 * first.responses.abs().max()


def test_double_asks_for_float64_and_gives_more_digits() -> None:
    network = _network()
    found = template_sketch(network, (3, 15, 15), probes=8, double=True)
    exact = implicit_weight(network.double(), (3, 15, 15)).flatten(1)
    assert found.dtype == "float64"
    torch.testing.assert_close(found.responses, _probes((3, 15, 15), 8).flatten(1) @ exact.T, rtol=1e-10, atol=1e-10)


def test_what_float32_cannot_hold_goes_to_float64() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
    with torch.no_grad():
        for layer in (network[1], network[3], network[5]):
            layer.weight.mul_(1e15)
    found = template_sketch(network, (1, 2, 2), probes=8)
    assert found.dtype == "float64"
    assert torch.isfinite(found.responses).all()


@pytest.mark.parametrize(
    ("last", "message"),
    [
        (lambda z: z.exp(), r"exp"),
        (lambda z: 0 * z, r"W is 0"),
        (lambda z: z + hidden(z), r"mul of the input runs under no_grad"),
        (lambda z: hooked(2 * z), r"does not match its forward pass"),
        (lambda z: z * float("inf"), r"not finite.*mul"),
        (lambda z: z[:, :, None], r"expected logits \(N, K\)"),
    ],
    ids=["exp", "zero", "hidden", "hooked", "infinite", "shape"],
)
def test_refused_as_w_would_be(last: object, message: str) -> None:
    with pytest.raises(LinearizationError, match=message):
        template_sketch(Refused(last), (1, 5, 5), probes=8)


def test_a_small_class_that_hides_its_path_is_found() -> None:
    class Hiding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(25, 40)

        def forward(self, x: Tensor) -> Tensor:
            logits = self.linear(x.flatten(1))
            small = 1e-3 * (x.flatten(1)[:, :1] + hooked(1 * x.flatten(1)[:, 1:2]))
            return torch.cat([logits, small], 1)

    with pytest.raises(LinearizationError, match="does not match its forward pass"):
        template_sketch(Hiding(), (1, 5, 5), probes=8)


@pytest.mark.parametrize("probes", [7, 0, -1])
def test_too_few_probes_are_refused(probes: int) -> None:
    with pytest.raises(InputError, match=f"expected at least 8 probes, got {probes}"):
        template_sketch(_network(), (3, 15, 15), probes=probes)


def test_one_backward_pass_and_no_batch_of_more_than_eight(monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[int] = []
    real = torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *args, **more: passes.append(1) or real(*args, **more))
    network = _network()
    sizes: list[int] = []
    network[0].register_forward_hook(lambda _, inputs, __: sizes.append(len(inputs[0])))
    template_sketch(network, (3, 15, 15), probes=20)
    assert len(passes) == 1
    assert sizes == [5, 2, 8, 8, 4]


def test_the_mean_of_many_sketches_is_the_gram_matrix() -> None:
    network = _network()
    weight = implicit_weight(network, (3, 15, 15)).double().flatten(1)
    gram = template_sketch(network, (3, 15, 15), probes=4000).gram
    sizes = weight.norm(dim=1)
    off = (gram - weight @ weight.T) / sizes.outer(sizes)
    assert off.pow(2).mean().sqrt() < 1.5 / 4000**0.5
    assert linearize(network)(torch.zeros(1, 3, 15, 15)).shape == (1, 12)
