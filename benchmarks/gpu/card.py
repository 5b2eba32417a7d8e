"""What a device can do, and how much of it a piece of work uses."""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from auditor.torch_state import exact_products

Work = Callable[[], object]


def synchronize(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def seconds_of(work: Work, device: str) -> float:
    """Seconds of one call, until the device has finished."""
    synchronize(device)
    began = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - began


def fastest(work: Work, device: str, repeats: int = 3) -> float:
    """The seconds of the fastest of some calls, after one to warm up."""
    work()
    return min(seconds_of(work, device) for _ in range(repeats))


def product_rates(device: str, side: int, times: int = 10) -> dict[str, float]:
    """Operations a second in products of square matrices: of float32, of its TF32 on a GPU, and of bfloat16."""
    left, right = (torch.randn(side, side, device=device) for _ in range(2))
    short = left.bfloat16(), right.bfloat16()
    operations = 2 * side**3 * times

    def rate(work: Work) -> float:
        return operations / fastest(lambda: [work() for _ in range(times)], device)

    rates = {}
    with exact_products():
        rates["float32"] = rate(lambda: left @ right)
        rates["bfloat16"] = rate(lambda: short[0] @ short[1])
    if device.startswith("cuda"):
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high")
        rates["tf32"] = rate(lambda: left @ right)
        torch.set_float32_matmul_precision(before)
    return rates


def operations_of(work: Work) -> int:
    """Multiplications and additions of convolutions, matrix products and attention, in all passes of one call."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def busy_seconds(work: Work, device: str) -> float:
    """The seconds of one call in which a kernel ran on the GPU, by torch's profiler; NaN on a CPU."""
    if not device.startswith("cuda"):
        return float("nan")
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as recorded:
        work()
        synchronize(device)
    return busy_microseconds(recorded.key_averages()) / 1e6


def busy_microseconds(rows: Any) -> float:
    """The time of all kernels and copies, of a profile's rows. Rows of the CPU repeat these, and annotations too."""
    return sum(
        row.self_device_time_total
        for row in rows
        if row.device_type == DeviceType.CUDA and not getattr(row, "is_user_annotation", False)
    )


def use_of(
    work: Work,
    device: str,
    rates: dict[str, float],
    kind: str = "float32",
    *,
    part: Work | None = None,
    parts: int = 1,
) -> tuple[str, dict[str, float]]:
    """Words and values: operations a second, their share of the device's products, and the share of time it was busy.

    ``work`` is timed without the profiler, which slows it down. Long work is ``parts`` times ``part``: only a part is
    counted and profiled, because a profile of a few hundred thousand kernels takes minutes to read. What cannot be
    measured is reported and raises nothing.
    """
    work()
    seconds = seconds_of(work, device)
    if part is None:
        part = work
    else:
        part()
    found: dict[str, float] = {"seconds": seconds}
    words = []
    try:
        found["operations"] = float(operations_of(part)) * parts
        rate = found["operations"] / seconds
        words.append(f"{rate / 1e12:.3f} TFLOP/s")
        if rates.get(kind):
            found["share"] = rate / rates[kind]
            words.append(f"{found['share']:.1%} of the rate of {kind} products")
    except Exception as error:
        words.append(f"operations not counted ({type(error).__name__})")
    try:
        busy = busy_seconds(part, device) * parts / seconds
        if busy == busy:
            found["busy"] = busy
            words.append(f"GPU busy {busy:.0%} of the time")
    except Exception as error:
        words.append(f"not profiled ({type(error).__name__})")
    return ", ".join(words), found
