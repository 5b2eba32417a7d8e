"""Templates to store and draw, and files of adversarial images."""

from pathlib import Path

import numpy as np

from auditor.attacks.adversarials import Adversarials, save_adversarials
from auditor.config import settings
from auditor.db.session import open_database
from auditor.db.store import Store
from auditor.records import Clustering, ClusteringScores
from auditor.records.templates import Templates
from tests.factories.records import done_audit


def templates(classes: int, channels: int = 1, side: int = 6, kind: str = "linearized", seed: int = 0) -> Templates:
    values = np.random.default_rng(seed).normal(size=(classes, channels, side, side))
    return Templates(kind=kind, values=values, size=(side, side), probes=64 if kind == "local" else None)


def matrix(classes: int, kind: str, order: tuple[int, ...]) -> Clustering:
    """A matrix without structure, whose stored leaf order is this one."""
    scores = ClusteringScores(
        intra=0.5, inter=0.1, gap=0.4, silhouette=0.1, rand_index=0.2, cophenetic=0.9, p_value=0.01,
        effective_rank=2.0, leaf_order=order,
    )  # fmt: skip
    return Clustering(kind=kind, scores=scores, matrix=np.eye(classes))


def audit_of(count: int, *parts: Templates, **changes: object) -> int:
    """Store an audit of ``count`` classes, in reverse order, with these templates; its number."""
    values = {
        "classes": tuple(f"class {k}" for k in range(count)),
        "superclasses": tuple(f"family {k % 7}" for k in range(count)),
        "clusterings": (matrix(count, "weights", tuple(range(count))[::-1]),),
        "templates": parts,
    }
    return done_audit(Store(open_database(settings().database_url)), **values | changes)


def adversarials(count: int, channels: int = 1, side: int = 5, eps: float = 0.1) -> Adversarials:
    """Random images of levels of 255, moved by up to ``eps``; labels 0, 1, 2, 0, …; every other one by pgd-20."""
    random = np.random.default_rng(1)
    levels = random.integers(0, 256, (count, channels, side, side), dtype=np.uint8)
    clean = np.divide(levels, np.float32(255), dtype=np.float32)
    moved = (clean + random.uniform(-eps, eps, clean.shape)).clip(0, 1).astype(np.float32)
    labels = np.arange(count) % 3
    return Adversarials(
        images=moved,
        indices=10 + np.arange(count),
        labels=labels,
        predicted=(labels + 1) % 3,
        attacks=np.where(np.arange(count) % 2, "pgd-20", "fgsm"),
    ).beside(clean, 10 + np.arange(count))


def saved(path: Path, count: int = 7, model: str = "demo:a", identity: str = "i", **changes: object) -> Adversarials:
    """Write a file of :func:`adversarials`, and return what is in it."""
    made = adversarials(count, **changes)
    save_adversarials(path, made, model=model, identity=identity, norm="Linf", eps=0.1)
    return made
