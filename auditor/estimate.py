"""What an audit would cost: one small batch is timed, and the protocol's passes are counted."""

import time
from collections.abc import Callable, Sequence

import numpy as np
import psutil
import torch
from torch import Tensor, nn

from auditor.attacks import find_protocol
from auditor.attacks.flags import output_flags
from auditor.attacks.protocols import Attack, for_randomized
from auditor.audit import identity
from auditor.clustering import clustering_scores
from auditor.clustering.scores import PERMUTATIONS
from auditor.data import hierarchy_of
from auditor.measure import images_of
from auditor.records import Contact, Estimate, Measurement, ZooEntry
from auditor.zoo import Source
from auditor.zoo.download import no_downloads

PROBE = 4
"""Images in the first batch that is timed."""
SHORT = 0.1
"""Seconds: a batch that takes less says more of the cost of a pass than of its images, so a larger one is timed."""
LARGER = 64
"""Images in that one at most, and fewer where they would need more than ``ROOM`` bytes."""
ROOM = 2**28
LINEAR = 4
"""Passes a class, or a probe of a sketch, at most: in float32 and, where that is not enough, again in float64."""
CHECK = 7
"""Images of the checks that a network is affine and hides nothing, with a backward pass."""
FEW_CLASSES = 100
"""Up to here all relabellings may be enumerated, which takes another time than permutations do."""
MATRICES = 4
"""Scored at most: C, centred, without its leading direction, and F."""


def estimate(source: Source, entry: ZooEntry, request: Measurement, contact: Contact) -> Estimate | None:
    """An upper bound of the time, as if no attack broke anything, and the memory of the largest batch.

    None where ``contact.wanted`` says no to the audit's identity.

    Raises:
        AuditorError: the model, or its images, cannot be loaded.
    """
    images = images_of(entry, request)
    with no_downloads():
        loaded = source.load(entry)
    if not contact.wanted(identity(entry, loaded.weights_sha256, request.audit, images)):
        return None
    contact.progress("probe", 0, 1)
    device = request.audit.device
    model = loaded.model.to(device).requires_grad_(False)
    superclasses = hierarchy_of(entry).superclasses
    classes = len(superclasses)
    n = 0 if images is None else len(images.labels)
    batch = torch.rand(PROBE, *entry.input_size, device=device)
    _forward(model, batch)  # the first pass pays for what later ones find ready
    kept = _bytes_kept(model, batch) / PROBE
    forward, both = _seconds_an_image(model, batch)
    few = both  # as for the linear map of few classes
    if PROBE * both < SHORT:
        number = int(min(LARGER, max(n, classes), request.audit.batch_size, ROOM // max(kept, 1)))
        if number > PROBE:
            forward, both = _seconds_an_image(model, torch.rand(number, *entry.input_size, device=device))
    attacks = find_protocol(request.audit.protocol).attacks
    with torch.no_grad():
        if n and "randomized" in output_flags(model, batch, model(batch.clone())):
            attacks = for_randomized(attacks)
    gradients, forwards = passes(attacks)
    sketch = request.audit.sketch
    linear = classes * (few if classes < LARGER else both) if sketch is None else sketch * forward + CHECK * both
    held = min(classes * batch[0].numel() * 4, 2**30) if sketch is None else sketch * classes * 8
    return Estimate(
        seconds=LINEAR * linear
        + MATRICES * _scoring_seconds(superclasses)
        + n * (gradients * both + forwards * forward),
        memory=int(
            _resident()
            + (sum(tensor.nbytes for tensor in model.state_dict().values()) if n else 0)  # of the attacked copy
            + max(min(n, request.audit.batch_size) * kept, (10 if sketch is None else 2 * CHECK) * kept + held)
        ),
    )


def passes(attacks: tuple[Attack, ...]) -> tuple[int, int]:
    """Forward-and-backward passes and forward passes alone, an image at most."""
    gradients, forwards = 1, 7  # gradients and repeated passes that flags are found by, clean accuracy
    for attack in attacks:
        settings = attack.parameters
        if attack.engine == "gradient":
            gradients += settings["steps"] * (2 if attack.name == "pgd-20" else 1)  # again on what FGSM broke
        elif "queries" in settings:
            forwards += settings["queries"] * settings["restarts"]
        else:
            repeats = settings["restarts"] * settings.get("targets", 1) * settings.get("eot", 1)
            gradients += (settings["iterations"] + 2) * repeats  # its first look and its last
            forwards += (
                settings["iterations"] * repeats if attack.name.startswith("fab") else 0
            )  # is it over the border?
        forwards += 2  # by the model and by the copy that was attacked
    return gradients, forwards


def _scoring_seconds(superclasses: Sequence[str]) -> float:
    """One matrix's scores: of few classes timed as they are, of many with a part of the permutations."""

    def timed(share: int) -> float:
        matrix = np.eye(len(superclasses))
        return _seconds(lambda: clustering_scores(matrix, superclasses, permutations=PERMUTATIONS // share))

    if len(superclasses) <= FEW_CLASSES:
        return timed(1)
    few, more = timed(100), timed(10)
    return more + 10 * max(0.0, more - few)


def _seconds_an_image(model: nn.Module, batch: Tensor) -> tuple[float, float]:
    """Of a forward pass, and of a forward and a backward pass."""
    forward = _seconds(lambda: _forward(model, batch))
    both = _seconds(lambda: _forward_and_backward(model, batch))
    return forward / len(batch), both / len(batch)


def _forward(model: nn.Module, batch: Tensor) -> None:
    with torch.no_grad():
        model(batch.clone())


def _forward_and_backward(model: nn.Module, batch: Tensor) -> None:
    pixels = batch.clone().requires_grad_()
    logits = model(pixels.clone())
    if logits.requires_grad:
        torch.autograd.grad(logits.sum(), pixels, allow_unused=True)


def _seconds(function: Callable[[], object]) -> float:
    """The faster of two runs."""
    times = []
    for _ in range(2):
        started = time.perf_counter()
        function()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return min(times)


def _bytes_kept(model: nn.Module, batch: Tensor) -> int:
    """Bytes that a forward pass keeps for its backward pass, the model's own tensors left out."""
    own = {tensor.data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        _output = model(batch.clone().requires_grad_().clone())  # alive, or its storages' addresses are used again
    return sum(kept.values())


def _resident() -> int:
    resident: int = psutil.Process().memory_info().rss
    return resident
