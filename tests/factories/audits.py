"""Stored audits with chosen verdicts."""

import dataclasses
import json
import math

import numpy as np

from auditor.config import settings
from auditor.data.digests import picture_digests
from auditor.db.session import open_database
from auditor.db.store import Store
from auditor.records import Screening, Verdicts
from tests.factories.command import run
from tests.factories.records import REQUEST, entry, record

N = 100


def audited(
    name: str, robust: int, *, numbers: range = range(N), data: int = 0, first: int = 0, digest: str | None = "same",
    **changes: object,
) -> int:  # fmt: skip
    """Store an audit with ``robust`` surviving samples, starting at ``first``; ``data`` is the seed of the pictures."""
    pictures = np.random.default_rng(data).random((10 * N, 1, 2, 2), np.float32)[list(numbers)]
    survived = np.zeros(len(numbers), np.bool_)
    survived[first : first + robust] = True
    known = picture_digests((picture.tobytes() for picture in pictures), np.array(numbers))
    verdicts = Verdicts(
        indices=np.array(numbers),
        correct=np.ones(len(numbers), np.bool_),
        survived=survived,
        pictures=known if digest else None,
    )
    asked = {key: changes.pop(key) for key in ("norm", "eps", "dataset", "architecture", "training") if key in changes}
    sketch = changes.get("sketch")
    protocol = changes.pop("protocol", "quick")
    store = Store(open_database(settings().database_url))
    samples = changes.pop("samples", len(numbers))  # of a smaller data set, all images are used
    request = REQUEST | {"protocol": protocol, "samples": samples, "sketch": sketch}
    request |= {name: changes[name] for name in ("seed", "linearization") if name in changes}
    _, (job,) = store.create_scan("demo", request, [dataclasses.replace(entry(name), **asked)])
    found = record(
        name, protocol=protocol, n=len(numbers), robust_accuracy=robust / len(numbers), verdicts=verdicts,
        images_sha256=digest and f"{digest}{len(numbers)}{data}", **changes,
    )  # fmt: skip
    assert store.finish(job.audit_id, store.claim(job.audit_id), found)
    return job.audit_id


def screened(name: str, score: float | None, **changes: object) -> int:
    """Store an audit under the protocol ``screen``, which attacks nothing."""
    store = Store(open_database(settings().database_url))
    _, (job,) = store.create_scan("demo", REQUEST | {"protocol": "screen", "samples": None}, [entry(name)])
    screening = Screening(
        score=math.nan if score is None else score, margin=0.1, local_gap=0.1, gap=0.4, data_margin=0.1
    )
    nothing = dict.fromkeys(("clean_accuracy", "robust_accuracy", "robust_low", "robust_high"), math.nan)
    found = record(
        name, protocol="screen", n=0, attacks=(), verdicts=None, screening=screening, identity=name, **nothing,
        **changes,
    )  # fmt: skip
    assert store.finish(job.audit_id, store.claim(job.audit_id), found)
    return job.audit_id


def compare(*arguments: object) -> dict:
    result = run("results", "compare", *arguments, "--format", "json")
    assert result.exit_code == 0, result.stderr
    (found,) = json.loads(result.stdout)
    return found
