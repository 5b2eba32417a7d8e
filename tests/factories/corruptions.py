"""Stored audits under common corruptions."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from auditor.db.store import Store
from auditor.records import Verdicts
from auditor.records.corruptions import GENERATED, CorruptionScore, variants
from tests.factories.records import REQUEST, entry, record


def corruption_scores(right: NDArray[np.bool_], norm: str = GENERATED) -> tuple[CorruptionScore, ...]:
    """The scores of verdicts ``(75, N)``."""
    return tuple(
        CorruptionScore(corruption=name, severity=severity, n=len(row), right=int(row.sum()), verdicts=row)
        for (name, severity), row in zip(variants(norm), right, strict=True)
    )


def corrupted_audit(store: Store, right: NDArray[np.bool_], *, name: str = "a", norm: str = GENERATED) -> int:
    """A done audit of these verdicts ``(75, N)``, all clean images right; its ID."""
    one = replace(entry(name), threat_model="corruptions", norm=norm, eps=0.0)
    _, (job,) = store.create_scan("demo", REQUEST, [one])
    attempt = store.claim(job.audit_id)
    assert attempt is not None
    n = right.shape[1]
    made = record(
        name,
        identity=f"{norm} {right.sum()}",
        entry=one,
        attacks=(),
        n=n,
        robust_accuracy=float(right.mean()),
        images_sha256="d" * 64,
        verdicts=Verdicts(
            indices=np.arange(n),
            correct=np.ones(n, np.bool_),
            survived=right.all(0),
            pictures=np.arange(n, dtype=np.uint64),
            labels=np.arange(n) % 3,
        ),
        corruptions=corruption_scores(right, norm),
    )
    assert store.finish(job.audit_id, attempt, made)
    return job.audit_id
