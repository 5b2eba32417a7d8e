"""Estimates an audit's time and memory: tries its attacks on a few images, and counts and times the passes."""

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import psutil
import torch
from torch import Tensor, nn

from auditor import clustering
from auditor.attacks import Protocol, RobustnessResult, evaluate_robustness
from auditor.attacks.ascent import approach_gradients
from auditor.attacks.attack_copy import MIN_PASSES, PROBES, make_attack_copy
from auditor.attacks.curve_search import most_passes
from auditor.attacks.flags import output_flags
from auditor.attacks.gradient import frozen
from auditor.attacks.norms import NORMS
from auditor.attacks.protocols import Attack, for_randomized, requested_protocol
from auditor.attacks.selection import choose_size, is_in_reach, is_near
from auditor.attacks.squashing import find_logits
from auditor.attacks.targeted import MOST_TARGETS, STEPS
from auditor.audit.certificates import measure_certificate
from auditor.audit.extra_attacks import load_attacks
from auditor.audit.identity import identity
from auditor.audit.task import images_of, with_tests
from auditor.audit.timing import (
    PROBE,
    Counted,
    TooLongError,
    Work,
    forward_pass,
    gradient_pass,
    line_of,
    passes,
    seconds_of,
    seconds_once,
)
from auditor.clustering import clustering_scores
from auditor.clustering.scores import PERMUTATIONS
from auditor.data import CorruptedImages, ImageSet, hierarchy_of
from auditor.errors import AuditorError
from auditor.linear.sketch import template_sketch
from auditor.linear.weight import template_gram
from auditor.records import AuditRequest, Estimate, JobContext, Measurement, ZooEntry
from auditor.records.corruptions import SEVERITIES, ball_of
from auditor.records.screening import Screening
from auditor.screening import screen
from auditor.screening.triage import is_attacked
from auditor.zoo import Source
from auditor.zoo.download import no_downloads

MAX_TIMED = 64
"""The largest batch that is timed; it is smaller if it would need more than ``MAX_TIMED_BYTES``."""
MAX_TIMED_BYTES = 2**28
MAX_TRIED = 32
"""Attacks are tried on at most this many images; on fewer if that would take more than ``MAX_TRIAL_SECONDS``."""
MAX_SEARCHED = 96
"""A search is tried on more images, because few of them take most of its passes."""
MAX_TRIAL_SECONDS = 10.0
TRIED_CORRUPTED = 2
"""Corruptions are tried on so many images, because a large one takes seconds."""
FEW, MORE = 10, 30
"""Templates are timed for these numbers of classes, or probes of a sketch; larger numbers are extrapolated."""
CHECK = 7
"""The number of images with a backward pass in the checks of the linearized network."""
FEW_CLASSES = 100
"""Up to this many classes all relabellings may be enumerated, so the permutation test is timed as it is."""
USUAL_SEARCH, USUAL_APPROACH = 0.75, 0.35
"""The share of its largest number of passes that the search for the smallest perturbation takes on demo models.

The second is for norms with wider balls, whose ascents mostly end early.
"""
CERTIFIED = 4
"""Certificates are timed on this many images."""
RESERVE = 1.2
"""A factor for the upper bound, because other images break sooner or later than the tried ones."""


def estimate(source: Source, entry: ZooEntry, request: Measurement, context: JobContext) -> Estimate | None:
    """Estimate the time and memory of an audit from measurements on a few images and classes.

    None if ``context.needs_measuring`` returns False for the audit's identity.

    Raises:
        AuditorError: the model, or its images, cannot be loaded.
    """
    request, images = with_tests(request.under(entry.norm), context), images_of(entry, request)
    with no_downloads():
        loaded, extra = source.load(entry), load_attacks(entry, request.audit)
    complete, name = (
        identity(entry, loaded.weights_sha256, one, images, extra.identity)
        for one in (request.audit.complete, request.audit)
    )
    if not all(map(context.needs_measuring, dict.fromkeys((complete, name)))):
        return None
    context.progress("probe", 0, 1)
    model = loaded.model.to(request.audit.device).requires_grad_(False)
    superclasses = hierarchy_of(entry).superclasses
    classes, sketch = len(superclasses), request.audit.sketch
    screening, screened = screening_seconds(model, entry, request.audit, superclasses)
    spared = "" if images is None else _reason_to_spare(request.audit, screening, name)
    images = None if spared else images
    screened_name = identity(entry, loaded.weights_sha256, request.audit.without_attacks("screen"), None)
    if spared and not context.needs_measuring(screened_name):
        return None
    n = 0 if images is None else len(images.labels)
    batch = torch.rand(PROBE, *entry.input_size, device=request.audit.device)
    first = seconds_once(lambda: forward_pass(model, batch))  # the first pass includes one-time costs
    image_bytes = _saved_bytes(model, batch) / PROBE
    linear, collapsed = template_seconds(model, entry.input_size, request.audit, classes)
    seconds = screened + first + linear + (2 + collapsed + (n > 0)) * _scoring_seconds(superclasses)
    likely, most = 0.0, 0.0
    if images is not None and images.corrupted is not None:
        likely = most = corruption_seconds(model, images, images.corrupted, request.audit)
    elif images is not None:
        likely, most = attack_seconds(model, entry, request.audit, images, image_bytes)
    if images is not None and request.audit.certify is not None:
        certifying = certificate_seconds(model, entry, request.audit, images)
        likely, most = likely + certifying, most + RESERVE * certifying
    templates = min(classes * batch[0].numel() * 4, 2**30) if sketch is None else sketch * classes * 8
    return Estimate(
        seconds=seconds + likely,
        seconds_at_most=RESERVE * seconds + most,
        screened_only=spared,
        notes=() if images is None else (*images.notes, *_notes(request.audit)),
        memory=int(
            _resident()
            + (sum(tensor.nbytes for tensor in model.state_dict().values()) if n else 0)  # for the attacked copy
            + max(
                min(n, request.audit.batch_size) * image_bytes,
                (10 if sketch is None else 2 * CHECK) * image_bytes + templates,
            )
        ),
    )


def _notes(request: AuditRequest) -> list[str]:
    """What the estimate cannot say."""
    notes = [] if request.extra_attacks is None else [f"without the time of {request.extra_attacks.label}"]
    return [*notes, "as long as no gate is decided early"] if request.may_stop else notes


class FirstClasses(nn.Module):
    """A model cut to its first logits, ``(N, classes)``."""

    def __init__(self, model: nn.Module, classes: int) -> None:
        super().__init__()
        self.model, self.classes = model, classes

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(images)
        return logits[:, : self.classes]


def template_seconds(
    model: nn.Module, input_size: tuple[int, int, int], request: AuditRequest, classes: int
) -> tuple[float, bool]:
    """The seconds for the templates, exact or from a sketch; and whether their rank collapses: float64 follows."""
    number = classes if request.sketch is None else request.sketch
    batch_norm: Any = request.linearization
    collapsed = False

    def measure(some: int, double: bool = False) -> float:
        nonlocal collapsed
        started = time.perf_counter()
        if request.sketch is not None:
            template_sketch(model, input_size, batch_norm=batch_norm, probes=some, seed=request.seed, double=double)
        else:
            part = model if some >= classes else FirstClasses(model, some)
            gram = template_gram(part, input_size, batch_norm=batch_norm, double=double).gram
            rank = clustering.effective_rank(clustering.correlation(gram.numpy()))
            collapsed = collapsed or (some >= min(MORE, classes) and rank < clustering.RANK_COLLAPSE)
        return time.perf_counter() - started

    def extrapolate(double: bool = False) -> float:
        first = measure(min(FEW, number), double)
        if number <= MORE:
            return first if number <= FEW else measure(number, double)
        return first + max(0.0, measure(MORE, double) - first) / (MORE - FEW) * (number - FEW)

    started = time.perf_counter()
    try:
        seconds = extrapolate()
        return (seconds + extrapolate(double=True) if collapsed else seconds), collapsed
    except AuditorError:  # not measurable; the audit needs as long to find that out
        return time.perf_counter() - started, False


def screening_seconds(
    model: nn.Module, entry: ZooEntry, request: AuditRequest, superclasses: Sequence[str]
) -> tuple[Screening | None, float]:
    """The model's screening, by which a triage decides, and its seconds; None if the model cannot be screened."""
    started = time.perf_counter()
    norm, eps = ball_of(entry)
    try:
        found = screen(model, entry.input_size, superclasses, norm=norm, eps=eps, seed=request.seed, gap=math.nan)
    except Exception:  # the model's own code: the audit notes it
        found = None
    return found, time.perf_counter() - started


def _reason_to_spare(request: AuditRequest, screening: Screening | None, name: str) -> str:
    """Why a triage does not attack the model; empty if it is attacked."""
    if screening is None or request.triage is None or is_attacked(request.triage, screening, name):
        return ""
    return f"screening score {screening.score:.2f}, below {request.triage:g}: no attacks"


def corruption_seconds(model: nn.Module, images: ImageSet, corrupted: CorruptedImages, request: AuditRequest) -> float:
    """The seconds to make or read all corruptions and to classify them, from those of a few images."""
    n = len(images.labels)
    some = corrupted.first(min(n, TRIED_CORRUPTED))
    for name in some.names:
        next(iter(some.load(name)))  # the first call of a corruption includes one-time costs
    started = time.perf_counter()
    for name in some.names:
        next(iter(some.load(name)))
    loading = (time.perf_counter() - started) / min(n, TRIED_CORRUPTED)
    batch = torch.from_numpy(images.images[: min(n, request.batch_size, MAX_TIMED)]).to(request.device)
    with frozen(model):
        forward = seconds_of(lambda: forward_pass(model, batch)) / len(batch)
    return n * len(SEVERITIES) * (loading + len(some.names) * forward)


def attack_seconds(
    model: nn.Module, entry: ZooEntry, request: AuditRequest, images: ImageSet, image_bytes: float
) -> tuple[float, float]:
    """The likely and the largest number of seconds for all attacks.

    Some images show how soon they break, because later attacks skip a broken image.
    """
    n = len(images.labels)
    attacks = requested_protocol(request).attacks
    pixels, labels = (torch.from_numpy(part).to(request.device) for part in (images.images, images.labels))
    first = pixels[:PROBES]
    with frozen(model), torch.no_grad():
        logits = model(first.clone())
        randomized = "randomized" in output_flags(model, first, logits)
    attacks = for_randomized(attacks) if randomized else attacks
    started = time.perf_counter()
    network = model
    if not randomized and n * 20 > MIN_PASSES:
        with frozen(model):
            network = make_attack_copy(model, first, labels[:PROBES], logits)
    copying = time.perf_counter() - started
    largest = int(min(MAX_TIMED, n, request.batch_size, MAX_TIMED_BYTES // max(image_bytes, 1)))
    forward, both = line_of(forward_pass, model, first, largest), line_of(gradient_pass, network, first, largest)
    batches = -(-n // request.batch_size)

    def seconds(work: Work) -> float:
        gradients = both.seconds(work.gradient_calls, work.gradients)
        return gradients + forward.seconds(work.forward_calls, work.forwards)

    norm, search, bound_of_search = NORMS[entry.norm], 0.0, 0.0
    if request.curve and not randomized:
        # after each gradient of FAB, and in every bisection, there is a forward pass: about as many as gradients
        searched = n * most_passes(1, norm)
        bound_of_search = seconds(Work(0, searched, 0, searched))
        search = (USUAL_APPROACH if approach_gradients(norm) else USUAL_SEARCH) * bound_of_search
    towards = 0 if request.targeted is None else STEPS * min(MOST_TARGETS, logits.shape[1] - 1)
    gradients, forwards = passes(attacks, norm=norm)
    bound = copying + seconds(Work(0, n * (gradients + towards), 0, n * forwards))
    short = tuple(attack for attack in attacks if attack.engine != "autoattack")
    cheap = passes(tuple(attack for attack in short if attack.engine == "gradient"))
    most_tried = MAX_SEARCHED if any(attack.engine == "search" for attack in short) else MAX_TRIED
    tried = min(
        n, max(PROBE, min(most_tried, int(MAX_TRIAL_SECONDS / ((sum(cheap) + towards) * max(both.image, 1e-9)))))
    )
    some = torch.linspace(0, n - 1, tried).long()
    counted, started = Counted(model, 3 * MAX_TRIAL_SECONDS), time.perf_counter()
    try:
        if randomized:
            raise TooLongError
        result = evaluate_robustness(
            counted,
            pixels[some],
            labels[some],
            norm=entry.norm,
            eps=entry.eps,
            protocol=Protocol("trial", tried, short, "the gradient attacks, on a few images"),
            batch_size=request.batch_size,
            seed=request.seed,
            superclasses=None if request.targeted is None else hierarchy_of(entry).superclasses,
        )
    except (TooLongError, AuditorError):
        return bound + search, bound + bound_of_search
    once = copying + max(0.0, time.perf_counter() - started - seconds(counted.work))  # the time outside the passes
    looking = Counted(model, math.inf)  # it takes as many passes, whatever the number of images
    find_logits(looking, pixels[some], logits.shape[1], request.batch_size)
    work = once + seconds(looking.work) + seconds((counted.work - looking.work).times(batches, n / tried))
    survivors = int(result.survived.sum())
    likely, most = n * survivors / tried, n * (survivors + 1) / (tried + 2)  # the latter by Laplace's rule
    late = late_most = 0.0
    for attack in attacks:
        if attack.engine == "autoattack":
            gradients, forwards = passes((attack,), around=False)

            def cost(count: float, gradients: int = gradients, forwards: int = forwards) -> float:
                calls = -(-count // request.batch_size)
                return seconds(Work(calls * gradients, count * gradients, calls * forwards, count * forwards))

            late += cost(_reach(attack, likely, result, n))
            late_most += cost(most)
    most_seconds = max(work, min(once + bound, RESERVE * work + late_most))
    return work + late + search, most_seconds + bound_of_search


def _reach(attack: Attack, survivors: float, trial: RobustnessResult, n: int) -> float:
    """How many of so many survivors of a search an attack of protocol ``strong`` runs on; of others, on all."""
    settings = attack.parameters
    if "share" not in settings or trial.lack is None or not trial.survived.any():
        return survivors
    near = survivors * float(is_near(settings, trial.lack[trial.survived]).double().mean())
    far = survivors - near
    reach = survivors * float(is_in_reach(settings, trial.lack[trial.survived]).double().mean())
    size = choose_size(settings, round(far), n)
    return reach + size * (survivors - reach) / far if far else reach


def certificate_seconds(model: nn.Module, entry: ZooEntry, request: AuditRequest, images: ImageSet) -> float:
    """The seconds of the requested certificate, from a few images; those of the failure if the model has none."""
    some = np.linspace(0, len(images.labels) - 1, min(CERTIFIED, len(images.labels))).astype(int)
    few = replace(
        images,
        images=images.images[some],
        labels=images.labels[some],
        indices=images.indices[some],
        pictures=None if images.pictures is None else images.pictures[some],
    )
    marks = [time.perf_counter()]
    try:
        measure_certificate(model, entry, request, few, lambda *_: marks.append(time.perf_counter()))
    except AuditorError:
        return time.perf_counter() - marks[0]
    once, each = marks[1] - marks[0], (marks[-1] - marks[1]) / max(len(marks) - 2, 1)  # the first includes the trace
    return once + each * (len(images.labels) - 1)


def _scoring_seconds(superclasses: Sequence[str]) -> float:
    """The seconds to score one matrix; with many classes, extrapolated from fewer permutations."""

    def timed(share: int) -> float:
        matrix = np.eye(len(superclasses))
        return seconds_of(lambda: clustering_scores(matrix, superclasses, permutations=PERMUTATIONS // share))

    if len(superclasses) <= FEW_CLASSES:
        return timed(1)
    few, more = timed(100), timed(10)
    return more + 10 * max(0.0, more - few)


def _saved_bytes(model: nn.Module, batch: Tensor) -> int:
    """Bytes that a forward pass keeps for its backward pass, without the model's own tensors."""
    own = {tensor.data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    sizes: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in own:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        _output = model(
            batch.clone().requires_grad_().clone()
        )  # keeps the storages alive, so that their addresses are not reused
    return sum(sizes.values())


def _resident() -> int:
    resident: int = psutil.Process().memory_info().rss
    return resident
