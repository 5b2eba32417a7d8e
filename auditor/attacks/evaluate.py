"""Robust accuracy of a model on given images: check the arguments, run the cascade, restore the model's state."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from auditor.attacks.attacker import Attacker
from auditor.attacks.cascade import Cascade
from auditor.attacks.cascade_state import Progress
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
from auditor.attacks.own import OwnAttack, own_attacks
from auditor.attacks.progress import SavedProgress
from auditor.attacks.protocols import Protocol
from auditor.attacks.result import RobustnessResult
from auditor.attacks.selection import without_selection
from auditor.attacks.sequential import decide, decide_regression
from auditor.attacks.transfer import check_other_model, transfer_attacks
from auditor.errors import InputError
from auditor.torch_state import default_modes, plain_tensor, trackable
from auditor.tracing import part


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
    earlier: Tensor | None = None,
    tests: int = 1,
    attacks: Mapping[str, OwnAttack] | None = None,
    transfer_from: Mapping[str, nn.Module | Callable[[Tensor], Tensor]] | None = None,
    curve: bool = False,
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
        norm: ``Linf``, ``L2`` or ``L1``.
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
        curve: search for the smallest perturbation of each sample, too, and return the sizes: see
            :mod:`auditor.attacks.curve_search`. It changes nothing else of the result, and cannot be combined with
            ``stop_at``.
        stop_at: attack chunks of 32 samples in a random order until it is decided whether the robust accuracy is above
            or below this share; each answer is wrong with a probability of at most 5 %. It neither saves nor resumes.
        earlier: ``(N,)`` bool, which samples survived an earlier evaluation: attack chunks as with ``stop_at``, until
            it is decided whether fewer or more survive now; each answer is wrong with a probability of at most 5 %.
        tests: the number of models about which early answers are given: the 5 % hold for all answers together.
        attacks: own attacks by name, which run last, see :class:`auditor.attacks.own.OwnAttack`. ``saved`` must then
            distinguish other functions of the same names.
        transfer_from: models by name, on the images' device and with the same classes. Adversarials are made on them
            after the protocol's attacks.

    Returns:
        Scores, per-sample verdicts, flags and notes, see :class:`RobustnessResult`.

    Raises:
        InputError: an argument is not as described; the model's output is not ``(N, K)`` and finite; an own attack
            returns something else than images, or changes the model; or the model or an own attack raises an exception,
            whose type, file and line are part of the message.

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 4))
        >>> images, labels = torch.rand(8, 1, 4, 4), torch.arange(8) % 4
        >>> result = evaluate_robustness(model, images, labels, norm="Linf", eps=0.1, protocol="quick")
        >>> [score.attack for score in result.attacks], tuple(result.survived.shape)
        (['fgsm', 'pgd-20'], (8,))
    """
    protocol = add_attacks(as_protocol(protocol), attacks or {}, transfer_from or {})
    if curve and (stop_at is not None or earlier is not None):
        raise InputError("expected either curve or an early stop, got both: a curve needs all images")
    ball, eps, batch_size, seed = check_settings(norm, eps, batch_size, seed)
    network, dtype = as_model(model), torch.get_default_dtype()
    with default_modes():
        images, clipped = as_images(images)
        images = plain_tensor(images)
        labels, numbers = plain_tensor(as_labels(labels, images)), as_numbers(indices, images)
        is_decided = _stopping_rule(stop_at, earlier, len(images), tests)
        check_device(network, images)
        devices = [images.device] if images.device.type == "cuda" else []
        others = {name: as_model(other) for name, other in (transfer_from or {}).items()}
        with contextlib.ExitStack() as contexts:
            for one in (network, *others.values()):
                contexts.enter_context(trackable(one))
                contexts.enter_context(frozen(one))
            contexts.enter_context(torch.random.fork_rng(devices))
            torch.manual_seed(seed)
            sources = {name: Classifier(other, dtype) for name, other in others.items()}
            attacker = Attacker(Classifier(network, dtype), images, labels, numbers, ball, eps, seed, attacks, sources)
            cascade = Cascade(attacker, batch_size, progress or _ignore_progress, keep, None if is_decided else saved)
            cascade.notes += clipped
            if curve:
                cascade.measure_sizes()
            with part("inspect model"):
                cascade.inspect_model()
            for name, source in sources.items():
                check_device(source, images)
                check_other_model(source, name, images, cascade.logits.shape[1])
            cascade.resume()
            if is_decided is None:
                cascade.run(protocol.attacks)
            else:  # a chunk is too small for a random part of it
                protocol = replace(protocol, attacks=without_selection(protocol.attacks))
                cascade.run_until(protocol.attacks, is_decided)
            cascade.run_minimal()
            with part("check masking"):
                cascade.check_masking(protocol.attacks)
            if superclasses is not None:
                cascade.run_targeted(number_superclasses(superclasses, cascade.logits))
            return cascade.result()


def _stopping_rule(
    stop_at: float | None, earlier: Tensor | None, count: int, tests: int
) -> Callable[[Tensor, Tensor], bool] | None:
    """When the attacks may stop, from the samples that survived and were reached; None to attack all."""
    if earlier is None:
        if stop_at is None:
            return None
        return lambda survived, reached: decide(int(survived.sum()), int(reached.sum()), stop_at, tests) is not None
    if stop_at is not None or earlier.shape != (count,) or earlier.dtype != torch.bool:
        raise InputError(f"expected earlier as {count} bool values, without stop_at, got {tuple(earlier.shape)}")

    def is_decided(survived: Tensor, reached: Tensor) -> bool:
        before = earlier.to(survived.device)
        losses, gains = int((before & ~survived & reached).sum()), int((~before & survived & reached).sum())
        return decide_regression(losses, gains, tests) is not None

    return is_decided


def add_attacks(protocol: Protocol, own: Mapping[str, OwnAttack], others: Mapping[str, object]) -> Protocol:
    """The protocol with attacks beyond its own: transferred adversarials, then own attacks.

    Raises:
        InputError: two attacks have one name, or an own attack is no function.
    """
    others_first = (*protocol.attacks, *transfer_attacks(others))
    names = {attack.name for attack in others_first}
    twice = next((name for name in own if name in names), None)
    if twice is not None:
        raise InputError(f"expected attacks with different names, got two named {twice!r}: rename yours")
    return replace(protocol, attacks=(*others_first, *own_attacks(own)))


def _ignore_progress(attack: str, done: int, total: int) -> None:
    """The progress callback of a caller that gives none."""
