"""Robust accuracy of a model on given images: the arguments checked, the cascade run, its state put back."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from auditor.attacks.cascade import Cascade, Progress
from auditor.attacks.classifier import Classifier
from auditor.attacks.gradient import frozen
from auditor.attacks.inputs import as_images, as_labels, as_model, as_numbers, as_protocol, check_device, check_settings
from auditor.attacks.progress import SavedProgress
from auditor.attacks.protocols import Protocol
from auditor.attacks.result import RobustnessResult
from auditor.torch_state import default_modes, plain_tensor, trackable


def evaluate_robustness(
    model: nn.Module | Callable[[Tensor], Tensor],
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

    The model is run in eval mode, and left in the mode and with the buffers it came with. Whether the caller has
    gradients switched off, or autocast on, changes nothing.

    Args:
        model: ``(N, C, H, W)`` in [0, 1] to logits ``(N, K)``; normalization belongs inside. A module, or a function.
            Of another precision than the images: they are cast for it.
        images: ``(N, C, H, W)`` float32 or float64 in [0, 1], on the model's device; a tensor or a NumPy array.
            Rounding beyond [0, 1] is clipped, with a note.
        labels: ``(N,)`` integers from 0 to K - 1.
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
        InputError: an argument is not as described, the model's output is not ``(N, K)`` and finite, or the model
            raises an exception of its own, whose type, file and line are part of the message.
    """
    protocol = as_protocol(protocol)
    ball, eps, batch_size, seed = check_settings(norm, eps, batch_size, seed)
    network, dtype = as_model(model), torch.get_default_dtype()
    with default_modes():
        images, clipped = as_images(images)
        images = plain_tensor(images)
        labels, numbers = plain_tensor(as_labels(labels, images)), as_numbers(indices, images)
        check_device(network, images)
        devices = [images.device] if images.device.type == "cuda" else []
        with trackable(network), frozen(network), torch.random.fork_rng(devices):
            torch.manual_seed(seed)
            classifier, silent = Classifier(network, dtype), progress or _silent
            cascade = Cascade(classifier, images, labels, numbers, ball, eps, batch_size, seed, silent, keep, saved)
            cascade.notes += clipped
            cascade.look()
            cascade.resume()
            cascade.run(protocol.attacks)
            return cascade.result()


def _silent(attack: str, done: int, total: int) -> None:
    """Nobody wants to know."""
