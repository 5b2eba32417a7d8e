"""One boost in a child process: load the model and its training images, fine-tune it, write the checkpoint."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from auditor.boost.fine_tuning import FineTuned, fine_tune
from auditor.boost.saved_run import SavedRun, run_key
from auditor.data import hierarchy_of, load_images
from auditor.data.training import TrainingData, load_training
from auditor.errors import EnvironmentUnusableError, MeasurementError, UsageError, first_line
from auditor.files import read_limited, write_atomically
from auditor.records import JobContext, ZooEntry
from auditor.records.boosts import OWNER, RUN, BoostOutcome, BoostTask, EpochScore, Recipe
from auditor.records.versions import versions
from auditor.zoo import LoadedModel, Source
from auditor.zoo.checkpoint import FILE, CheckpointZoo, write_checkpoint
from auditor.zoo.digest import state_dict_digest
from auditor.zoo.local import with_graph_digest
from auditor.zoo.normalized import inner_network

REPORT_SECONDS = 0.5


def boost(source: Source, entry: ZooEntry, task: BoostTask, context: JobContext) -> BoostOutcome:
    """Fine-tune one model; resumes from the last epoch of an earlier attempt. Reports each epoch by ``context.save``.

    Raises:
        AuditorError: the model or the training images cannot be loaded, do not fit each other or the recipe, or the
            checkpoint cannot be written.
    """
    hierarchy = hierarchy_of(entry)
    _check_superclasses(entry, task.recipe, hierarchy.superclasses)
    _claim_folder(task)
    data = load_training(
        entry.dataset,
        task.training,
        custom=entry.own_data,
        transform=entry.transform,
        channels=entry.input_size[0],
        tests=_test_pictures(entry, task),
    )
    loaded = source.load(entry)
    model = loaded.model.to(task.device)
    run = SavedRun(
        task.checkpoints / str(task.number) / RUN,
        run_key(task.recipe, loaded.weights_sha256, data.digest, _training_versions()),
    )
    result = _run_fine_tuning(model, data, task.recipe, hierarchy.superclasses, run, context)
    if not context.renew_lease():
        raise MeasurementError("the boost belongs to another process by now: its checkpoint is not written")
    state = inner_network(model).state_dict()
    origin, zoo_folder = _origin(source, entry, loaded, task)
    write_checkpoint(
        task.checkpoints,
        task.number,
        state,
        replace(origin, norm=entry.norm, eps=entry.eps, threat_model=entry.threat_model),
        zoo_folder=zoo_folder,
        description=f"{entry.model}, fine-tuned with {task.recipe.method}",
        training={**asdict(task.recipe), "parent": entry.model, "lineage": [*ancestors_of(entry), entry.model]},
    )
    return BoostOutcome(
        parent=entry.model,
        parent_sha256=loaded.weights_sha256,
        weights_sha256=state_dict_digest(state),
        data_sha256=data.digest,
        best_epoch=result.best.number,
        stopped=result.stopped,
        versions=versions(entry.architecture),
    )


def _check_superclasses(entry: ZooEntry, recipe: Recipe, superclasses: tuple[str, ...]) -> None:
    """Raises UsageError if a regularizer has nothing to pull together, because each class is its own superclass."""
    if recipe.regularized != "none" and len(set(superclasses)) == len(superclasses):
        raise UsageError(
            f"the regularizer {recipe.regularized} needs a superclass with at least two classes, and {entry.dataset} "
            "has none: add --regularizer none, or name superclasses in a local zoo"
        )


def _claim_folder(task: BoostTask) -> None:
    """Mark the folder as this boost's, because two databases that share a folder may use the same number.

    Raises:
        EnvironmentUnusableError: the folder belongs to another boost, or cannot be written.
    """
    folder = task.checkpoints / str(task.number)
    owner = folder / OWNER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not owner.exists() and not (folder / FILE).exists():
            with write_atomically(owner) as file:
                file.write(task.owner.encode())
        is_owner = owner.exists() and read_limited(owner) == task.owner.encode()
    except (OSError, ValueError) as error:
        raise EnvironmentUnusableError(f"cannot write the checkpoint's folder {folder}: {first_line(error)}") from error
    if not is_owner:
        raise EnvironmentUnusableError(
            f"{folder} holds a checkpoint of another database: set AUDITOR_CHECKPOINTS to a folder for this one"
        )


def ancestors_of(entry: ZooEntry) -> list[str]:
    """The models from which this one was fine-tuned, the original first."""
    found: list[str] = entry.training.get("lineage", []) if entry.source == "checkpoint" else []
    return found


def _training_versions() -> dict[str, str]:
    """The versions of the libraries that determine the result of training."""
    return {name: version for name, version in versions().items() if name in ("auditor", "torch")}


def _test_pictures(entry: ZooEntry, task: BoostTask) -> NDArray[np.uint64]:
    return load_images(
        entry.dataset,
        None,
        task.tests,
        custom=entry.own_data,
        transform=entry.transform,
        channels=entry.input_size[0],
    ).pictures


def _origin(source: Source, entry: ZooEntry, loaded: LoadedModel, task: BoostTask) -> tuple[ZooEntry, Path | None]:
    """The entry of the original model, whose network takes the new weights, and the folder of its zoo."""
    if isinstance(source, CheckpointZoo):
        return source.origin(entry)
    return with_graph_digest(entry, loaded), task.place if entry.place is None else Path(entry.place)


def _run_fine_tuning(
    model: nn.Module,
    data: TrainingData,
    recipe: Recipe,
    superclasses: tuple[str, ...],
    run: SavedRun,
    context: JobContext,
) -> FineTuned:
    history: list[EpochScore] = []

    def report_epoch(score: EpochScore) -> None:
        history.append(score)
        context.save("history", json.dumps([asdict(one) for one in history]).encode())

    def load() -> dict[str, Any] | None:
        saved = run.load()
        history.extend(EpochScore(**score) for score in ([] if saved is None else saved["history"]))
        return saved

    labels, held = torch.from_numpy(data.labels), torch.from_numpy(data.held_labels)
    return fine_tune(
        model,
        (torch.from_numpy(data.images), labels),
        (torch.from_numpy(data.held_images), held),
        recipe,
        superclasses,
        on_step=_step_reporter(context, recipe, history),
        on_epoch=report_epoch,
        load=load,
        save=run.save,
    )


def _step_reporter(context: JobContext, recipe: Recipe, history: list[EpochScore]) -> Callable[[int, int, float], None]:
    """Report steps at most twice a second, because thousands of steps may fit into one second."""
    last = [0.0]

    def step(number: int, of: int, loss: float) -> None:
        if time.monotonic() - last[0] >= REPORT_SECONDS or number == of:
            last[0] = time.monotonic()
            epoch = max(1, len(history))  # the history begins with the unchanged model
            part = f"epoch {epoch}/{recipe.epochs} loss {loss:.3f}"
            context.progress(part, (epoch - 1) * of + number, recipe.epochs * of)

    return step
