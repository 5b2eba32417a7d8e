"""One adaptation: a request in, a result out, without database and queue."""

import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from auditor.adapt.baseline import nearest_mean
from auditor.adapt.heads import superclass_head
from auditor.adapt.measure import find_protocol, measure
from auditor.adapt.source import train_source
from auditor.adapt.splits import (
    AdaptData,
    Part,
    few_targets,
    held_out_sources,
    held_out_targets,
    load_data,
    source_training,
)
from auditor.adapt.tuning import tune
from auditor.attacks.gradient import frozen
from auditor.boost.training import Epoch, pixels_of
from auditor.errors import InputError, UsageError
from auditor.records import Progress, ZooEntry
from auditor.records.adaptations import Accuracy, AdaptRequest, AdaptResult, AdaptScore, SourceScore
from auditor.torch_state import set_eval
from auditor.zoo import LoadedModel, find_source, select
from auditor.zoo.digest import state_dict_digest
from auditor.zoo.normalized import inner_network

Given = tuple[ZooEntry, LoadedModel]
"""An existing model of a zoo, which is adapted instead of a newly trained one."""


def adapt(
    request: AdaptRequest,
    progress: Progress = lambda *_: None,
    *,
    given: Given | None = None,
    folder: Path | None = None,
    data: AdaptData | None = None,
    device: str = "cpu",
) -> AdaptResult:
    """Train or load a source model, replace its head, tune it on few target images, and measure it.

    Fine-tuning uses training images of the target classes; all measurements use test images. The same request
    gives the same numbers on a CPU, with the same threads and versions.

    Args:
        progress: called with ``train``, ``source`` or ``adapt``, the number of steps done, and their total.
        given: the model that ``request.start`` names; None loads it from its zoo, or trains one by the recipe.
        folder: the location of the data set, as for an audit.
        data: the data set, if it is already loaded.

    Raises:
        UsageError: a name is unknown, the assignment of classes is invalid, or the model has another data set.
        InputError: a value is out of range, a target class has too few images, or the model's head does not fit.
        DataError, ModelLoadError: the images or the model cannot be loaded.
    """
    started = time.perf_counter()
    request.check()
    find_protocol(request.protocol)
    given = None if request.trains else given or _from_zoo(request.start)
    if given is not None and given[0].dataset != request.assignment.dataset:
        raise UsageError(
            f"{given[0].model} is a model of {given[0].dataset}, the classes are those of {request.assignment.dataset}"
        )
    if data is None:
        entry = None if given is None else given[0]
        own, transform, channels = (
            (None, None, None) if entry is None else (entry.own_data, entry.transform, entry.input_size[0])
        )
        data = load_data(request.assignment.dataset, folder, custom=own, transform=transform, channels=channels)
    request = replace(request, assignment=request.assignment.resolved(data.classes))
    scores: list[AdaptScore] = []
    sources: list[SourceScore] = []
    few_targets(
        data, request.assignment, max(request.shots), request.seeds[0]
    )  # fails before the training if there are too few images
    for seed in request.seeds:
        model, members = source_model(request, seed, data, given, device, progress)
        if given is None or not sources:
            progress("source", 0, 1)
            sources.append(source_score(request, seed, data, model, members))
            progress("source", 1, 1)
        scores += adapted_scores(request, seed, data, model, members, progress)
    notes = () if given is None else _notes(given, request)
    seconds = time.perf_counter() - started
    return AdaptResult(
        request=request,
        scores=tuple(scores),
        sources=tuple(sources),
        data_sha256=data.digests,
        notes=notes,
        seconds=seconds,
    )


Members = list[list[int]]
"""For each superclass the numbers of its logits of the source model."""


def source_model(
    request: AdaptRequest,
    seed: int,
    data: AdaptData,
    given: Given | None = None,
    device: str = "cpu",
    progress: Progress = lambda *_: None,
) -> tuple[nn.Module, Members]:
    """The source model in eval mode, and the logits that belong to each superclass.

    Raises:
        InputError: the given model does not have one logit for each class of the data set.
    """
    groups = request.assignment.superclasses
    if given is None:
        recipe, part = request.training, source_training(data, request.assignment, request.source_images)
        progress("train", 0, recipe.epochs)

        def on_epoch(epoch: Epoch) -> None:
            progress("train", epoch.number, recipe.epochs)

        model = train_source(part, request.assignment, recipe, seed, device=device, on_epoch=on_epoch)
        names = request.assignment.sources
    else:
        model, names = set_eval(given[1].model.to(device)), data.classes
        with frozen(model), torch.no_grad():
            logits = model(pixels_of(data.test_images[:1].to(device)))
        if logits.shape != (1, len(names)):
            raise InputError(
                f"{given[0].model} gives logits {tuple(logits.shape)}, expected (1, {len(names)}): "
                f"one for each class of {request.assignment.dataset}"
            )
    return model, [[names.index(name) for name in group.sources] for group in groups]


def source_score(request: AdaptRequest, seed: int, data: AdaptData, model: nn.Module, members: Members) -> SourceScore:
    """The accuracy of the source model on held-out images of the source classes, among all its classes."""
    part = held_out_sources(data, request.assignment, request.held_out)
    numbers = torch.tensor([number for group in members for number in group])
    accuracy = _measure(request, model, Part(part.images, numbers[part.labels], part.numbers))
    return SourceScore(
        seed=seed, accuracy=accuracy, weights_sha256=state_dict_digest(inner_network(model).state_dict())
    )


def adapted_scores(
    request: AdaptRequest,
    seed: int,
    data: AdaptData,
    model: nn.Module,
    members: Members,
    progress: Progress = lambda *_: None,
) -> list[AdaptScore]:
    """Adapt a copy of the source model for each number of shots, and measure all on the same target images."""
    held, scores, tuning = held_out_targets(data, request.assignment, request.held_out), [], request.tuning
    for done, shots in enumerate(request.shots):
        progress("adapt", done, len(request.shots))
        few = few_targets(data, request.assignment, shots, seed)
        probe = pixels_of(held.images[:8].to(next(model.parameters()).device))
        adapted = superclass_head(model, members, probe, fresh=tuning.head == "fresh", seed=seed)
        baseline = None
        if shots:
            tune(adapted, few, tuning, seed)
            baseline = _measure(request, nearest_mean(few.images, few.labels, len(members)), held)
        accuracy = _measure(request, adapted.model, held)
        scores.append(AdaptScore(seed=seed, shots=shots, adapted=accuracy, baseline=baseline))
    progress("adapt", len(request.shots), len(request.shots))
    return scores


def _measure(request: AdaptRequest, model: nn.Module, part: Part) -> Accuracy:
    return measure(model, part, norm=request.norm, eps=request.eps, protocol=request.protocol)


def _from_zoo(name: str) -> Given:
    """Load a model from a source without a folder and without trusted code.

    Raises:
        UsageError, EnvironmentUnusableError, ModelLoadError: the model does not exist, or cannot be loaded.
    """
    source = find_source(name.partition(":")[0])
    entry = select(source.entries(), models=[name])[0]
    return entry, source.load(entry)


def _notes(given: Given, request: AdaptRequest) -> tuple[str, ...]:
    """A given model was trained on all classes of its data set, so that the target classes are not new to it."""
    targets = ", ".join(request.assignment.targets)
    note = f"{given[0].model} has a logit for each class, so it was trained on the targets, too ({targets})"
    return (note, *given[1].notes)
