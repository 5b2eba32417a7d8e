"""Steps that pass or fail: the same results on CPU and GPU, memory that runs out and is given back, mixed precision."""

import dataclasses
import gc
import os
import subprocess
import sys
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from auditor.attacks import PROTOCOLS, Protocol, RobustnessResult, evaluate_robustness
from auditor.attacks.gradient import cross_entropy, input_gradient
from auditor.attacks.norms import LINF
from auditor.attacks.protocols import in_mixed_precision
from auditor.linear import class_correlation, implicit_weight
from auditor.torch_state import exact_products
from benchmarks.gpu.card import product_rates, seconds_of, synchronize
from benchmarks.gpu.networks import demo, demo_images, residual
from benchmarks.gpu.runner import Finding, Run
from benchmarks.side_by_side import ROOT

EPS = 0.1
VERDICTS, TEMPLATES = 0.01, 1e-4
"""The largest share of verdicts, and the largest difference of W by its largest entry, that may differ."""
GIB = 2**30
TESTS = ("tests/devices", "tests/workers/test_devices.py", "tests/audit/test_batch_size.py")


def card(run: Run) -> Iterator[Finding]:
    """The name and memory of the device, and its rates in matrix products."""
    if run.device.startswith("cuda"):
        properties = torch.cuda.get_device_properties(run.device)
        yield Finding(
            f"{properties.name}, {properties.total_memory / GIB:.0f} GiB, compute capability {properties.major}."
            f"{properties.minor}, {properties.multi_processor_count} multiprocessors, CUDA {torch.version.cuda}, "
            f"{os.cpu_count()} CPU cores",
            values={"card": properties.name},
        )
    rates = product_rates(run.device, 256 if run.small else 8192)
    words = ", ".join(f"{kind} {rate / 1e12:.3g} TFLOP/s" for kind, rate in rates.items())
    yield Finding(f"matrix products: {words}", values={"rates": rates})


def device_tests(run: Run) -> Iterator[Finding]:
    """The tests of what touches a device, by pytest, on this device."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "ignore", "--color=no", "-rf"]
    command += ["--device", run.device, *TESTS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    for line in lines:
        if line.startswith(("FAILED", "ERROR")):
            yield Finding(line, passed=False)
    last = lines[-1] if lines else (done.stderr.strip() or "pytest printed nothing").splitlines()[-1]
    yield Finding(last.strip("= "), passed=done.returncode == 0, values={"test_output": "\n".join(lines[-200:])})


def agreement(run: Run) -> Iterator[Finding]:
    """Verdicts of ``quick`` and ``strong``, W and C, on the CPU and on the device."""
    cases = [("at-eps0.10", "quick", 1000), ("trades-eps0.05", "quick", 1000), ("at-eps0.05", "strong", 128)]
    for name, protocol, count in [("standard", "quick", 16)] if run.small else cases:
        there, here = (_evaluate(name, protocol, count, device) for device in ("cpu", run.device))
        differing = float((there.survived != here.survived).double().mean())
        yield Finding(
            f"demo:{name}, {protocol}, {count} images: {differing:.2%} of the verdicts differ from the CPU's; robust "
            f"{there.robust_accuracy:.1%} and {here.robust_accuracy:.1%}; flags {here.flags or 'none'}",
            passed=differing <= VERDICTS and there.flags == here.flags,
        )
    for name in ("at-eps0.10", "plain-at-eps0.10"):
        yield _compare_templates(f"demo:{name}", demo(name, run.device), (1, 28, 28), run)
    if not run.small:
        yield _compare_templates("ResNet-18, 1,000 classes, 64x64", *_resnet18(run))


def _resnet18(run: Run) -> tuple[nn.Module, tuple[int, int, int], Run]:
    from torchvision.models import resnet18

    torch.manual_seed(0)
    return resnet18().eval().requires_grad_(False).to(run.device), (3, 64, 64), run


def _evaluate(name: str, protocol: str, count: int, device: str) -> RobustnessResult:
    images, labels = demo_images(count, device)
    return evaluate_robustness(demo(name, device), images, labels, norm="Linf", eps=EPS, protocol=protocol)


def _compare_templates(name: str, network: nn.Module, size: tuple[int, int, int], run: Run) -> Finding:
    here, correlation = implicit_weight(network, size).cpu().double(), class_correlation(network, size)
    network.cpu()
    there, expected = implicit_weight(network, size).double(), class_correlation(network, size)
    network.to(run.device)
    difference = float((here - there).abs().max() / there.abs().max())
    apart = float((correlation - expected).abs().max())
    text = f"{name}: W differs from the CPU's by {difference:.1e} of its largest entry, C by {apart:.1e}"
    return Finding(text, passed=difference <= TEMPLATES and apart <= TEMPLATES)


class OfLittleMemory(nn.Module):
    """The network as on a device that holds so many images."""

    def __init__(self, network: nn.Module, most: int) -> None:
        super().__init__()
        self.network, self.most = network, most

    def forward(self, images: Tensor) -> Tensor:
        if len(images) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory, for a test")
        logits: Tensor = self.network(images)
        return logits


def memory(run: Run) -> Iterator[Finding]:
    """A batch that does not fit is halved until it does, with the same verdicts; afterwards all memory is free."""
    name, network, size = residual(run)
    count = 8 if run.small else 256
    images = torch.rand(count, *size, generator=torch.Generator().manual_seed(0)).to(run.device)
    with torch.no_grad(), exact_products():
        labels = torch.cat([network(part).argmax(1) for part in images.split(32)])
    with exact_products():  # the first backward pass starts a thread that keeps handles of libraries
        input_gradient(network, images[:2], cross_entropy(labels[:2]))
    cuda, before = run.device.startswith("cuda"), _allocated(run)

    def quick(model: nn.Module, batch: int) -> RobustnessResult:
        return evaluate_robustness(model, images, labels, norm="Linf", eps=1 / 255, protocol="quick", batch_size=batch)

    expected = quick(network, 2 if run.small else 16)
    torch.cuda.empty_cache()
    if cuda:
        limit = before + 3 * GIB
        torch.cuda.set_per_process_memory_fraction(limit / torch.cuda.get_device_properties(run.device).total_memory)
        found = quick(network, count)
        torch.cuda.set_per_process_memory_fraction(1.0)
    else:
        found = quick(OfLittleMemory(network, 2), count)
    halvings = [note for note in found.notes if note.startswith("out of memory")]
    differing = float((found.survived != expected.survived).double().mean())
    yield Finding(
        f"{name}, quick, with little memory: batches of {count} became {found.batch_size} ({len(halvings)} halvings); "
        f"{differing:.2%} of the verdicts differ from those of small batches",
        passed=bool(halvings) and found.batch_size < count and differing <= VERDICTS,
    )
    del found, expected
    left = _allocated(run) - before
    yield Finding(f"after the attacks {left / 2**20:.1f} MiB more are allocated than before", passed=left <= 2**20)


def _allocated(run: Run) -> int:
    """Bytes of tensors on the device. Not those of cuBLAS: torch keeps a workspace for each thread with products."""
    if not run.device.startswith("cuda"):
        return 0
    synchronize(run.device)
    gc.collect()
    if hasattr(torch._C, "_cuda_clearCublasWorkspaces"):  # as torch's own check for leaks does
        torch._C._cuda_clearCublasWorkspaces()
    return torch.cuda.memory_allocated(run.device)


def mixed_precision(run: Run) -> Iterator[Finding]:
    """The search in float32 and in mixed precision; float32 classifies each adversarial image once more."""
    name, count = ("standard", 16) if run.small else ("at-eps0.10", 500)
    network, (images, labels) = demo(name, run.device), demo_images(count, run.device)
    steps = PROTOCOLS["strong"].attacks
    search = Protocol("search", None, steps[:1] if run.small else steps[:3], "")
    if run.small:
        short = {**steps[2].parameters, "iterations": 4, "explore_iterations": 2, "rounds": [[0.05, 1]]}
        search = dataclasses.replace(search, attacks=(dataclasses.replace(steps[2], parameters=short),))
    results, seconds = {}, {}
    for kind, protocol in {"float32": search, "mixed": in_mixed_precision(search)}.items():

        def evaluate(protocol: Protocol = protocol, kind: str = kind) -> None:
            results[kind] = evaluate_robustness(
                network, images, labels, norm="Linf", eps=EPS, protocol=protocol, keep=True
            )

        seconds[kind] = seconds_of(evaluate, run.device)
    exact, mixed = results["float32"], results["mixed"]
    equal = float((exact.survived == mixed.survived).double().mean())
    yield Finding(
        f"demo:{name}, search on {count} images: robust {exact.robust_accuracy:.1%} in float32 "
        f"({seconds['float32']:.1f} s), {mixed.robust_accuracy:.1%} in mixed precision "
        f"({seconds['mixed']:.1f} s), verdicts equal on {equal:.1%}",
        passed=mixed.robust_accuracy <= exact.robust_accuracy + 0.01,
        values={"mixed_seconds": seconds},
    )
    broken = mixed.adversarials
    assert broken is not None
    points, clean = torch.from_numpy(broken.images).to(run.device), images[torch.from_numpy(broken.indices)]
    truth = torch.from_numpy(broken.labels).to(run.device)
    with torch.no_grad(), exact_products():
        wrong = network(points).argmax(1) != truth if len(points) else truth.bool()
    inside = LINF.within_budget(points, clean, EPS)
    yield Finding(
        f"of {len(points)} successes in mixed precision, float32 confirms {int((wrong & inside).sum())}",
        passed=bool((wrong & inside).all()) and len(points) == int((~mixed.survived & mixed.correct).sum()),
    )
