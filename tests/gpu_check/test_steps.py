"""The steps of the GPU check at a small size on the CPU, and what they say of a device that computes otherwise."""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.autograd import DeviceType

from benchmarks.gpu import card, checks, workers
from benchmarks.gpu.runner import Finding, Run
from benchmarks.gpu.steps import STEPS

RATES = {"rates": {"float32": 1e12, "bfloat16": 2e12}}


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in STEPS if name != "workers"])
def test_each_step_runs_on_a_cpu(name: str) -> None:
    found = list(STEPS[name].work(Run("cpu", small=True, known=RATES)))
    assert found
    assert [finding.text for finding in found if finding.passed is False] == []


@pytest.mark.long
def test_two_workers_share_a_device() -> None:
    found = list(STEPS["workers"].work(Run("cpu", small=True)))
    assert [finding.passed for finding in found] == [True, True, True]
    assert found[0].text.startswith("3 audits by 2 workers")


def _results(survived: list[bool]) -> SimpleNamespace:
    return SimpleNamespace(survived=torch.tensor(survived), robust_accuracy=0.5, flags=[])


def test_other_verdicts_than_the_cpu_s_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    sides = {"cpu": [True] * 50 + [False] * 50, "fake": [True] * 48 + [False] * 52}
    monkeypatch.setattr(checks, "_evaluate", lambda *arguments: _results(sides[arguments[-1]]))
    monkeypatch.setattr(checks, "_compare_templates", lambda *_: Finding("", passed=True))
    monkeypatch.setattr(checks, "demo", lambda *_: None)
    first = next(checks.agreement(Run("fake", small=True)))
    assert first.passed is False
    assert "2.00% of the verdicts differ" in first.text


@pytest.mark.parametrize(("difference", "passed"), [(0.9e-4, True), (1.1e-4, False)])
def test_another_w_than_the_cpu_s_fails(difference: float, passed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = iter([torch.tensor([[[[2.0, 0.0]]]]) + 2 * difference, torch.tensor([[[[2.0, 0.0]]]])])
    monkeypatch.setattr(checks, "implicit_weight", lambda *_: next(weights))
    monkeypatch.setattr(checks, "class_correlation", lambda *_: torch.eye(2))
    found = checks._compare_templates("net", torch.nn.Flatten(), (1, 1, 2), Run("cpu"))
    assert found.passed is passed


@pytest.mark.long
def test_memory_that_is_not_given_back_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    amounts = iter([0, 5 * 2**20])
    monkeypatch.setattr(checks, "_allocated", lambda _: next(amounts))
    found = list(checks.memory(Run("cpu", small=True)))
    assert [finding.passed for finding in found] == [True, False]
    assert "5.0 MiB more" in found[1].text


class _Cycle:
    """Holds itself, so that only the garbage collector ends it."""

    def __init__(self, held: list[int]) -> None:
        self.held, self.itself = held, self

    def __del__(self) -> None:
        self.held.clear()


def test_what_libraries_and_cycles_hold_is_no_memory_that_was_not_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    workspaces, garbage = [8 * 2**20, 32 * 2**20], [2**30]  # one workspace for each thread that has made products
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: None)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 512 + sum(workspaces) + sum(garbage))
    monkeypatch.setattr(torch._C, "_cuda_clearCublasWorkspaces", workspaces.clear, raising=False)
    _Cycle(garbage)
    assert checks._allocated(Run("cuda")) == 512


def test_the_first_backward_pass_is_before_the_first_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    gradients: list[bool] = []

    class Watched(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            if images.requires_grad:
                images.register_hook(lambda _: gradients.append(True))
            return images.flatten(1)[:, :3]

    def read(_: Run) -> int:
        raise RuntimeError("enough")

    monkeypatch.setattr(checks, "residual", lambda _: ("net", Watched(), (1, 2, 2)))
    monkeypatch.setattr(checks, "_allocated", read)
    with pytest.raises(RuntimeError, match="enough"):
        next(checks.memory(Run("cpu", small=True)))
    assert gradients


@pytest.mark.long
def test_mixed_precision_is_confirmed_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    found: set[str] = set()

    class Watched(torch.nn.Module):
        def __init__(self, network: torch.nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            found.add(torch.backends.cudnn.conv.fp32_precision)
            return self.network(images)

    demo = checks.demo
    monkeypatch.setattr(checks, "demo", lambda *given: Watched(demo(*given)))
    list(checks.mixed_precision(Run("cpu", small=True)))
    assert found == {"ieee"}


@pytest.mark.parametrize(
    ("visible", "device", "used"),
    [
        (None, "cuda", 100),
        (None, "cuda:1", 200),
        ("1", "cuda", 200),
        ("1,0", "cuda:1", 100),
        ("GPU-bb22-0", "cuda", 200),
        ("GPU-bb", "cuda", 200),  # the driver takes the beginning of a UUID, too
        ("MIG-7", "cuda", None),
        ("1", "cpu", None),
    ],
)
def test_the_gpu_of_the_workers_is_the_one_whose_memory_is_read(
    visible: str | None, device: str, used: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(
        '#!/bin/sh\ncase "$1" in *uuid*) echo 0, GPU-aa11-0, 100; echo 1, GPU-bb22-0, 200;; *) echo 0; echo 1;; esac\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    gpu = workers.first_gpu(Run(device))
    expected = (visible or "0,1").split(",")[int(device.partition(":")[2] or 0)]
    assert gpu == (None if device == "cpu" else expected)
    assert workers.memory_used(gpu) == (None if used is None else used * 2**20)


@dataclass
class Row:
    device_type: Any
    self_device_time_total: float
    is_user_annotation: bool = False


def test_only_kernels_count_as_busy() -> None:
    rows = [
        Row(DeviceType.CUDA, 300.0),
        Row(DeviceType.CUDA, 200.0),
        Row(DeviceType.CPU, 500.0),  # the same kernels once more, under the operation that started them
        Row(DeviceType.CUDA, 900.0, is_user_annotation=True),
    ]
    assert card.busy_microseconds(rows) == 500.0


def test_operations_are_those_of_forward_and_backward_passes() -> None:
    left, right = torch.rand(3, 4, requires_grad=True), torch.rand(4, 5)
    assert card.operations_of(lambda: left @ right) == 2 * 3 * 4 * 5
    assert card.operations_of(lambda: torch.autograd.grad((left @ right).sum(), left)) == 2 * 2 * 3 * 4 * 5


def test_what_cannot_be_profiled_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> float:
        raise RuntimeError("no profiler")

    monkeypatch.setattr(card, "busy_seconds", fails)
    words, values = card.use_of(lambda: torch.rand(8, 8) @ torch.rand(8, 8), "cpu", {"float32": 1e12})
    assert "not profiled (RuntimeError)" in words
    assert values["operations"] == 1024.0
    assert values["share"] == pytest.approx(1024.0 / values["seconds"] / 1e12)


def test_what_is_profiled_may_be_a_part_of_what_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    left, right = torch.rand(8, 8), torch.rand(8, 8)
    calls: list[str] = []
    monkeypatch.setattr(card, "seconds_of", lambda work, _: (work(), 2.0)[1])
    monkeypatch.setattr(card, "busy_seconds", lambda work, _: (work(), 0.1)[1])

    def work() -> None:
        calls.append("all")

    def part() -> torch.Tensor:
        calls.append("part")
        return left @ right

    words, values = card.use_of(work, "cpu", {"float32": 1e12}, part=part, parts=10)
    assert values["operations"] == 10 * 1024
    assert values["busy"] == pytest.approx(10 * 0.1 / 2.0)
    assert "GPU busy 50% of the time" in words
    assert calls == ["all", "all", "part", "part", "part"]  # to warm up, timed; to warm up, counted, profiled


@pytest.mark.long
def test_templates_and_correlations_have_a_share_of_the_rate() -> None:
    values = {}
    for finding in STEPS["vit"].work(Run("cpu", small=True, known=RATES)):
        values |= finding.values
    assert {name[0] for name in values} == {"W", "C"}
    assert all(found["share"] > 0 for found in values.values())
