"""Outputs that squash logits: found in a forward pass, and attacked where the logits before them can be had.

A sigmoid, a clamp or a tiny temperature at the end of a network decides as its logits do, and starves the attacks'
losses of gradient. What is attacked here is the earliest tensor of the pass that orders the classes of every image as
the outputs do. What counts as broken is for the outputs to say.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from auditor.errors import AuditorError

PROBED = 64
BENT = 0.05
"""Outputs are squashed where no multiple of the logits, shifted for each image, is nearer to them than this share."""
EXACT = 1e-5
USUAL = 3.0
"""The spread that outputs get where theirs is too small or too large for cross-entropy: that of a trained network."""
SMALL, LARGE = 0.5, 50.0
ORDERED = 20
"""Pairs of classes that the outputs must tell apart, so that no tensor orders them alike by chance."""


@dataclass(frozen=True)
class Logits:
    """A tensor of the forward pass that orders the classes of every probed image as the outputs do.

    Attributes:
        place: its number among the pass's tensors of N times K values; ``operation``: what made it; ``classes``: K.
        bent: how far the outputs are from a multiple of it, relative: 0 for a temperature or log-softmax.
        spread: the median over images of its standard deviation over classes.
    """

    place: int
    operation: str
    classes: int
    bent: float
    spread: float


class Unsquashed(nn.Module):
    """A model's logits from before its outputs were squashed, times a factor, ``(N, K)``.

    Where rounding or saturation lets the outputs decide for another class, that class is raised to the top, so that
    the largest logit is always the model's own decision.
    """

    def __init__(self, model: nn.Module, logits: Logits | None, factor: float = 1.0) -> None:
        super().__init__()
        self.model, self.logits, self.factor = model, logits, factor

    @property
    def bends(self) -> bool:
        """Whether the outputs are something else than a multiple of what is attacked."""
        return self.logits is not None and self.logits.bent > EXACT

    def forward(self, images: Tensor) -> Tensor:
        outputs, logits = self._run(images)
        logits = logits * self.factor
        decided, lead = outputs.argmax(1, keepdim=True), logits.detach()
        lift = lead.amax(1, keepdim=True) - lead.gather(1, decided) + 1e-5 * lead.abs().amax(1, keepdim=True)
        lift = torch.where(lead.argmax(1, keepdim=True) == decided, 0.0, lift)
        return logits + torch.zeros_like(lead).scatter(1, decided, lift)

    def _run(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs and logits; the outputs twice where the pass goes another way than the one that was probed."""
        if self.logits is None:
            outputs: Tensor = self.model(images)
            return outputs, outputs
        with torch.enable_grad():  # by gradients the recorder knows what depends on the images
            followed = images if images.requires_grad else images.detach().clone().requires_grad_()
            outputs, kept = record(self.model, followed.clone(), self.logits.classes, only=self.logits.place)
        name, logits = kept[0] if kept else ("", outputs)
        if name != self.logits.operation:
            logits = outputs
        logits = logits.to(outputs.dtype)
        return outputs.detach(), logits if torch.is_grad_enabled() else logits.detach()


def record(
    model: nn.Module, images: Tensor, classes: int, only: int | None = None
) -> tuple[Tensor, list[tuple[str, Tensor]]]:
    """Outputs ``(N, K)``, and the name and values ``(N, K)`` of each tensor of as many that an operation gave.

    Of all those, or of number ``only``; with gradients, and as they were before anything worked on them in place.
    """
    recorder = _Recorder((len(images), classes), only)
    with recorder:
        outputs: Tensor = model(images)
    return outputs, recorder.kept


class _Recorder(TorchFunctionMode):
    """Keeps what depends on the input and has as many values an image as the outputs have classes."""

    def __init__(self, shape: tuple[int, int], only: int | None) -> None:
        super().__init__()
        self.shape, self.only, self.number = shape, only, -1
        self.kept: list[tuple[str, Tensor]] = []

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
                self.kept.append((getattr(func, "__name__", repr(func)), tensor.flatten(1).clone()))
        return result


def find_logits(model: nn.Module, images: Tensor, classes: int) -> Logits | None:
    """The earliest logits before a model's outputs, from one pass over these images; None where there are none.

    Random generators are left as they were. A model whose operations are hidden, as in a scripted one, has none.
    """
    devices = [images.device] if images.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices), torch.enable_grad():
            outputs, kept = record(model, images.detach().clone().requires_grad_().clone(), classes)
    except (AuditorError, RuntimeError, TypeError):  # does not run under a mode that watches it
        return None
    outputs = outputs.detach().double()
    for number, (name, tensor) in enumerate(kept):
        logits = tensor.detach().double()
        if orders_alike(logits, outputs):
            return Logits(number, name, classes, bent(logits, outputs), spread(logits))
    return None


def choose_target(model: nn.Module, found: Logits | None, outputs: Tensor, *, blind: bool) -> nn.Module:
    """What to attack: the model, or its logits from before what squashes or shrinks them.

    Args:
        found: the logits before the outputs.
        outputs: on clean images, ``(N, K)``.
        blind: whether the outputs pass no gradient to many images.
    """
    size = spread(outputs)
    if found is not None:
        squashed = found.bent > BENT or (blind and (found.bent > EXACT or 2 * found.spread < size))
        if squashed or (size < SMALL <= found.spread <= LARGE):
            return Unsquashed(model, found, 1.0 if SMALL <= found.spread <= LARGE else _factor(found.spread))
    return Unsquashed(model, None, _factor(size)) if size < SMALL and _factor(size) != 1 else model


def orders_alike(logits: Tensor, outputs: Tensor) -> bool:
    """Whether a class with a larger logit never has a smaller output, ``(N, K)`` float64 both, up to rounding."""
    if not torch.isfinite(logits).all():
        return False
    rising = outputs.gather(1, logits.argsort(1)).diff(dim=1)
    rounding = EXACT * (outputs.amax(1, keepdim=True) - outputs.amin(1, keepdim=True))
    return bool((rising >= -rounding).all()) and int((rising > rounding).sum()) >= ORDERED


def bent(logits: Tensor, outputs: Tensor) -> float:
    """How far outputs are from one multiple of the logits, shifted for each image; 0 to 1, float64 ``(N, K)`` both."""
    ours, theirs = (values - values.mean(1, keepdim=True) for values in (logits, outputs))
    ours, theirs = (values / values.abs().max().clamp_min(1e-300) for values in (ours, theirs))
    factor = (ours * theirs).sum() / ours.pow(2).sum().clamp_min(1e-300)
    return float((theirs - factor * ours).norm() / theirs.norm().clamp_min(1e-300))


def spread(logits: Tensor) -> float:
    """The median over images of the standard deviation over classes, in float64."""
    return float(logits.double().std(1).median())


def usual(model: nn.Module, outputs: Tensor) -> Unsquashed:
    """The model with outputs times what gives them the usual spread."""
    return Unsquashed(model, None, _factor(spread(outputs)))


def _factor(size: float) -> float:
    """What gives logits of this spread the usual one; 1 where that is no number that float32 holds."""
    factor = USUAL / size if size > 0 else 1.0
    return factor if 1e-37 < factor < 1e37 else 1.0
