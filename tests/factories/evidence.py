"""Stored audits whose figures follow from their verdicts, and folders of evidence about them."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest
from sqlalchemy import Engine

from auditor.config import settings
from auditor.db.session import open_database
from auditor.db.store import Store
from auditor.evidence.collect import Collected, collect_scan
from auditor.evidence.export import export_evidence
from auditor.evidence.keys import load_signer, make_key
from auditor.records import AttackScore, Verdicts
from auditor.records.certificates import Certificate
from auditor.records.curves import Curve
from tests.factories.corruptions import corruption_scores
from tests.factories.records import REQUEST, entry, record

CLASSES, SUPERCLASSES = ("cat", "dog", "car"), ("animal", "animal", "vehicle")
N = 40


def wilson(count: int, n: int) -> tuple[float, float]:
    """SciPy's own Wilson interval."""
    found = binomtest(count, n).proportion_ci(0.95, method="wilson")
    return found.low, found.high


def random_verdicts(seed: int = 0, n: int = N) -> Verdicts:
    """Two attacks on samples of three classes."""
    generator = np.random.default_rng(seed)
    labels, clean = generator.integers(0, 3, n), generator.integers(0, 3, n)
    clean = np.where(generator.random(n) < 0.8, labels, clean)
    correct = clean == labels
    broken_at = np.where(correct, generator.integers(-1, 2, n), -1)
    predicted = np.where(broken_at >= 0, (labels + generator.integers(1, 3, n)) % 3, clean)
    return Verdicts(
        indices=generator.permutation(1000)[:n], correct=correct, survived=correct & (broken_at < 0),
        pictures=generator.integers(0, 2**63, n).astype(np.uint64), labels=labels, predicted=predicted,
        broken_at=broken_at,
    )  # fmt: skip


def measured(verdicts: Verdicts) -> dict[str, Any]:
    """The figures of an audit with these verdicts, as it stores them."""
    n, survivors = len(verdicts.indices), int(verdicts.survived.sum())
    low, high = wilson(survivors, n)
    values: dict[str, Any] = {
        "n": n, "clean_accuracy": float(verdicts.correct.mean()), "robust_accuracy": survivors / n, "robust_low": low,
        "robust_high": high, "verdicts": verdicts, "classes": CLASSES, "superclasses": SUPERCLASSES,
    }  # fmt: skip
    if verdicts.broken_at is None:
        return values
    standing, attacks = int(verdicts.correct.sum()), []
    for position, name in enumerate(("fgsm", "pgd")):
        broken = int((verdicts.broken_at == position).sum())
        before, standing = standing, standing - broken
        attacks.append(
            AttackScore(
                attack=name, parameters={"eps": 0.1}, n=before, broken=broken, robust_accuracy=standing / n, seconds=0.1
            )
        )
    return values | {"attacks": tuple(attacks)}


def add_curve(verdicts: Verdicts) -> Curve:
    """Sizes below 0.1 for broken samples, larger ones or none for the others."""
    generator = np.random.default_rng(1)
    n = len(verdicts.indices)
    sizes = np.where(verdicts.survived, generator.uniform(0.11, 0.6, n), generator.uniform(0.01, 0.09, n))
    sizes = np.where(verdicts.correct, sizes, 0).astype(np.float32)
    sizes[sizes > 0.4] = np.inf
    found_by = np.where((sizes > 0) & np.isfinite(sizes), 2, -1)
    return Curve(
        norm="Linf", largest=0.4, sizes=sizes, found_by=found_by, attacks=("fgsm", "pgd", "minimal"), seconds=1.0
    )


def add_bounds(verdicts: Verdicts) -> Certificate:
    certified = verdicts.survived & (np.arange(len(verdicts.indices)) % 2 == 0)
    low, high = wilson(int(certified.sum()), len(certified))
    return Certificate(
        method="bounds", parameters={"by_intervals": 1, "by_lines": 2}, certified=certified,
        accuracy=float(certified.mean()), low=low, high=high,
    )  # fmt: skip


def add_smoothing(verdicts: Verdicts) -> Certificate:
    radii = np.where(verdicts.correct, np.linspace(0.01, 0.3, len(verdicts.indices)), 0.0)
    certified = radii >= 0.1
    low, high = wilson(int(certified.sum()), len(certified))
    return Certificate(
        method="smoothing", parameters={"sigma": 0.25}, certified=certified, accuracy=float(certified.mean()), low=low,
        high=high, radii=radii, clean_accuracy=float((radii > 0).mean()), abstained=0.05,
    )  # fmt: skip


def store_attacked(
    name: str = "a", *, seed: int = 0, curve: bool = False, certify: str | None = None, **changes: Any
) -> int:
    """Store a done audit in a scan of its own; its ID."""
    verdicts = random_verdicts(seed)
    parts: dict[str, Any] = {"curve": add_curve(verdicts)} if curve else {}
    if certify is not None:
        parts["certificate"] = (add_bounds if certify == "bounds" else add_smoothing)(verdicts)
    one = replace(entry(name), file_sha256="f" * 64)
    store = Store(engine())
    _, (job,) = store.create_scan("demo", REQUEST, [one])
    attempt = store.claim(job.audit_id)
    found = record(
        name, entry=one, identity=f"{name}{seed}", weights_sha256="a" * 64, images_sha256="d" * 64,
        **measured(verdicts) | parts | changes,
    )  # fmt: skip
    assert store.finish(job.audit_id, attempt, found)
    return job.audit_id


def store_corrupted(name: str = "c") -> int:
    """Store an audit under common corruptions; its ID."""
    from auditor.statistics import mean_interval

    generator = np.random.default_rng(2)
    clean = random_verdicts(3)
    right = generator.random((75, N)) < 0.9
    verdicts = Verdicts(
        indices=clean.indices, correct=clean.correct, survived=clean.correct & right.all(0), labels=clean.labels
    )
    accuracy, low, high = mean_interval(right.mean(0))
    one = replace(entry(name), threat_model="corruptions", norm="corruptions_generated", eps=0.0)
    store = Store(engine())
    _, (job,) = store.create_scan("demo", REQUEST, [one])
    attempt = store.claim(job.audit_id)
    values = measured(verdicts) | {"robust_accuracy": accuracy, "robust_low": low, "robust_high": high, "attacks": ()}
    found = record(name, entry=one, identity="c", corruptions=corruption_scores(right), **values)
    assert store.finish(job.audit_id, attempt, found)
    return job.audit_id


def store_scan() -> int:
    """Store a scan of two audited models and one that failed; its ID."""
    store = Store(engine())
    entries = [replace(entry(name), file_sha256="f" * 64) for name in ("a", "b", "broken")]
    scan_id, jobs = store.create_scan("demo", REQUEST, entries)
    for seed, (job, one) in enumerate(zip(jobs, entries, strict=True)):
        attempt = store.claim(job.audit_id)
        if one.model == "demo:broken":
            assert store.fail(job.audit_id, attempt, "its file is damaged")
            continue
        verdicts = random_verdicts(seed)
        found = record(
            one.model.partition(":")[2], entry=one, identity=f"scan{seed}", weights_sha256="a" * 64,
            images_sha256="d" * 64, curve=add_curve(verdicts), certificate=add_bounds(verdicts),
            **measured(verdicts),
        )  # fmt: skip
        assert store.finish(job.audit_id, attempt, found)
    return scan_id


def engine() -> Engine:
    return open_database(settings().database_url)


def make_evidence(folder: Path) -> tuple[Path, Collected]:
    """Evidence of :func:`store_scan` in ``folder/evidence``, signed by the key ``folder/signer.key``."""
    key = folder / "signer.key"
    make_key(key)
    collected = collect_scan(engine(), store_scan())
    export_evidence(collected, load_signer(key), folder / "evidence")
    return folder / "evidence", collected


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Collected]:
    """The same, once for a module; its database is gone when the tests run."""
    place = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUDITOR_DATABASE_URL", f"sqlite:///{place}/auditor.db")
        settings.cache_clear()
        found = make_evidence(place)
    settings.cache_clear()
    return found


@pytest.fixture
def folder(made: tuple[Path, Collected], tmp_path: Path) -> Path:
    """A copy of the evidence to damage."""
    shutil.copytree(made[0].parent, tmp_path, dirs_exist_ok=True)
    return tmp_path / "evidence"


@pytest.fixture
def collected(made: tuple[Path, Collected]) -> Collected:
    """What the evidence was made of."""
    return made[1]
