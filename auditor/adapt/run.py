"""One adaptation: a request in, a result out. No database, no queue."""

import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from auditor.adapt.baseline import nearest_mean
from auditor.adapt.heads import superclass_head
from auditor.adapt.measure import measure, protocol_of
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
from auditor.zoo.normalized import network_of

Given = tuple[ZooEntry, LoadedModel]
"""A model of a zoo that is adapted, in the place of one that is trained."""


def adapt(
    request: AdaptRequest,
    progress: Progress = lambda *_: None,
    *,
    given: Given | None = None,
    folder: Path | None = None,
    data: AdaptData | None = None,
    device: str = "cpu",
) -> AdaptResult:
    """Train or take a source model, give it a head of superclasses, tune it on few target images, measure it.

    Fine-tuning sees the training images of the target classes, all measurements are on test images. The same request
    gives the same numbers on a CPU, with the same threads and versions.

    Args:
        progress: told ``train``, ``source`` and ``adapt``, how far it is and of how much.
        given: the model that ``request.start`` names; None loads it from its zoo, or trains one by the recipe.
        folder: where the data set lies, as for an audit; ``data`` is the data set itself, where it is loaded already.

    Raises:
        UsageError: a name is unknown, the classes do not make sense together, or the model is of another data set.
        InputError: a value is out of range, a target class has too few images, or the model's head does not fit.
        DataError, ModelLoadError: the images or the model cannot be had.
    """
    started = time.perf_counter()
    request.check()
    protocol_of(request.protocol)
    given = None if request.trains else given or _from_zoo(request.start)
    if given is not None and given[0].dataset != request.assignment.dataset:
        raise UsageError(
            f"{given[0].model} is a model of {given[0].dataset}, the classes are of {request.assignment.dataset}"
        )
    if data is None:
        entry = None if given is None else given[0]
        own, transform, channels = (
            (None, None, None) if entry is None else (entry.own_data, entry.transform, entry.input_size[0])
        )
        data = load_data(request.assignment.dataset, folder, own=own, transform=transform, channels=channels)
    request = replace(request, assignment=request.assignment.resolved(data.classes))
    scores: list[AdaptScore] = []
    sources: list[SourceScore] = []
    few_targets(data, request.assignment, max(request.shots), request.seeds[0])  # too few are said before the training
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
"""The numbers of the source model's logits that belong to each superclass."""


def source_model(
    request: AdaptRequest,
    seed: int,
    data: AdaptData,
    given: Given | None = None,
    device: str = "cpu",
    progress: Progress = lambda *_: None,
) -> tuple[nn.Module, Members]:
    """The source model in eval mode, and which of its logits belong to which superclass.

    Raises:
        InputError: the given model's logits are not one a class of the data set.
    """
    groups = request.assignment.superclasses
    if given is None:
        recipe, part = request.training, source_training(data, request.assignment, request.source_images)
        progress("train", 0, recipe.epochs)

        def told(epoch: Epoch) -> None:
            progress("train", epoch.number, recipe.epochs)

        model = train_source(part, request.assignment, recipe, seed, device=device, on_epoch=told)
        names = request.assignment.sources
    else:
        model, names = set_eval(given[1].model.to(device)), data.classes
        with frozen(model), torch.no_grad():
            logits = model(pixels_of(data.test_images[:1].to(device)))
        if logits.shape != (1, len(names)):
            raise InputError(
                f"{given[0].model} gives logits {tuple(logits.shape)}, expected (1, {len(names)}): "
                f"one a class of {request.assignment.dataset}"
            )
    return model, [[names.index(name) for name in group.sources] for group in groups]


def source_score(request: AdaptRequest, seed: int, data: AdaptData, model: nn.Module, members: Members) -> SourceScore:
    """The source model on held-out images of the source classes, at subclass level, among all classes it knows."""
    part = held_out_sources(data, request.assignment, request.held_out)
    numbers = torch.tensor([number for group in members for number in group])
    accuracy = _measured(request, model, Part(part.images, numbers[part.labels], part.numbers))
    return SourceScore(seed=seed, accuracy=accuracy, weights_sha256=state_dict_digest(network_of(model).state_dict()))


def adapted_scores(
    request: AdaptRequest,
    seed: int,
    data: AdaptData,
    model: nn.Module,
    members: Members,
    progress: Progress = lambda *_: None,
) -> list[AdaptScore]:
    """Adapt copies of a source model to each number of shots, and measure each on the same held-out target images."""
    held, scores, tuning = held_out_targets(data, request.assignment, request.held_out), [], request.tuning
    for done, shots in enumerate(request.shots):
        progress("adapt", done, len(request.shots))
        few = few_targets(data, request.assignment, shots, seed)
        probe = pixels_of(held.images[:8].to(next(model.parameters()).device))
        adapted = superclass_head(model, members, probe, fresh=tuning.head == "fresh", seed=seed)
        baseline = None
        if shots:
            tune(adapted, few, tuning, seed)
            baseline = _measured(request, nearest_mean(few.images, few.labels, len(members)), held)
        accuracy = _measured(request, adapted.model, held)
        scores.append(AdaptScore(seed=seed, shots=shots, adapted=accuracy, baseline=baseline))
    progress("adapt", len(request.shots), len(request.shots))
    return scores


def _measured(request: AdaptRequest, model: nn.Module, part: Part) -> Accuracy:
    return measure(model, part, norm=request.norm, eps=request.eps, protocol=request.protocol)


def _from_zoo(name: str) -> Given:
    """A model that needs no folder and runs no code of its own.

    Raises:
        UsageError, EnvironmentUnusableError, ModelLoadError: there is none, or it cannot be loaded.
    """
    source = find_source(name.partition(":")[0])
    entry = select(source.entries(), models=[name])[0]
    return entry, source.load(entry)


def _notes(given: Given, request: AdaptRequest) -> tuple[str, ...]:
    """A given model knows all classes of its data set: what it is adapted to is not new to it."""
    targets = ", ".join(request.assignment.targets)
    seen = (
        f"{given[0].model} has a logit for each class, so it was trained on the targets, too ({targets}): not new to it"
    )
    return (seen, *given[1].notes)
