"""Robust accuracy of a model on given images: check the arguments, run the cascade, restore the model's state."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from auditor.attacks.attacker import Attacker
from auditor.attacks.cascade import Cascade, Progress
from auditor.attacks.classifier import Classifier
from auditor.attacks.gradient import frozen
from auditor.attacks.inputs import (
    as_images,
    as_labels,
    as_model,
    as_numbers,
    as_protocol,
    check_device,
    check_settings,
    number_superclasses,
)
from auditor.attacks.progress import SavedProgress
from auditor.attacks.protocols import Protocol
from auditor.attacks.result import RobustnessResult
from auditor.attacks.selection import without_selection
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
    superclasses: Sequence[str] | None = None,
    stop_at: float | None = None,
) -> RobustnessResult:
    """Robust accuracy: the share of samples that the model classifies correctly and that no attack breaks.

    The model runs in eval mode; its modes and buffers are restored afterwards. The caller's grad mode and autocast have
    no effect.

    Args:
        model: maps ``(N, C, H, W)`` in [0, 1] to logits ``(N, K)``; normalization belongs inside. A module or function.
            If the model has another precision than the images, they are cast for it.
        images: ``(N, C, H, W)`` float32 or float64 in [0, 1], on the model's device; a tensor or a NumPy array.
            Rounding beyond [0, 1] is clipped, with a note.
        labels: ``(N,)`` integers from 0 to K - 1.
        norm: ``Linf`` or ``L2``.
        eps: the radius of the norm ball, in units of the [0, 1] pixels, above 0.
        protocol: a name (``quick``, ``standard``, ``strong``, ``full``) or a :class:`Protocol`.
        batch_size: samples per batch. Only AutoAttack under ``standard`` and ``full`` depends on it: it draws by batch.
        seed: the seed for every random draw.
        indices: N numbers that identify the samples; noise is drawn by them. 0 to N - 1 by default.
        progress: called after each batch of each attack.
        keep: whether to return the adversarial images. They take as much memory as ``images``, and a run that returns
            them neither saves nor loads progress.
        saved: where the attacks' progress is saved, after each attack and every half minute. A run with the same
            arguments on the same machine resumes from it and returns the result of an uninterrupted run. This includes
            the randomness of the model, if it comes from torch's global generators.
        superclasses: K names, one a class. With them a targeted attack runs after the others, towards classes of each
            sample's own superclass and of others, and the result has its success rates.

        stop_at: attack chunks of 32 samples in a random order until it is decided whether the robust accuracy is above
            or below this share; each answer is wrong with a probability of at most 5 %. It neither saves nor resumes.

    Returns:
        Scores, per-sample verdicts, flags and notes, see :class:`RobustnessResult`.

    Raises:
        InputError: an argument is not as described; the model's output is not ``(N, K)`` and finite; or the model
            raises an exception, whose type, file and line are part of the message.

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 4))
        >>> images, labels = torch.rand(8, 1, 4, 4), torch.arange(8) % 4
        >>> result = evaluate_robustness(model, images, labels, norm="Linf", eps=0.1, protocol="quick")
        >>> [score.attack for score in result.attacks], tuple(result.survived.shape)
        (['fgsm', 'pgd-20'], (8,))
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
            attacker = Attacker(Classifier(network, dtype), images, labels, numbers, ball, eps, seed)
            cascade = Cascade(
                attacker, batch_size, progress or _ignore_progress, keep, None if stop_at is not None else saved
            )
            cascade.notes += clipped
            cascade.inspect_model()
            cascade.resume()
            attacks = protocol.attacks
            if stop_at is None:
                cascade.run(attacks)
            else:
                attacks = without_selection(attacks)  # a chunk is too small for a random part of it
                cascade.run_until(attacks, stop_at)
            cascade.check_masking(attacks)
            if superclasses is not None:
                cascade.run_targeted(number_superclasses(superclasses, cascade.logits))
            return cascade.result()


def _ignore_progress(attack: str, done: int, total: int) -> None:
    """The progress callback of a caller that gives none."""
