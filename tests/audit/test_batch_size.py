"""The batch size that is measured on a GPU: fake devices with known speeds and memory."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from auditor.audit.batch_size import batch_size_of, fastest_batch_size
from auditor.compute.fastest_batch import SECONDS, measure_batch_size
from auditor.records import AuditRequest


class FakeDevice:
    """Takes ``fixed`` seconds a pass and ``each`` an image, ``first`` more at first, and holds ``memory`` images."""

    def __init__(self, fixed: float, each: float, memory: int = 10**9, first: float = 0.0) -> None:
        self.fixed, self.each, self.memory, self.first = fixed, each, memory, first
        self.now, self.sizes = 0.0, []

    def work(self, size: int) -> None:
        if size > self.memory:
            raise torch.OutOfMemoryError
        self.now += self.fixed + self.each * size + (0.0 if self.sizes else self.first)
        self.sizes.append(size)

    def measure(self, most: int) -> int:
        return measure_batch_size(self.work, most, clock=lambda: self.now)


@pytest.mark.parametrize(
    ("fixed", "each", "memory", "most", "expected"),
    [
        (0.0, 0.001, 10**9, 10_000, 32),  # no larger batch is faster
        (0.1, 0.0, 10**9, 10_000, 4096),  # the largest is the fastest
        (0.064, 0.001, 10**9, 10_000, 1024),  # 2,048 gains 3 %
        (0.064, 0.001, 10**9, 200, 200),  # no more than there are
        (0.1, 0.0, 600, 10_000, 256),  # half of what fits
        (0.1, 0.0, 40, 10_000, 16),
        (0.1, 0.0, 3, 10_000, 32),  # the attacks halve it further
        (0.1, 0.0, 10**9, 1, 1),
    ],
)
def test_the_fastest_size_that_fits(fixed: float, each: float, memory: int, most: int, expected: int) -> None:
    assert FakeDevice(fixed, each, memory).measure(most) == expected


def test_a_slow_device_is_not_tried_for_long() -> None:
    device = FakeDevice(0.0, SECONDS / 30)
    assert device.measure(10_000) == 32
    assert device.sizes == [32, 32]


def test_libraries_that_the_first_pass_loads_take_none_of_the_time() -> None:
    assert FakeDevice(0.064, 0.001, first=2 * SECONDS).measure(10_000) == 1024


def test_the_request_decides_on_a_cpu_and_where_attacks_draw_by_batch() -> None:
    request = AuditRequest(protocol="quick", batch_size=7, measure_batch=True)
    images = torch.rand(4, 1, 6, 6)
    assert batch_size_of(nn.Flatten(), images, request) == 7
    on_gpu = images.as_subclass(_OnGpu)
    assert batch_size_of(nn.Flatten(), on_gpu, replace(request, protocol="standard")) == 7
    assert batch_size_of(nn.Flatten(), on_gpu, replace(request, measure_batch=False)) == 7


class _OnGpu(torch.Tensor):
    """A tensor that says that it is on a GPU."""

    is_cuda = True


class _Precision(nn.Module):
    """Keeps the precision of float32 products during its passes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.found |= {torch.backends.cudnn.conv.fp32_precision, torch.backends.cuda.matmul.fp32_precision}
        return x.flatten(1)


def test_it_is_measured_with_the_float32_products_of_the_attacks() -> None:
    model = _Precision()
    fastest_batch_size(model, torch.rand(2, 1, 6, 6))
    assert model.found == {"ieee"}


def test_a_model_is_measured_and_left_as_it_was() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 4), nn.Dropout()).train()
    images, state = torch.rand(40, 1, 6, 6), torch.get_rng_state()
    assert 1 <= fastest_batch_size(model, images) <= 40
    assert model.training
    assert model[1].weight.requires_grad
    assert torch.equal(state, torch.get_rng_state())
