"""Steps that measure: seconds of the measurements, and how much of the device's rate each uses."""

import contextlib
import copy
import dataclasses
import io
from collections.abc import Iterator

import torch
from pyautoattack import AutoAttack
from torch import Tensor, nn

from auditor.attacks import PROTOCOLS, Protocol, evaluate_robustness
from auditor.attacks.gradient import cross_entropy, input_gradient
from auditor.attacks.mixed_precision import MixedPrecision
from auditor.audit.batch_size import fastest_batch_size
from auditor.boost.training import Trainer
from auditor.compute.fastest_batch import SIZES
from auditor.linear import class_correlation, implicit_weight
from auditor.records.boosts import Recipe
from auditor.torch_state import exact_products
from benchmarks.gpu.card import fastest, seconds_of, use_of
from benchmarks.gpu.networks import Size, cifar_residual, demo, demo_images, residual, transformer
from benchmarks.gpu.runner import Finding, Run

EPS = 0.1
GROUPS = list("aabbcccddd")


def autoattack(run: Run) -> Iterator[Finding]:
    """AutoAttack-standard by auditor and by pyautoattack, on the same model, images, batch and seed."""
    name, count = ("standard", 16) if run.small else ("at-eps0.10", 500)
    network, (images, labels) = demo(name, run.device), demo_images(count, run.device)
    verdicts: dict[str, Tensor] = {}

    def ours() -> None:
        verdicts["ours"] = evaluate_robustness(
            network, images, labels, norm="Linf", eps=EPS, protocol="standard", batch_size=count
        ).survived

    def theirs() -> None:
        suite = AutoAttack(network, norm="Linf", eps=EPS, seed=0, version="standard", device=run.device)
        with contextlib.redirect_stdout(io.StringIO()), torch.random.fork_rng(), exact_products():
            found, _ = suite.run_standard_evaluation(images.clone(), labels.clone(), batch_size=count)
            with torch.no_grad():
                verdicts["theirs"] = (network(found).argmax(1) == labels).cpu()

    mine = seconds_of(ours, run.device)
    robust = float(verdicts["ours"].double().mean())
    yield Finding(
        f"AutoAttack-standard on demo:{name}, {count} images: {mine:.1f} s, robust {robust:.1%}",
        values={"autoattack_seconds": mine},
    )
    other = seconds_of(theirs, run.device)
    equal = float((verdicts["ours"] == verdicts["theirs"]).double().mean())
    yield Finding(
        f"pyautoattack: {other:.1f} s, robust {float(verdicts['theirs'].double().mean()):.1%}; {mine / other:.2f} of "
        f"its time; verdicts equal on {equal:.1%}",
        passed=equal >= 0.98,
        values={"pyautoattack_seconds": other},
    )
    part = images[: count // 4], labels[: count // 4]
    one = Protocol("apgd-ce", None, PROTOCOLS["standard"].attacks[3:4], "")
    words, values = use_of(
        lambda: evaluate_robustness(network, *part, norm="Linf", eps=EPS, protocol=one), run.device, _rates(run)
    )
    yield Finding(f"its apgd-ce on {len(part[0])} images: {words}", values={"autoattack_use": values})


def templates_of_residual(run: Run) -> Iterator[Finding]:
    """W and C of a residual network."""
    yield from _templates(run, *residual(run))


def templates_of_transformer(run: Run) -> Iterator[Finding]:
    """W and C of a vision transformer."""
    yield from _templates(run, *transformer(run))


def _templates(run: Run, name: str, network: nn.Module, size: Size) -> Iterator[Finding]:
    shape: list[tuple[int, ...]] = []

    def weight() -> None:
        shape.append(tuple(implicit_weight(network, size).shape))

    first = seconds_of(weight, run.device)
    yield Finding(f"W of {name}: {first:.2f} s the first time; {shape[0]}")
    words, values = use_of(weight, run.device, _rates(run))
    yield Finding(f"W of {name}: {values['seconds']:.2f} s, {words}", values={f"W {name}": values})
    words, values = use_of(lambda: class_correlation(network, size), run.device, _rates(run))
    yield Finding(f"C of {name}: {values['seconds']:.2f} s, {words}{_peak(run)}", values={f"C {name}": values})


def strong(run: Run) -> Iterator[Finding]:
    """Protocol ``strong``, on a demo model."""
    name, count = ("standard", 16) if run.small else ("at-eps0.10", 500)
    network, (images, labels) = demo(name, run.device), demo_images(count, run.device)

    def evaluate(few: int, protocol: str | Protocol) -> float:
        given = {"norm": "Linf", "eps": EPS, "protocol": protocol, "batch_size": count}
        return evaluate_robustness(network, images[:few], labels[:few], **given).robust_accuracy

    robust: list[float] = []
    seconds = seconds_of(lambda: robust.append(evaluate(count, "strong")), run.device)
    yield Finding(f"strong on demo:{name}, {count} images: {seconds:.1f} s, robust {robust[0]:.1%}")
    attack = PROTOCOLS["strong"].attacks[2]  # all rounds would be too many kernels for the profiler
    attack = dataclasses.replace(attack, parameters={**attack.parameters, "rounds": [[0.2, 1]]})
    search = Protocol("search", None, (attack,), "")
    words, values = use_of(lambda: evaluate(count // 4, search), run.device, _rates(run))
    yield Finding(f"its search with one round on {count // 4} images: {words}", values={"strong_use": values})


def precisions(run: Run) -> Iterator[Finding]:
    """Input gradients of a residual network in float32, in torch's default on the device, and in mixed precision."""
    name, network, size = residual(run)
    images = torch.rand(4 if run.small else 64, *size, device=run.device)
    loss = cross_entropy(torch.zeros(len(images), dtype=torch.int64, device=run.device))

    def rate(model: nn.Module) -> float:
        return len(images) / fastest(lambda: input_gradient(model, images, loss), run.device)

    default = rate(network)
    with exact_products():
        exact, mixed = rate(network), rate(MixedPrecision(network))
        words, values = use_of(lambda: input_gradient(network, images, loss), run.device, _rates(run))
        short = use_of(
            lambda: input_gradient(MixedPrecision(network), images, loss), run.device, _rates(run), "bfloat16"
        )
    yield Finding(
        f"input gradients of {name}, {len(images)} images a batch: {exact:.0f} images/s in float32, {default:.0f} with "
        f"torch's default, {mixed:.0f} in mixed precision",
        values={"gradients": {"float32": exact, "default": default, "mixed": mixed}},
    )
    yield Finding(f"in float32: {words}", values={"gradient_use": values})
    yield Finding(f"in mixed precision: {short[0]}", values={"mixed_use": short[1]})


def batch_sizes(run: Run) -> Iterator[Finding]:
    """The measured batch size, beside the images a second of every size."""
    count = 32 if run.small else 1000
    network, (images, labels) = demo("at-eps0.10", run.device), demo_images(count, run.device)
    chosen = fastest_batch_size(network, images)
    rates = {}
    with exact_products():
        for size in (size for size in (*SIZES, count) if size <= count):
            part, loss = images[:size], cross_entropy(labels[:size])
            rates[size] = size / fastest(lambda part=part, loss=loss: input_gradient(network, part, loss), run.device)
    words = ", ".join(f"{size}: {rate:.0f}" for size, rate in rates.items())
    best = max(rates.values())
    near = chosen in rates and rates[chosen] >= 0.7 * best
    yield Finding(
        f"gradients of demo:at-eps0.10, images/s by batch size: {words}; chosen {chosen}",
        passed=near if run.device.startswith("cuda") else None,
        values={"batch_rates": {str(size): rate for size, rate in rates.items()}, "batch_size": chosen},
    )


def boosting(run: Run) -> Iterator[Finding]:
    """Training steps a second: PGD-10 and the regularizer, in float32 with torch's default, and with ``amp``."""
    batch, steps = (8, 2) if run.small else (128, 20)
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(batch * steps, 3, 32, 32, generator=generator)
    labels = torch.randint(10, (len(images),), generator=generator)
    start = cifar_residual(run)
    for amp in (False, True):
        recipe = Recipe(
            method="at", eps=8 / 255, steps=10, step_size=2 / 255, epochs=100, batch_size=batch, max_lr=0.01, beta=0.1,
            ema=0.99, amp=amp,
        )  # fmt: skip
        trainer = Trainer(copy.deepcopy(start), images, labels, recipe, GROUPS)
        one = Trainer(copy.deepcopy(start), images[:batch], labels[:batch], recipe, GROUPS)  # an epoch of one step
        kind = "bfloat16" if amp else _default(run)
        words, values = use_of(trainer.epoch, run.device, _rates(run), kind, part=one.epoch, parts=steps)
        yield Finding(
            f"boosting ResNet-18, batches of {batch} 32x32 images, PGD-10, {'amp' if amp else 'without amp'}: "
            f"{steps / values['seconds']:.2f} steps/s; {words}",
            values={f"boosting {'amp' if amp else 'plain'}": {**values, "steps_per_second": steps / values["seconds"]}},
        )


def _default(run: Run) -> str:
    """The format of torch's default products: convolutions of float32 use TF32 on a GPU."""
    return "tf32" if run.device.startswith("cuda") else "float32"


def _rates(run: Run) -> dict[str, float]:
    """The rates that the first step has measured; empty if it failed."""
    rates: dict[str, float] = run.known.get("rates", {})
    return rates


def _peak(run: Run) -> str:
    if not run.device.startswith("cuda"):
        return ""
    return f", at most {torch.cuda.max_memory_allocated(run.device) / 2**30:.1f} GiB of GPU memory"
