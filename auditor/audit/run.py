"""One audit: a loaded model and a request in, a record out. No database, no queue."""

import math
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from auditor import clustering
from auditor.attacks import Adversarials, RobustnessResult, evaluate_robustness, keep_adversarials
from auditor.attacks.evaluate import add_attacks
from auditor.attacks.gradient import frozen
from auditor.attacks.protocols import requested_protocol
from auditor.attacks.sequential import describe_regression, describe_stop
from auditor.audit.batch_size import batch_size_of
from auditor.audit.certificates import contradiction, measure_certificate, silence
from auditor.audit.corruptions import measure_corruptions
from auditor.audit.earlier import Earlier
from auditor.audit.extra_attacks import NO_ATTACKS, LoadedAttacks
from auditor.audit.identity import identity
from auditor.audit.pictures import LocalPictures
from auditor.audit.resume import SavedAttempt, attempt_key
from auditor.audit.templates import score_templates
from auditor.data import CorruptedImages, Hierarchy, ImageSet, hierarchy_of
from auditor.errors import AuditorError, LinearizationError, ModelLoadError, describe, one_line
from auditor.records import STOPPED_EARLY, AuditRecord, AuditRequest, Clustering, JobContext, Verdicts, ZooEntry
from auditor.records.certificates import CONTRADICTED
from auditor.records.corruptions import ball_of, is_corruptions
from auditor.records.screening import Screening
from auditor.records.templates import Templates
from auditor.records.versions import versions
from auditor.screening import screen
from auditor.screening.masking import IMAGES, margins_at, masking_finding, probe_notes
from auditor.screening.statistics import median
from auditor.screening.triage import is_attacked
from auditor.torch_state import default_modes, trackable
from auditor.tracing import part
from auditor.zoo import LoadedModel


def audit(
    entry: ZooEntry,
    loaded: LoadedModel,
    request: AuditRequest,
    images: ImageSet | None,
    context: JobContext,
    adversarials: Path | None = None,
    extra: LoadedAttacks = NO_ATTACKS,
    earlier: Earlier | None = None,
) -> AuditRecord:
    """Linearize and score a model and, if there are images, attack it.

    A part that cannot be measured is listed with its reason in ``not_measurable``; the other parts are still measured.

    Args:
        images: the images to attack; None if the protocol needs none.
        context: callbacks for progress, and for the state that an earlier attempt saved.
        adversarials: a folder for the images that broke samples. With it the attacks do not resume an earlier attempt.
        extra: the attacks beyond the protocol's, which the request names.
        earlier: the result beside which a regression is looked for; it must be of the same images.

    Raises:
        ModelLoadError: the model, its images and its data set's classes do not match.
    """
    started = time.perf_counter()
    model = loaded.model.to(request.device)
    hierarchy = hierarchy_of(entry)
    _check_output(model, entry, len(hierarchy.classes), images)
    found = _Findings(flags=list(loaded.flags), notes=list(loaded.notes))
    for name, measure in (("linearize", _score_weights), ("screen", _screen)):
        context.progress(name, 0, 1)
        with part(name):
            measure(model, entry, request, hierarchy, found)
        context.progress(name, 1, 1)
    broken, name = None, identity(entry, loaded.weights_sha256, request, images, extra.identity, earlier)
    if images is not None and request.triage is not None and not is_attacked(request.triage, found.screening, name):
        request, images, extra = request.without_attacks("screen"), None, NO_ATTACKS
        name = identity(entry, loaded.weights_sha256, request, images)
    if images is not None:
        found.notes += [*images.notes, *extra.notes]
        attempts = SavedAttempt(context, attempt_key(name, request, versions()))
        run = _Run(model, entry, request, images, hierarchy, found, attempts)
        if images.corrupted is not None:
            with part("corruptions", images=len(images.labels)):
                _corrupt(run, images.corrupted)
        else:
            with part("attacks", images=len(images.labels)):
                broken = _attack(run, extra, earlier, keep=adversarials is not None)
            if request.certify is not None:
                with part("certify", method=request.certify):
                    _certify(run)
    if adversarials is not None and images is not None and broken is not None:
        broken = broken.beside(images.images, images.indices)
        saved, notes = keep_adversarials(
            adversarials, broken, model=entry.model, identity=name, norm=entry.norm, eps=entry.eps
        )
        found.notes += notes
        found.values["adversarials"] = saved
    return AuditRecord(
        entry=entry,
        identity=name,
        protocol=request.protocol,
        parameters=_parameters(request, images, extra),
        extra_attacks=None if request.extra_attacks is None else request.extra_attacks.label,
        linearization=request.linearization,
        sketch=request.sketch,
        hierarchy=hierarchy.name,
        seed=request.seed,
        weights_sha256=loaded.weights_sha256,
        classes=hierarchy.classes,
        superclasses=hierarchy.superclasses,
        clusterings=tuple(found.clusterings),
        screening=found.screening,
        templates=tuple(found.templates),
        flags=tuple(found.flags),
        notes=tuple(found.notes),
        not_measurable=tuple(found.not_measurable),
        seconds=found.earlier + time.perf_counter() - started,
        device=request.device,
        versions=versions(entry.architecture),
        **found.values,
    )


def _describe_stop(result: RobustnessResult, total: int, request: AuditRequest, earlier: Earlier | None) -> str:
    """Why the attacks stopped before all images were attacked."""
    n = len(result.positions)
    if earlier is None:
        assert request.stop_at is not None
        return describe_stop(result.robust_accuracy, n, total, request.stop_at)
    before, now = earlier.survived[result.positions.numpy()], result.survived.numpy()
    losses, gains = int((before & ~now).sum()), int((now & ~before).sum())
    return describe_regression(losses, gains, n, total, earlier.audit_id, request.tests)


def _parameters(request: AuditRequest, images: ImageSet | None, extra: LoadedAttacks) -> dict[str, Any]:
    """The attacks of an audit, or the pictures of its corruptions, with everything that decides about them.

    Of attacks of users also the digests of their code and of the other models.
    """
    if images is not None and images.corrupted is not None:
        return {"attacks": [], "corruptions": images.corrupted.identity}
    protocol = add_attacks(requested_protocol(request), extra.own, extra.models)
    parameters: dict[str, Any] = {"attacks": [asdict(attack) for attack in protocol.attacks]}
    return parameters if extra.identity is None else {**parameters, "extra_attacks": extra.identity}


def _check_output(model: torch.nn.Module, entry: ZooEntry, classes: int, images: ImageSet | None) -> None:
    """Run two images through the model, and raise unless it accepts them and returns one logit per class."""
    floats = (t for t in (*model.parameters(), *model.buffers()) if t.is_floating_point())
    like = next(floats, torch.zeros(1))
    probe = torch.full((2, *entry.input_size), 0.5).to(like)
    if images is not None:
        if images.images.shape[1:] != tuple(entry.input_size):
            raise ModelLoadError(
                f"{entry.model}: expected images of {entry.input_size}, the images of {entry.dataset} are "
                f"{images.images.shape[1:]}: correct input_size, or set resize and crop"
            )
        probe = torch.from_numpy(images.images[[0, -1]]).to(like.device)
    with default_modes(), trackable(model), frozen(model), torch.random.fork_rng([like.device] if like.is_cuda else []):
        output = _run_probe(model, probe, entry)
    if not isinstance(output, torch.Tensor):
        raise ModelLoadError(
            f"{entry.model}: expected logits (N, {classes}), got {type(output).__name__}, not a tensor"
        )
    if output.shape != (2, classes):
        got = ", ".join(str(size) for size in output.shape[1:])
        got = f"(N, {got})" if len(output.shape) > 1 and len(output) == 2 else str(tuple(output.shape))
        raise ModelLoadError(
            f"{entry.model}: expected {classes} logits for {entry.dataset}, got {got}: features instead of logits?"
        )


def _run_probe(model: torch.nn.Module, probe: torch.Tensor, entry: ZooEntry) -> Any:
    """The model's output for these images; they are cast to its own precision if it rejects theirs."""
    own = [tensor.dtype for tensor in model.parameters() if tensor.is_floating_point()]
    errors: list[Exception] = []
    with torch.no_grad():
        for dtype in dict.fromkeys([probe.dtype, *own]):
            try:
                return model(probe.to(dtype, copy=True))
            except torch.OutOfMemoryError:
                raise
            except Exception as error:  # the model's own code
                errors.append(error)
    message = f"{entry.model}: the model does not take images of {entry.input_size}: {describe(errors[0])}"
    raise ModelLoadError(one_line(message)) from errors[0]


@dataclass
class _Findings:
    """The findings of all parts of an audit; ``earlier``: seconds that earlier attempts spent on what was resumed."""

    clusterings: list[Clustering] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    not_measurable: list[str] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)
    earlier: float = 0.0
    screening: Screening | None = None
    templates: list[Templates] = field(default_factory=list)

    @property
    def gap(self) -> float:
        """The gap of the linearized network; NaN where there is none."""
        return next((part.scores.gap for part in self.clusterings if part.kind == "weights"), math.nan)


@dataclass(frozen=True)
class _Run:
    """A model on its images: what the measurements of one audit share, and where their findings go."""

    model: torch.nn.Module
    entry: ZooEntry
    request: AuditRequest
    images: ImageSet
    hierarchy: Hierarchy
    found: _Findings
    attempts: SavedAttempt


def _score_weights(
    model: torch.nn.Module, entry: ZooEntry, request: AuditRequest, hierarchy: Hierarchy, found: _Findings
) -> None:
    """Score C and its variants; a collapsed rank is a flag."""
    try:
        scored = score_templates(model, entry.input_size, request, hierarchy)
    except LinearizationError as error:
        found.not_measurable.append(one_line(f"linearize: {error}"))
        return
    found.values["affinity_error"] = scored.affinity_error
    found.clusterings += scored.clusterings
    found.templates += [] if scored.pictures is None else [scored.pictures]
    if scored.collapsed:
        found.flags.append("rank_collapse")


def _screen(
    model: torch.nn.Module, entry: ZooEntry, request: AuditRequest, hierarchy: Hierarchy, found: _Findings
) -> None:
    """Screen the model; a finding is a note."""
    local, (norm, eps) = LocalPictures(entry.input_size), ball_of(entry)
    try:
        found.screening = screen(
            model,
            entry.input_size,
            hierarchy.superclasses,
            norm=norm,
            eps=eps,
            seed=request.seed,
            gap=found.gap,
            collect=local.add,
        )
    except Exception as error:  # the model's own code, in a backward pass
        found.not_measurable.append(one_line(f"screen: {describe(error)}"))
        return
    if is_corruptions(entry.norm):
        found.screening = _without_ball(found.screening)
    found.notes += [f"screen: {finding} at probe images" for finding in found.screening.findings]
    mean = local.mean()
    found.templates += [] if mean is None else [mean]


def _without_ball(screening: Screening) -> Screening:
    """A screening without the values that depend on a norm ball."""
    reasons = dict.fromkeys(("score", "margin"), "is defined for a norm ball, not for corruptions")
    return replace(screening, score=math.nan, margin=math.nan, statistics={}, reasons=screening.reasons | reasons)


def _corrupt(run: _Run, corrupted: CorruptedImages) -> None:
    """Measure accuracies under corruptions, and F from the clean logits."""
    images, found = run.images, run.found
    result = measure_corruptions(run.model, images, corrupted, run.request, run.attempts)
    _score_features(run, result.logits, images.labels)
    found.flags += result.flags
    found.notes += result.notes
    found.values |= {
        "n": len(images.labels),
        "clean_accuracy": float(result.correct.mean()),
        "robust_accuracy": result.accuracy,
        "robust_low": result.low,
        "robust_high": result.high,
        "batch_size": result.batch_size,
        "verdicts": Verdicts(
            indices=images.indices,
            correct=result.correct,
            survived=result.survived,
            pictures=images.pictures,
            labels=images.labels,
        ),
        "corruptions": result.scores,
        "images_sha256": images.digest,
    }


def _score_features(run: _Run, logits: NDArray[Any], labels: NDArray[np.int64]) -> None:
    """Score F, the distances of the classes in the clean logits."""
    hierarchy, seed = run.hierarchy, run.request.seed
    distance = clustering.feature_distance(logits, labels, len(hierarchy.classes))
    scores = clustering.distance_scores(distance, hierarchy.superclasses, seed=seed, levels=hierarchy.levels)
    run.found.clusterings.append(Clustering(kind="features", scores=scores, matrix=distance))


def _compare_margins(run: _Run, images: torch.Tensor, correct: torch.Tensor, survived: torch.Tensor) -> None:
    """Measure first-order margins at correctly classified images, and flag attacks that find far less than they say."""
    entry, found = run.entry, run.found
    if found.screening is None:
        return
    places = correct.nonzero().flatten()[:IMAGES]
    margins = margins_at(run.model, images[places.to(images.device)], entry.norm).cpu()
    found.screening = replace(found.screening, data_margin=median(margins))
    flags, notes = masking_finding(margins, survived[places], entry.eps)
    found.flags += flags
    found.notes += [*notes, *probe_notes(found.screening)]


def _certify(run: _Run) -> None:
    """Measure the requested lower bound; a certified sample that an attack broke is a flag."""
    found = run.found
    try:
        certificate = measure_certificate(run.model, run.entry, run.request, run.images, run.attempts.context.progress)
    except AuditorError as error:
        found.not_measurable.append(one_line(f"certify: {error}"))
        return
    found.values["certificate"] = certificate
    if (note := contradiction(certificate, found.values["verdicts"].survived)) is not None:
        found.flags.append(CONTRADICTED)
        found.notes.append(note)
    if (note := silence(certificate)) is not None:
        found.notes.append(f"certify: {note}")


def _attack(run: _Run, extra: LoadedAttacks, earlier: Earlier | None, *, keep: bool) -> Adversarials | None:
    """Measure accuracies, and F from the clean logits; return the images that broke samples, to ``keep`` them."""
    entry, request, images, found = run.entry, run.request, run.images, run.found
    pictures = torch.from_numpy(images.images).to(request.device)
    result = evaluate_robustness(
        run.model,
        pictures,
        torch.from_numpy(images.labels).to(request.device),
        norm=entry.norm,
        eps=entry.eps,
        protocol=requested_protocol(request),
        batch_size=batch_size_of(run.model, pictures, request),
        seed=request.seed,
        indices=images.indices.tolist(),
        progress=run.attempts.context.progress,
        keep=keep,
        saved=run.attempts,
        superclasses=None if request.targeted is None else run.hierarchy.superclasses,
        stop_at=request.stop_at,
        earlier=None if earlier is None else torch.from_numpy(earlier.survived.copy()),
        tests=request.tests,
        attacks=extra.own,
        transfer_from=extra.models,
        curve=request.curve,
    )
    kept = result.positions.numpy()
    labels = images.labels[kept]
    _score_features(run, result.logits.numpy(), labels)
    found.flags += result.flags
    found.notes += result.notes
    if len(kept) < len(images.labels):
        found.flags.append(STOPPED_EARLY)
        found.notes.append(_describe_stop(result, len(images.labels), request, earlier))
    reached = pictures[result.positions.to(request.device)]
    _compare_margins(run, reached, result.correct.cpu(), result.survived.cpu())
    found.earlier = result.earlier
    found.values |= {
        "n": len(kept),
        "clean_accuracy": result.clean_accuracy,
        "robust_accuracy": result.robust_accuracy,
        "robust_low": result.low,
        "robust_high": result.high,
        "attacks": tuple(result.attacks),
        "batch_size": result.batch_size,
        "verdicts": Verdicts(
            indices=images.indices[kept],
            correct=result.correct.numpy().astype(np.bool_),
            survived=result.survived.numpy().astype(np.bool_),
            pictures=None if images.pictures is None else images.pictures[kept],
            labels=labels,
            predicted=result.predicted.numpy(),
            broken_at=result.broken_at.numpy(),
        ),
        "targeted": result.targeted,
        "curve": result.curve,
        "images_sha256": images.digest,
    }
    return result.adversarials
