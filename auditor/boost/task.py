"""From a zoo entry to a checkpoint, in whatever process: load the model and its training images, fine-tune, write."""

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
from auditor.errors import EnvironmentUnusableError, MeasurementError, first_line
from auditor.files import write_atomically
from auditor.records import JobContext, ZooEntry
from auditor.records.boosts import OWNER, RUN, BoostOutcome, BoostTask, EpochScore, Recipe
from auditor.records.versions import versions
from auditor.zoo import Source
from auditor.zoo.checkpoint import FILE, CheckpointZoo, write_checkpoint
from auditor.zoo.digest import state_dict_digest
from auditor.zoo.normalized import network_of

TELL_SECONDS = 0.5


def boost(source: Source, entry: ZooEntry, asked: BoostTask, context: JobContext) -> BoostOutcome:
    """Fine-tune one model; goes on from the last epoch of an earlier attempt. Tells each epoch by ``context.save``.

    Raises:
        AuditorError: the model or the training images cannot be loaded, do not fit each other or the recipe, or the
            checkpoint cannot be written.
    """
    hierarchy = hierarchy_of(entry)
    _take_folder(asked)
    data = load_training(
        entry.dataset,
        asked.training,
        own=entry.own_data,
        transform=entry.transform,
        channels=entry.input_size[0],
        tests=_test_pictures(entry, asked),
    )
    loaded = source.load(entry)
    model = loaded.model.to(asked.device)
    run = SavedRun(
        asked.checkpoints / str(asked.number) / RUN,
        run_key(asked.recipe, loaded.weights_sha256, data.digest, _deciding()),
    )
    found = _fine_tuned(model, data, asked.recipe, hierarchy.superclasses, run, context)
    if not context.renew_lease():
        raise MeasurementError("the boost belongs to another process by now: its checkpoint is not written")
    state = network_of(model).state_dict()
    origin, place = _origin(source, entry, asked)
    write_checkpoint(
        asked.checkpoints,
        asked.number,
        state,
        replace(origin, norm=entry.norm, eps=entry.eps, threat_model=entry.threat_model),
        place=place,
        description=f"{entry.model}, fine-tuned with {asked.recipe.method}",
        training={**asdict(asked.recipe), "parent": entry.model, "lineage": [*lineage(entry), entry.model]},
    )
    return BoostOutcome(
        parent=entry.model,
        parent_sha256=loaded.weights_sha256,
        weights_sha256=state_dict_digest(state),
        data_sha256=data.digest,
        best_epoch=found.best.number,
        stopped=found.stopped,
        versions=versions(),
    )


def _take_folder(asked: BoostTask) -> None:
    """Numbers are a database's own; a folder that two databases share would lose the one's checkpoint to the other's.

    Raises:
        EnvironmentUnusableError: the folder of this number is another boost's, or cannot be written.
    """
    folder = asked.checkpoints / str(asked.number)
    owner = folder / OWNER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not owner.exists() and not (folder / FILE).exists():
            with write_atomically(owner) as file:
                file.write(asked.owner.encode())
        mine = owner.exists() and owner.read_text(encoding="utf-8") == asked.owner
    except OSError as error:
        raise EnvironmentUnusableError(f"cannot write the checkpoint's folder {folder}: {first_line(error)}") from error
    if not mine:
        raise EnvironmentUnusableError(
            f"{folder} holds a checkpoint of another database: set AUDITOR_CHECKPOINTS to a folder for this one"
        )


def lineage(entry: ZooEntry) -> list[str]:
    """The models before this one, the zoo's own first."""
    found: list[str] = entry.training.get("lineage", []) if entry.source == "checkpoint" else []
    return found


def _deciding() -> dict[str, str]:
    """The versions that training depends on."""
    return {name: version for name, version in versions().items() if name in ("auditor", "torch")}


def _test_pictures(entry: ZooEntry, asked: BoostTask) -> NDArray[np.uint64]:
    return load_images(
        entry.dataset,
        None,
        asked.tests,
        own=entry.own_data,
        transform=entry.transform,
        channels=entry.input_size[0],
    ).pictures


def _origin(source: Source, entry: ZooEntry, asked: BoostTask) -> tuple[ZooEntry, Path | None]:
    if isinstance(source, CheckpointZoo):
        return source.origin(entry)
    return entry, asked.place if entry.place is None else Path(entry.place)


def _fine_tuned(
    model: nn.Module,
    data: TrainingData,
    recipe: Recipe,
    superclasses: tuple[str, ...],
    run: SavedRun,
    context: JobContext,
) -> FineTuned:
    history: list[EpochScore] = []

    def told(score: EpochScore) -> None:
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
        on_step=_teller(context, recipe, history),
        on_epoch=told,
        load=load,
        save=run.save,
    )


def _teller(context: JobContext, recipe: Recipe, history: list[EpochScore]) -> Callable[[int, int, float], None]:
    """Tell of steps, twice a second at most: thousands may fit into one."""
    last = [0.0]

    def step(number: int, of: int, loss: float) -> None:
        if time.monotonic() - last[0] >= TELL_SECONDS or number == of:
            last[0] = time.monotonic()
            epoch = max(1, len(history))  # the model as it came is the first of them
            part = f"epoch {epoch}/{recipe.epochs} loss {loss:.3f}"
            context.progress(part, (epoch - 1) * of + number, recipe.epochs * of)

    return step
