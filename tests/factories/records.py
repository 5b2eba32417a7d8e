"""Zoo entries, requests and audit records to store."""

import math
from dataclasses import fields, replace

import numpy as np

from auditor.db.store import Store
from auditor.records import (
    AttackScore,
    AuditRecord,
    Clustering,
    ClusteringScores,
    Verdicts,
    ZooEntry,
)
from auditor.records.results import ResultRow

REQUEST = {"protocol": "quick", "samples": 3, "linearization": "remove", "sketch": None, "seed": 0, "device": "cpu"}


def entry(name: str = "a") -> ZooEntry:
    return ZooEntry(
        model=f"demo:{name}",
        source="demo",
        description="a model",
        architecture={"name": "small_resnet"},
        preprocessing={},
        dataset="fashion_mnist",
        threat_model="Linf",
        norm="Linf",
        eps=0.1,
        input_size=(1, 28, 28),
        training={"method": "at"},
    )


def record(name: str = "a", identity: str = "i", robust: float = 0.5, **changes: object) -> AuditRecord:
    scores = ClusteringScores(
        intra=0.5, inter=0.1, gap=0.4, silhouette=math.nan, rand_index=1.0, cophenetic=0.9, p_value=0.01,
        effective_rank=2.0, leaf_order=(2, 0, 1), reasons={"silhouette": "no reason"},
    )  # fmt: skip
    whole = AuditRecord(
        entry=entry(name),
        identity=identity,
        protocol="quick",
        parameters={"attacks": []},
        linearization="remove",
        hierarchy="fashion_mnist",
        seed=0,
        weights_sha256="w" * 64,
        classes=("x", "y", "z"),
        superclasses=("s", "s", "t"),
        n=3,
        clean_accuracy=1.0,
        robust_accuracy=robust,
        robust_low=0.1,
        robust_high=0.9,
        affinity_error=1e-7,
        clusterings=(Clustering(kind="weights", scores=scores, matrix=np.eye(3)),),
        attacks=(
            AttackScore(attack="fgsm", parameters={"eps": 0.1}, n=3, broken=1, robust_accuracy=2 / 3, seconds=0.1),
        ),
        verdicts=Verdicts(
            indices=np.array([7, 1, 9]),
            correct=np.array([True, True, False]),
            survived=np.array([True, False, False]),
            labels=np.array([0, 1, 2]),
            predicted=np.array([0, 2, 1]),
            broken_at=np.array([-1, 0, -1]),
        ),
        flags=(),
        notes=("a note",),
        seconds=1.5,
        batch_size=256,
        versions={"torch": "2"},
    )
    return replace(whole, **changes)


def result_row(**changes: object) -> ResultRow:
    """A done result without measurements."""
    values = dict.fromkeys((field.name for field in fields(ResultRow)), None) | {
        "id": 1, "model": "demo:a", "source": "demo", "dataset": "fashion_mnist", "status": "done", "training": {},
        "threat_model": "Linf", "norm": "Linf", "eps": 0.1, "protocol": "quick", "linearization": "remove",
        "not_measurable": [], "flags": [], "notes": [], "device": "cpu", "seed": 0, "versions": {},
        "correlation": "exact",
    }  # fmt: skip
    return ResultRow(**values | changes)


def done_audit(store: Store, name: str = "a", **changes: object) -> int:
    _, (job,) = store.create_scan("demo", REQUEST, [entry(name)])
    attempt = store.claim(job.audit_id)
    assert store.finish(job.audit_id, attempt, record(name, **changes))
    return job.audit_id
