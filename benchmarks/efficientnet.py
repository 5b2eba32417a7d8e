"""The linear map of EfficientNet-Lite0, trained on ImageNet: its Gram matrix, kept, and its scores at each level."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from safetensors.torch import load_file

from auditor import clustering
from auditor.clustering.scores import PERMUTATIONS
from auditor.data.hierarchies import load_hierarchy, outline_of
from auditor.linear import template_gram
from auditor.linear.mode import BatchNorm
from examples.efficientnet_lite0 import write_weights

CLASSES = tuple(outline_of("imagenet").leaves.values())


def gram(batch_norm: BatchNorm, folder: Path) -> dict[str, Any]:
    """``W Wᵀ`` in float64 from ``efficientnet-BATCH_NORM.npz`` in the folder, computed and written there if need be."""
    file = folder / f"efficientnet-{batch_norm}.npz"
    if not file.exists():
        model = timm.create_model("tf_efficientnet_lite0", pretrained=False)
        with tempfile.TemporaryDirectory() as scratch:
            write_weights(Path(scratch) / "weights.safetensors")
            model.load_state_dict(load_file(Path(scratch) / "weights.safetensors"))
        started = time.perf_counter()
        found = template_gram(model.eval(), (3, 224, 224), batch_norm=batch_norm, double=True)
        seconds = time.perf_counter() - started
        np.savez(file, gram=found.gram.numpy(), affinity_error=found.affinity_error, seconds=seconds)
    with np.load(file) as content:
        return {name: content[name] for name in content.files}


def measure(batch_norm: BatchNorm, folder: Path) -> dict[str, Any]:
    """Effective rank, and at each level of the hierarchy the gap and its p-value: as it is, centred, deflated."""
    found = gram(batch_norm, folder)
    c = clustering.correlation(found["gram"])
    makers: dict[str, Callable[[], np.ndarray]] = {
        "weights": lambda: c,
        "centred": lambda: clustering.correlation(clustering.centred(found["gram"])),
        "deflated": lambda: clustering.deflated(c),
    }
    matrices = {kind: make() for kind, make in makers.items()}
    hierarchy = load_hierarchy("imagenet", CLASSES)
    levels = []
    for number, labels in enumerate(hierarchy.levels):
        level: dict[str, Any] = {"superclasses": len(set(labels)), "headline": number == hierarchy.headline}
        for kind, matrix in matrices.items():
            scores = clustering.clustering_scores(matrix, labels, levels=hierarchy.levels)
            level[kind] = {"gap": scores.gap, "p": scores.p_value, "intra": scores.intra, "inter": scores.inter}
        levels.append(level)
        print(f"efficientnet, {batch_norm}: level of {level['superclasses']} superclasses", flush=True)
    return {
        "affinity_error": float(found["affinity_error"]),
        "seconds": float(found["seconds"]),
        "effective_rank": {kind: clustering.effective_rank(matrix) for kind, matrix in matrices.items()},
        "permutations": PERMUTATIONS,
        "levels": levels,
    }


def measure_random() -> dict[str, float]:
    """The effective rank of the same network at random initialisation, from seed 0, batch norm removed."""
    torch.manual_seed(0)
    model = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    found = template_gram(model, (3, 224, 224)).gram.numpy()
    return {"effective_rank": clustering.effective_rank(clustering.correlation(found))}
