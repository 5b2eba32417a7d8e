"""The table of all measures: one JSON line a model and norm, committed; several processes may append to it."""

import hashlib
import json
import math
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.study import data as data_sets
from benchmarks.study.attacks import robust_accuracies
from benchmarks.study.predictors import describe, measure
from benchmarks.study.recipes import EPS, StudyModel
from benchmarks.study.zoo import load_trained

Row = dict[str, Any]
FILE = Path(__file__).parent / "rows.jsonl"


def read_rows(path: Path = FILE) -> list[dict[str, Any]]:
    """All rows; null stands for NaN, "inf" for infinity."""
    if not path.is_file():
        return []
    return [_decoded(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines() if line]


def latest_rows() -> dict[tuple[str, str], Row]:
    """The last row of each model under each norm."""
    return {(row["model"], row["norm"]): row for row in read_rows()}


def append_row(row: dict[str, Any], path: Path = FILE) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(_encoded(row), separators=(",", ":")) + "\n")


ATTACKED = ("n", "clean", "robust", "broken", "flags", "protocol")


def measure_model(model: StudyModel, norm: str, protocol: str, earlier: Row | None = None) -> Row:
    """The row of a trained model under one norm; an ``earlier`` row of the same weights saves the attacks."""
    torch.set_num_threads(1)
    started = time.perf_counter()
    data = data_sets.load(model.data)
    network, training = load_trained(model)
    eps = EPS[model.data][norm]
    measures = describe(measure(network, data, norm=norm, eps=eps))
    measured = time.perf_counter()
    if earlier is not None and earlier["digest"] == training["digest"]:
        attacks = {name: earlier[name] for name in ATTACKED}
    else:
        attacks = robust_accuracies(network, data.test_images, data.test_labels, norm=norm, eps=eps, protocol=protocol)
    return {
        "model": model.name,
        "data": model.data,
        "data_digest": digest_of(data),
        "family": model.family,
        "training": model.training,
        "seed": model.recipe.seed,
        "width": model.width,
        "final": model.final,
        "norm": norm,
        "eps": eps,
        **training,
        **attacks,
        **measures,
        "seconds": {"measures": measured - started, "attacks": time.perf_counter() - measured},
    }


def digest_of(data: data_sets.DataSet) -> str:
    digest = hashlib.sha256()
    for tensor in (data.images, data.labels, data.test_images, data.test_labels):
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()[:16]


def _encoded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _encoded(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_encoded(part) for part in value]
    if isinstance(value, float):
        if math.isnan(value):
            return None
        if math.isinf(value):
            return "inf" if value > 0 else "-inf"
        return float(f"{value:.6g}")
    return value


def _decoded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _decoded(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_decoded(part) for part in value]
    if value is None:
        return math.nan
    return float(value) if value in ("inf", "-inf") else value
