"""Outputs that squash logits: a forward pass finds the logits before them, and attacks run on these logits.

A sigmoid, a clamp or a temperature at the end of a network decides as its logits do, and takes gradient from the
losses of the attacks: cross-entropy is a weaker loss on logits that are too small or too large. The attacks therefore
run on the earliest tensor of the pass that orders the classes of every image as the outputs do. The outputs decide what
counts as broken.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from auditor.compute.batches import map_batches
from auditor.errors import AuditorError

PROBES = 64
NONLINEAR = 0.05
"""Outputs are squashed if the best multiple of the logits, shifted for each image, differs from them by more."""
EXACT = 1e-5
USUAL_SPREAD = 3.0
"""A trained network's spread; outputs are rescaled to it if theirs is too small or too large for cross-entropy."""
SMALL, LARGE = 0.5, 50.0
GATHERED, NEAR = 0.05, 0.01
"""Outputs gather at an end if more than this share of a class's outputs is this near to it, as a share of its range."""
MIN_ORDERED = 20
"""The outputs must order at least this many pairs of classes, so that no tensor orders them alike by chance."""


@dataclass(frozen=True)
class Logits:
    """A tensor of the forward pass that orders the classes of every probed image as the outputs do.

    Attributes:
        position: its number among the pass's tensors of N times K values.
        operation: the name of the operation that returned it.
        classes: K.
        nonlinearity: the outputs' relative distance from a multiple of it; 0 for a temperature or log-softmax.
        spread: the median over images of its standard deviation over classes.
        outputs_spread: the same of the outputs, for the same images.
        squashed: it is what is squashed, and the outputs are not, as probabilities before a logarithm are.

    The first three are of the given images alone, not of the mixtures that fill them up.
    """

    position: int
    operation: str
    classes: int
    nonlinearity: float
    spread: float
    outputs_spread: float
    squashed: bool


class Unsquashed(nn.Module):
    """A model's logits from before its outputs were squashed, times a factor, ``(N, K)``.

    If rounding or saturation makes the outputs decide for another class, the logit of that class is raised to the top,
    so that the largest logit is always the model's own decision.
    """

    def __init__(self, model: nn.Module, logits: Logits | None, factor: float = 1.0) -> None:
        super().__init__()
        self.model, self.logits, self.factor = model, logits, factor

    @property
    def is_nonlinear(self) -> bool:
        """Whether the outputs are more than a multiple of the attacked logits."""
        return self.logits is not None and self.logits.nonlinearity > EXACT

    def forward(self, images: Tensor) -> Tensor:
        outputs, logits = self._run(images)
        logits = logits * self.factor
        decided, lead = outputs.argmax(1, keepdim=True), logits.detach()
        lift = lead.amax(1, keepdim=True) - lead.gather(1, decided) + 1e-5 * lead.abs().amax(1, keepdim=True)
        lift = torch.where(lead.argmax(1, keepdim=True) == decided, 0.0, lift)
        return logits + torch.zeros_like(lead).scatter(1, decided, lift)

    def _run(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs and logits; the outputs twice if the pass runs other operations than the probed pass did."""
        if self.logits is None:
            outputs: Tensor = self.model(images)
            return outputs, outputs
        with torch.enable_grad():  # the recorder tells what depends on the images by its gradient
            tracked = images if images.requires_grad else images.detach().clone().requires_grad_()
            outputs, records = record(self.model, tracked.clone(), self.logits.classes, only=self.logits.position)
        name, logits = records[0] if records else ("", outputs)
        if name != self.logits.operation:
            logits = outputs
        logits = logits.to(outputs.dtype)
        return outputs.detach(), logits if torch.is_grad_enabled() else logits.detach()


def record(
    model: nn.Module, images: Tensor, classes: int, only: int | None = None
) -> tuple[Tensor, list[tuple[str, Tensor]]]:
    """Outputs ``(N, K)``, and name and values ``(N, K)`` of each operation's result that has N times K values.

    All of these results, or only number ``only``; with gradients, copied before any operation changes them in place.
    """
    recorder = _Recorder((len(images), classes), only)
    with recorder:
        outputs: Tensor = model(images)
    return outputs, recorder.records


class _Recorder(TorchFunctionMode):
    """Records tensors that depend on the input and have one value per image and class."""

    def __init__(self, shape: tuple[int, int], only: int | None) -> None:
        super().__init__()
        self.shape, self.only, self.number = shape, only, -1
        self.records: list[tuple[str, Tensor]] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in pytree.tree_leaves(result):
            if not (isinstance(tensor, Tensor) and tensor.requires_grad and tensor.ndim > 1):
                continue
            if (len(tensor), tensor.numel() // max(len(tensor), 1)) != self.shape:
                continue
            self.number += 1
            if self.only in (None, self.number):
                self.records.append((getattr(func, "__name__", repr(func)), tensor.flatten(1).clone()))
        return result


def find_logits(model: nn.Module, images: Tensor, classes: int, batch_size: int = PROBES) -> Logits | None:
    """The earliest logits before a model's outputs, from one pass over the first images; None if none are found.

    Too few images to order enough classes are filled up with mixtures of them and noise. Neither their number nor the
    batch size decides which tensor is found. What lies between it and the outputs is measured on the given images
    alone, because an operation may do more to noise than to any image. Random generators keep their state. A scripted
    model hides its operations, so none are found.
    """
    devices = [images.device] if images.device.type == "cuda" else []
    probes = images[:PROBES].detach()
    for chosen in (probes, _fill_up(probes)) if len(probes) < PROBES else (probes,):
        try:
            with torch.random.fork_rng(devices), torch.enable_grad():
                found = _find_among(*_record_batches(model, chosen, classes, batch_size), len(probes))
        except (AuditorError, RuntimeError, TypeError):  # the model does not run under a function mode
            return None
        if found is not None:
            return found
    return None


def _record_batches(
    model: nn.Module, images: Tensor, classes: int, batch_size: int
) -> tuple[Tensor, list[tuple[str, Tensor]]]:
    """:func:`record` in batches, joined; no records if not all batches run the same operations."""
    passes = map_batches(
        lambda batch: record(model, batch.clone().requires_grad_().clone(), classes), images, batch_size
    )
    names = [[name for name, _ in records] for _, records in passes]
    outputs = torch.cat([part.detach() for part, _ in passes])
    if any(other != names[0] for other in names):
        return outputs, []
    tensors = [[tensor.detach() for _, tensor in records] for _, records in passes]
    joined = [torch.cat(parts) for parts in zip(*tensors, strict=True)]
    return outputs, list(zip(names[0], joined, strict=True))


def _find_among(outputs: Tensor, records: list[tuple[str, Tensor]], measured: int) -> Logits | None:
    """The first tensor that orders all images as the outputs ``(N, K)`` do, measured on the first images."""
    outputs = outputs.double()
    for number, (name, tensor) in enumerate(records):
        logits = tensor.double()
        if orders_alike(logits, outputs):
            squashed = gathers_low(logits) and not gathers_low(outputs)
            logits, own = logits[:measured], outputs[:measured]
            size = spread(logits), spread(own)
            return Logits(number, name, own.shape[1], nonlinearity(logits, own), *size, squashed)
    return None


def _fill_up(images: Tensor) -> Tensor:
    """The images, and mixtures of them and noise: ``PROBES`` in all."""
    count = PROBES - len(images)
    noise = torch.rand((count, *images.shape[1:]), generator=torch.Generator().manual_seed(0)).to(images)
    return torch.cat([images, (images[torch.arange(count) % len(images)] + noise) / 2])


def choose_target(model: nn.Module, found: Logits | None, outputs: Tensor, *, without_gradients: bool) -> nn.Module:
    """What to attack: the model, or its logits before an operation squashes or shrinks them.

    Args:
        found: the logits before the outputs.
        outputs: on clean images, ``(N, K)``.
        without_gradients: whether the outputs pass no gradient to many images.
    """
    size = spread(outputs)
    if found is not None:
        squashed = found.nonlinearity > NONLINEAR or (
            without_gradients and (found.nonlinearity > EXACT or 2 * found.spread < size)
        )
        scaled = found.nonlinearity <= EXACT and size <= LARGE and is_nearer_usual(found.spread, found.outputs_spread)
        if squashed or scaled or (size < SMALL <= found.spread <= LARGE):
            return Unsquashed(model, found, 1.0 if SMALL <= found.spread <= LARGE else _factor(found.spread))
    return Unsquashed(model, None, _factor(size)) if size < SMALL and _factor(size) != 1 else model


def is_nearer_usual(size: float, other: float) -> bool:
    """Whether this spread is nearer to the usual one than the other is, as a ratio and by 1 % or more."""
    return size > 0 and abs(math.log(size / USUAL_SPREAD)) + 0.01 < abs(math.log(max(other, 1e-300) / USUAL_SPREAD))


def orders_alike(logits: Tensor, outputs: Tensor) -> bool:
    """Whether a class with a larger logit never has a smaller output, ``(N, K)`` float64 both, up to rounding."""
    if not torch.isfinite(logits).all():
        return False
    rising = outputs.gather(1, logits.argsort(1)).diff(dim=1)
    rounding = EXACT * (outputs.amax(1, keepdim=True) - outputs.amin(1, keepdim=True))
    return bool((rising >= -rounding).all()) and int((rising > rounding).sum()) >= MIN_ORDERED


def nonlinearity(logits: Tensor, outputs: Tensor) -> float:
    """The outputs' relative distance from one multiple of the logits, shifted for each image, 0 to 1.

    Both are ``(N, K)`` float64.
    """
    ours, theirs = (values - values.mean(1, keepdim=True) for values in (logits, outputs))
    ours, theirs = (values / values.abs().max().clamp_min(1e-300) for values in (ours, theirs))
    factor = (ours * theirs).sum() / ours.pow(2).sum().clamp_min(1e-300)
    return float((theirs - factor * ours).norm() / theirs.norm().clamp_min(1e-300))


def gathers_low(outputs: Tensor) -> bool:
    """Whether in most classes many outputs ``(N, K)`` are near the smallest, as after a sigmoid or a softmax.

    Logits have a tail there. Classes whose output is one of two values do not count.
    """
    low, high = outputs.amin(0), outputs.amax(0)
    near = (outputs <= low + NEAR * (high - low)).sum(0) - 1
    varying = near[(outputs.sort(0).values.diff(dim=0) > 0).sum(0) > 1]
    return bool(len(varying)) and float(varying.double().median()) > GATHERED * len(outputs)


def spread(logits: Tensor) -> float:
    """The median over images of the standard deviation over classes, in float64."""
    return float(logits.double().std(1).median())


def rescale_outputs(model: nn.Module, outputs: Tensor) -> Unsquashed:
    """The model, with its outputs times the factor that gives them the usual spread."""
    return Unsquashed(model, None, _factor(spread(outputs)))


def _factor(size: float) -> float:
    """The factor that gives logits of this spread the usual one; 1 if float32 cannot represent that factor."""
    factor = USUAL_SPREAD / size if size > 0 else 1.0
    return factor if 1e-37 < factor < 1e37 else 1.0
