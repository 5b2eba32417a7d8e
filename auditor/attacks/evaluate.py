"""Robust accuracy of a model on given images: the arguments checked, the cascade run, its state put back."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from auditor.attacks.cascade import Cascade, Progress
from auditor.attacks.gradient import frozen
from auditor.attacks.progress import SavedProgress
from auditor.attacks.protocols import Protocol, find_protocol
from auditor.attacks.result import RobustnessResult
from auditor.errors import InputError

ROUNDING = 1e-3
"""How far pixels may leave [0, 1]: a quarter of a level of 255."""


def evaluate_robustness(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    norm: str,
    eps: float,
    protocol: str | Protocol,
    batch_size: int = 256,
    seed: int = 0,
    indices: Sequence[int] | None = None,
    progress: Progress | None = None,
    keep: bool = False,
    saved: SavedProgress | None = None,
) -> RobustnessResult:
    """Robust accuracy: the share of samples that are classified correctly and that no attack breaks.

    The model is run in eval mode, and left in the mode and with the buffers it came with.

    Args:
        model: ``(N, C, H, W)`` in [0, 1] to logits ``(N, K)``; normalization belongs inside.
        images: ``(N, C, H, W)`` floating point in [0, 1], on the model's device; rounding beyond that is clipped.
        labels: ``(N,)`` int64 from 0 to K - 1.
        norm: ``Linf`` or ``L2``.
        eps: the radius of the norm ball, in units of the [0, 1] pixels, above 0.
        protocol: a name (``quick``, ``standard``, ``full``) or a protocol of one's own.
        batch_size: samples attacked at once. FGSM, PGD and CW do not depend on it; AutoAttack draws by batch.
        seed: of every random draw.
        indices: N numbers that identify the samples; noise is drawn by them. 0 to N - 1 by default.
        progress: called after each batch of each attack.
        keep: whether to hand back the adversarial images; they take as much memory as the images themselves.
            With it nothing is saved and nothing resumed: the images would be far too much.
        saved: where the attacks' progress is kept, at the end of each and every half minute; what is found there, of a
            run with the same arguments on the same machine, is gone on from, to the result of a run in one go.
            Randomness of the model's own is part of it where it comes from torch's global generators.

    Raises:
        InputError: an argument is not as described, or the model's output is not ``(N, K)`` and finite.
    """
    protocol = find_protocol(protocol) if isinstance(protocol, str) else protocol
    numbers = torch.arange(len(images)) if indices is None else torch.as_tensor(indices, dtype=torch.int64)
    _check(images, labels, numbers, norm, eps, batch_size, seed)
    images, clipped = _clip(images)
    devices = [images.device] if images.device.type == "cuda" else []
    with frozen(model), torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        silent = progress or _silent
        cascade = Cascade(model, images, labels, numbers, norm, eps, batch_size, seed, silent, keep, saved)
        cascade.notes += clipped
        cascade.look()
        cascade.resume()
        cascade.run(protocol.attacks)
        return cascade.result()


def _silent(attack: str, done: int, total: int) -> None:
    """Nobody wants to know."""


def _clip(images: Tensor) -> tuple[Tensor, list[str]]:
    """The images in [0, 1], and a note where rounding had led out of it."""
    if images.min() >= 0 and images.max() <= 1:
        return images, []
    return images.clamp(0, 1), [f"pixels clipped to [0, 1]: values from {_range(images)}"]


def _range(images: Tensor) -> str:
    return f"{images.min().item():.9g} to {images.max().item():.9g}"


def _advice(images: Tensor) -> str:
    """What to do about images that leave [0, 1]."""
    if images.min() < 0:
        return "normalize inside the model"
    return "divide by 255" if 128 <= images.max() <= 255 else "scale them to [0, 1]"


def _check(images: Tensor, labels: Tensor, numbers: Tensor, norm: str, eps: float, batch_size: int, seed: int) -> None:
    if images.ndim != 4 or not images.is_floating_point() or len(images) == 0:
        raise InputError(f"expected images (N, C, H, W), floating point, got {tuple(images.shape)} {images.dtype}")
    if not torch.isfinite(images).all():
        raise InputError(f"expected images in [0, 1], got {int((~images.isfinite()).sum())} values NaN or infinite")
    if not (images.min() >= -ROUNDING and images.max() <= 1 + ROUNDING):
        raise InputError(f"expected images in [0, 1], got {_range(images)}: {_advice(images)}")
    if labels.shape != images.shape[:1] or labels.dtype != torch.int64 or numbers.shape != labels.shape:
        advice = "of one-hot labels pass argmax(1)" if labels.ndim > 1 else "pass whole numbers by .long()"
        got = f"{tuple(labels.shape)} {labels.dtype}"
        raise InputError(f"expected {len(images)} int64 labels (N,), got {got}: {advice}")
    if images.dtype not in (torch.float32, torch.float64):
        raise InputError(f"expected images in float32 or float64, got {images.dtype}: rounding would break the budget")
    if norm not in ("Linf", "L2"):
        raise InputError(f"expected the norm Linf or L2, got {norm!r}")
    if not 0 < eps < float("inf") or (norm == "Linf" and eps > 1):
        raise InputError(f"expected eps above 0 (and at most 1 for Linf, in [0, 1] pixels), got {eps:g}")
    if batch_size < 1 or seed < 0:
        raise InputError(f"expected a batch size of 1 or more and a seed of 0 or more, got {batch_size} and {seed}")
