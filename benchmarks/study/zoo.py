"""Trained weights in a folder outside the repository, and how they get there: resumable, one model after another."""

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from auditor.zoo.digest import state_dict_digest
from benchmarks.study import data
from benchmarks.study.recipes import StudyModel
from benchmarks.study.training import build, train


def folder() -> Path:
    """``$STUDY_RUNS``, or ~/.cache/auditor-study."""
    return Path(os.environ.get("STUDY_RUNS", "~/.cache/auditor-study")).expanduser()


def file_of(model: StudyModel) -> Path:
    return folder() / f"{model.name.replace('/', '-')}.safetensors"


def is_trained(model: StudyModel) -> bool:
    return file_of(model).is_file()


def train_and_save(model: StudyModel) -> dict[str, Any]:
    """Train a model, write its weights and, beside them, how long that took."""
    network, seconds = train(model, data.load(model.data))
    weights = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    found = {
        "training_seconds": round(seconds, 1),
        "digest": state_dict_digest(weights),
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "torch": torch.__version__,
    }
    path = file_of(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".json").write_text(json.dumps(found))
    partial = path.with_suffix(f".part{os.getpid()}")
    save_file(weights, partial)
    partial.replace(path)
    return found


def load_trained(model: StudyModel) -> tuple[nn.Module, dict[str, Any]]:
    """The trained network in eval mode, and what was noted about its training."""
    path = file_of(model)
    network = build(model, data.load(model.data))
    network.load_state_dict(load_file(path))
    return network.eval(), json.loads(path.with_suffix(".json").read_text())
