"""A database with a believable zoo, in seconds: many models, nights of audits, and every other kind of row.

    python -m tests.factories.large_zoo sqlite:////tmp/zoo.db [--models 1000] [--nights 4] [--long-names]

The same arguments give the same rows, except for times, which count back from ``now``, and the secret of the token.
Scores and accuracies are drawn; they agree with each other, and with the verdicts, but come from no network.
"""

import argparse
import functools
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from sqlalchemy import Connection, Engine, insert, text

from auditor.data.hierarchies import load_hierarchy
from auditor.data.known import CLASSES
from auditor.db import models as tables
from auditor.db.codec import pack_bits, pack_indices, pack_matrix, pack_numbers, pack_pictures, pack_templates
from auditor.db.session import open_database
from auditor.records import AuditRequest, ZooEntry
from auditor.records.entries import entry_to
from auditor.records.sources import SOURCE_NAMES
from auditor.scans.request import ScanRequest
from auditor.statistics import wilson_interval
from tests.factories.large_zoo_jobs import Jobs, insert_jobs

Row = dict[str, Any]
AWKWARD = "_<b>широкий</b>&amp;模型_*-[ab]?_$(x)_'\"_" + "unbroken" * 8
"""Part of long names: markup, globs, quotes, other scripts, and no place to break a line."""
SENTENCE = "expected images of 32 x 32 pixels with 3 channels, got 28 x 28 with 1 from /srv/data/{folder}: " * 6
FAMILIES = ("small_resnet", "resnet18", "resnet50", "wide_resnet28_10", "vit_tiny", "convnext_nano", "deit_small",
            "mobilenet", "efficientnet_lite0", "preact_resnet18", "densenet121", "mlp")  # fmt: skip
METHODS: dict[str | None, tuple[float, float]] = {
    "at": (0.5, 0.12), "trades": (0.53, 0.1), "standard": (0.04, 0.03), None: (0.2, 0.2),
}  # fmt: skip
"""Mean and deviation of the robust accuracy by the method of training."""
SAMPLES = {"screen": 0, "quick": 256, "standard": 1000}
VERSIONS = {"auditor": "0.1.0", "torch": "2.10", "numpy": "2.3", "scipy": "1.16", "pyautoattack": "0.2"}
KINDS = ("weights", "centred", "deflated", "features")
ATTACKS = ("fgsm", "pgd-20", "apgd-ce", "square")


@dataclass(frozen=True)
class LargeZoo:
    """Numbers and names of rows that pages show; ``token`` is one with the scope admin.

    ``done``, ``pictured`` (with templates), ``failed``, ``cancelled``, ``running``, ``queued``: audits. ``compared``:
    models with the same images.
    """

    models: int
    audits: int
    done: int
    pictured: int
    failed: int
    cancelled: int
    running: int
    queued: int
    scan: int
    running_scan: int
    compared: tuple[str, ...]
    jobs: Jobs

    @property
    def token(self) -> str:
        return self.jobs.token


@dataclass
class _Zoo:
    """What the rows are made from. Audits and scans are numbered from 1, in the order of their insertion."""

    connection: Connection
    now: datetime
    nights: int
    long: bool
    draw: random.Random = field(default_factory=lambda: random.Random(0))
    audits: int = 0
    scans: int = 0
    found: dict[str, int] = field(default_factory=dict)
    boosted: list[int] = field(default_factory=list)
    compared: list[str] = field(default_factory=list)


def fill_zoo(
    engine: Engine, *, models: int = 1000, nights: int = 4, long_names: bool = False, now: datetime | None = None
) -> LargeZoo:
    """Fill an empty database; every night, each source is scanned, and each model has one audit.

    The last night ends at ``now``; some of its audits failed or were cancelled, and a scan of today is under way.
    """
    at = (now or datetime.now(UTC)).replace(microsecond=0)
    with engine.begin() as connection:
        zoo = _Zoo(connection, at, nights, long_names)
        entries = [_entry(zoo, number) for number in range(1, models + 1)]
        _insert(connection, tables.Model, [_model(number, entry) for number, entry in enumerate(entries, 1)])
        _insert(connection, tables.Published, list(_published(zoo, entries)))
        for night in range(nights):
            for source in SOURCE_NAMES:
                mine = [number for number, entry in enumerate(entries, 1) if entry.source == source]
                _insert_scan(zoo, entries, mine, night)
        running_scan = _insert_running_scan(zoo, entries)
        jobs = insert_jobs(connection, entries, at, long_names, audits=zoo.boosted, running=zoo.found)
        if connection.dialect.name == "postgresql":
            for table in ("models", "scans", "audits", "trainings", "schedules", "tokens"):
                connection.execute(text(f"SELECT setval('{table}_id_seq', (SELECT MAX(id) FROM {table}))"))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))
    states = {state: zoo.found[state] for state in ("done", "pictured", "failed", "cancelled", "running", "queued")}
    return LargeZoo(
        models=models, audits=zoo.audits, scan=zoo.scans - 1, running_scan=running_scan,
        compared=tuple(zoo.compared[:5]), jobs=jobs, **states,
    )  # fmt: skip


def _insert(connection: Connection, table: Any, rows: Sequence[Row]) -> None:
    if rows:
        connection.execute(insert(table), rows)


def _entry(zoo: _Zoo, number: int) -> ZooEntry:
    draw = zoo.draw
    source = "demo" if number <= 20 else ("timm", "robustbench", "local", "timm", "robustbench", "timm")[number % 6]
    source = "checkpoint" if number > 20 and number % 20 == 0 else source
    dataset = {
        "demo": "fashion_mnist", "timm": "imagenet", "local": ("cifar10", "garden_flowers", "svhn")[number % 3],
        "robustbench": ("cifar10", "cifar10", "cifar100", "cifar10", "imagenet")[number % 5],
        "checkpoint": "fashion_mnist",
    }[source]  # fmt: skip
    family = FAMILIES[number % len(FAMILIES)]
    method = draw.choices(tuple(METHODS), (4, 3, 3, 1))[0] if source != "timm" else (None, "standard")[number % 2]
    name = str(number) if source == "checkpoint" else f"{family.replace('_', '-')}-{method or 'unknown'}-{number:04}"
    if zoo.long:
        name = f"{name}{AWKWARD}"
        dataset = f"{dataset}_of_every_season_and_{'weather' * 6}" if dataset == "garden_flowers" else dataset
    radius = {"fashion_mnist": 0.1, "imagenet": 4 / 255}.get(dataset, 8 / 255)
    threat = ("L2", 0.5) if source == "robustbench" and number % 10 == 1 else ("Linf", radius)
    training: Row = {} if method is None else {"method": method, "epochs": 10 + number % 90}
    if method in ("at", "trades"):
        training |= {"norm": threat[0], "eps": threat[1]} | ({"beta": 0.1} if number % 4 == 0 else {})
    size = (1, 28, 28) if dataset == "fashion_mnist" else (3, 224, 224) if dataset == "imagenet" else (3, 32, 32)
    words = f"{family}, trained {'in a way nobody recorded' if method is None else f'by {method}'} on {dataset}"
    return ZooEntry(
        model=f"{source}:{name}", source=source, description=f"{words}. {SENTENCE}" if zoo.long else words,
        architecture={"name": family, "arguments": {"width": 16 * (1 + number % 4)}}, preprocessing={},
        dataset=dataset, threat_model=threat[0], norm=threat[0], eps=threat[1], input_size=size, training=training,
        place="/srv/zoos/garden" if source == "local" else None,
    )  # fmt: skip


def _model(number: int, entry: ZooEntry) -> Row:
    names = ("source", "description", "dataset", "architecture", "training", "place")
    return {"id": number, "name": entry.model, **{name: getattr(entry, name) for name in names}}


def _published(zoo: _Zoo, entries: Sequence[ZooEntry]) -> Iterator[Row]:
    for number, entry in enumerate(entries, 1):
        if entry.source == "robustbench":
            robust = round(_quality(number, entry) - (0.08 if number % 40 == 2 else 0.01), 4)
            yield {
                "model": entry.model, "norm": entry.norm, "eps": round(entry.eps, 3), "clean_accuracy": 0.86,
                "robust_accuracy": max(0.0, robust), "autoattack_accuracy": max(0.0, robust),
                "external_accuracy": None, "corruptions_accuracy": None, "unreliable": number % 30 == 4,
                "architecture": str(entry.architecture["name"]), "venue": "NeurIPS 2024",
                "paper": f"Robust features, part {number}" + (AWKWARD if zoo.long else ""),
                "link": f"https://arxiv.org/abs/2401.{number:05}",
            }  # fmt: skip


def _quality(number: int, entry: ZooEntry) -> float:
    """The robust accuracy that a model has every night, but for noise."""
    mean, deviation = METHODS[entry.training.get("method")]
    return min(0.9, max(0.0, random.Random(number).gauss(mean, deviation)))


def _protocol(number: int, entry: ZooEntry) -> str:
    if number % 11 == 0:
        return "screen"
    return "standard" if entry.source == "robustbench" else "quick"


def _insert_scan(zoo: _Zoo, entries: Sequence[ZooEntry], numbers: Sequence[int], night: int) -> None:
    if not numbers:
        return
    zoo.scans += 1
    last, at = night == zoo.nights - 1, zoo.now - timedelta(days=zoo.nights - 1 - night, hours=6)
    jobs = [_Audit(zoo, number, entries[number - 1], night) for number in numbers]
    if last:  # some models are audited in a second setting, too
        second = [(number, replace(entries[number - 1], threat_model="L2", norm="L2", eps=0.5)) for number in numbers]
        jobs += [
            _Audit(zoo, number, entry, night, only=True)
            for number, entry in second
            if number % 8 == 0 and entries[number - 1].norm != "L2"
        ]
    ids = range(zoo.audits + 1, zoo.audits + len(jobs) + 1)
    zoo.audits += len(jobs)
    source, interrupted = entries[numbers[0] - 1].source, night == zoo.nights - 2 and numbers[0] % 2 == 0
    request = ScanRequest.make(AuditRequest(protocol=jobs[0].protocol), samples=None)
    if source == "local":
        request = replace(request, folder="/srv/zoos/garden" + (f"/{AWKWARD}" if zoo.long else ""), trust_code=True)
    scan = {
        "id": zoo.scans, "source": source, "request": request.to_json(), "state": "done", "queue": "cpu",
        "worker": None, "pending": 0, "started_at": at, "finished_at": at + timedelta(hours=5),
    }  # fmt: skip
    if interrupted:
        scan |= {"state": "interrupted"}
    _insert(zoo.connection, tables.Scan, [scan])
    rows = [
        job.row(number, at + timedelta(seconds=60 * place))
        for place, (number, job) in enumerate(zip(ids, jobs, strict=True))
    ]
    _insert(zoo.connection, tables.Audit, rows)
    _insert(zoo.connection, tables.ScanAudit, [_link(zoo.scans, number) for number in ids])
    done = [(number, job) for number, job in zip(ids, jobs, strict=True) if job.state == "done"]
    kinds = KINDS if last else KINDS[:1]
    parts = [job.clustering(number, kind) for number, job in done for kind in kinds]
    _insert(zoo.connection, tables.Clustering, parts)
    if last:
        _insert(zoo.connection, tables.Screening, [job.screening(number) for number, job in done])
        _insert(zoo.connection, tables.AttackScore, [row for number, job in done for row in job.attacks(number)])
        _insert(zoo.connection, tables.Verdicts, [job.verdicts(number) for number, job in done if job.n])
        _insert(zoo.connection, tables.Templates, [_templates(number, job) for number, job in done if job.pictured])
        zoo.compared += [job.entry.model for _, job in done if job.comparable]
        zoo.boosted += [number for number, job in done if job.entry.dataset == "fashion_mnist" and job.n]
        pictured = [number for number, job in done if job.pictured and job.n]
        zoo.found |= {"pictured": pictured[0]} if pictured else {}
        for number, job in zip(ids, jobs, strict=True):
            if job.state != "done" or job.comparable:
                zoo.found.setdefault(job.state, number)


def _link(scan: int, audit: int, reused: bool = False) -> Row:
    return {"scan_id": scan, "audit_id": audit, "reused": reused, "reverified": False}


class _Audit:
    """One audit of a night, or of a setting that was ``only`` audited in the last one."""

    def __init__(self, zoo: _Zoo, number: int, entry: ZooEntry, night: int, *, only: bool = False) -> None:
        self.zoo, self.number, self.entry, self.night, self.only = zoo, number, entry, night, only
        self.protocol = _protocol(number, entry)
        self.nights_ago = zoo.nights - 1 - night
        self.state = _state(number, self.nights_ago)
        self.data = data_of(entry.dataset)
        self.n = SAMPLES[self.protocol]
        quality = _quality(number, entry) * (0.9 if entry.norm == "L2" else 1)
        self.survived = round(self.n * min(0.95, max(0.0, zoo.draw.gauss(quality, 0.01))))
        self.correct = max(self.survived, round(self.n * min(0.99, zoo.draw.gauss(0.85, 0.04))))
        self.gap = 0.12 + 0.5 * quality + zoo.draw.gauss(0, 0.08)

    @property
    def pictured(self) -> bool:
        return self.entry.source == "demo"

    @property
    def comparable(self) -> bool:
        """Whether it was attacked under the setting of most models of RobustBench."""
        return self.protocol == "standard" and self.entry.dataset == "cifar10" and self.entry.norm == "Linf"

    def row(self, audit: int, at: datetime) -> Row:
        """The row of an audit that began at this time."""
        done, latest = self.state == "done", self.nights_ago == 0 and self.state != "cancelled"
        before = self.nights_ago == 1 and not self.only
        low, high = wilson_interval(self.survived, self.n) if self.n else (None, None)
        folder = AWKWARD if self.zoo.long else "garden"
        reasons = {
            "failed": SENTENCE.format(folder=folder) if self.zoo.long else "the weights have no key 'fc.weight'",
            "cancelled": f"cancelled by {'the operator of the night shift, ' * 9 if self.zoo.long else 'operator'}",
            "interrupted": "interrupted",
        }
        flags = ["randomized"] if self.number % 20 == 7 else ["zero_gradients"] if self.number % 33 == 8 else []
        return {
            "id": audit, "model_id": self.number, "identity": f"{audit:064x}" if done else None,
            "entry": entry_to(self.entry) if self.nights_ago == 0 else None, "queue": "cpu", "state": self.state,
            "attempt": 1, "losses": 0, "worker": "worker-1:4711", "lease_until": None, "lease_seconds": None,
            "reason": reasons.get(self.state), "cancelling": None,
            "latest": latest or (before and _state(self.number, 0) == "cancelled"),
            "latest_done": (self.nights_ago == 0 and done) or (before and _state(self.number, 0) != "done"),
            "dataset": self.entry.dataset, "threat_model": self.entry.threat_model, "norm": self.entry.norm,
            "eps": self.entry.eps, "protocol": self.protocol, "samples": self.n, "linearization": "remove",
            "sketch": 256 if self.entry.dataset == "imagenet" and self.number % 2 else None,
            "seed": 1 if self.night == 0 and self.number % 5 == 0 else 0,
            "parameters": {"attacks": [{"name": "pgd-20", "steps": 20}]} if done else {},
            "hierarchy": self.entry.dataset if done else None, "classes": list(self.data.classes) if done else [],
            "superclasses": list(self.data.superclasses) if done else [],
            "weights_sha256": f"{self.number + (1 << 240):064x}" if done else None,
            "images_sha256": f"{len(self.entry.dataset) + (1 << 244):064x}" if self.n and done else None,
            "n": self.n if done else None, "clean_accuracy": self.correct / self.n if self.n and done else None,
            "robust_accuracy": self.survived / self.n if self.n and done else None,
            "robust_low": low if done else None, "robust_high": high if done else None,
            "affinity_error": 1e-7 if done else None, "flags": flags if done else [],
            "notes": ["the outputs spread by 0.02: the attacks run on the outputs times 51"] if flags and done else [],
            "not_measurable": ["cophenetic: one superclass"] if self.number % 50 == 9 and done else [],
            "seconds": 40.0 + self.number % 60, "device": "cpu", "batch_size": 256 if done else None,
            "versions": VERSIONS if done else {}, "targeted": None, "adversarials": None, "queued_at": at,
            "started_at": at + timedelta(seconds=5),
            "finished_at": None if self.state in ("running", "queued") else at + timedelta(seconds=60),
            "confirmed_at": at + timedelta(seconds=60) if self.state in ("done", "failed") else None, "sent_at": at,
        }  # fmt: skip

    def clustering(self, audit: int, kind: str) -> Row:
        draw, pruned = self.zoo.draw, self.nights_ago > 0 or self.number % 70 == 3
        inter = draw.uniform(0.0, 0.3)
        sketched = self.entry.dataset == "imagenet" and self.number % 2
        return {
            "audit_id": audit, "kind": kind, "intra": inter + self.gap, "inter": inter, "gap": self.gap,
            "gap_error": 0.01 if sketched and kind != "features" else None, "silhouette": draw.uniform(-0.2, 0.6),
            "rand_index": draw.uniform(0, 1), "cophenetic": draw.uniform(0.5, 0.95), "tree_spearman": None,
            "p_value": 0.5 ** draw.randint(2, 12), "effective_rank": draw.uniform(2, 9), "reasons": {},
            "leaf_order": list(self.data.order), "size": len(self.data.classes),
            "matrix": None if pruned else self.data.matrices[self.number % len(self.data.matrices)],
        }  # fmt: skip

    def screening(self, audit: int) -> Row:
        draw, score = (
            self.zoo.draw,
            min(0.99, max(0.01, _quality(self.number, self.entry) + self.zoo.draw.gauss(0, 0.15))),
        )
        return {
            "audit_id": audit, "screen_score": score, "margin": self.entry.eps * (0.2 + 2 * score),
            "local_gap": self.gap + draw.gauss(0, 0.05), "data_margin": self.entry.eps * score if self.n else None,
            "statistics": {"log_margin": score, "confidence": 0.8}, "findings": [], "reasons": {},
        }  # fmt: skip

    def attacks(self, audit: int) -> Iterator[Row]:
        standing = self.correct
        for position, attack in enumerate(ATTACKS if self.n else ()):
            left = self.survived if position == len(ATTACKS) - 1 else (standing + 3 * self.survived) // 4
            yield {
                "audit_id": audit, "position": position, "attack": attack, "n": standing, "broken": standing - left,
                "parameters": {"eps": self.entry.eps, "norm": self.entry.norm, "steps": 20},
                "robust_accuracy": left / self.n, "seconds": 4.5 * (1 + position),
            }  # fmt: skip
            standing = left

    def verdicts(self, audit: int) -> Row:
        """Verdicts by sample, which agree with the accuracies and with the attacks."""
        order = np.random.default_rng(self.number).permutation(self.n)
        correct, survived = np.zeros((2, self.n), np.bool_)
        correct[order[: self.correct]] = survived[order[: self.survived]] = True
        classes = len(self.data.classes)
        labels = np.arange(self.n) % classes
        broken, position = np.zeros(self.correct - self.survived, np.int64), 0
        for score in self.attacks(audit):
            broken[position : position + score["broken"]] = score["position"]
            position += score["broken"]
        return {
            "audit_id": audit, "n": self.n, "indices": pack_indices(np.arange(self.n)), "correct": pack_bits(correct),
            "survived": pack_bits(survived), "pictures": pack_pictures(pictures_of(self.entry.dataset)[: self.n]),
            "labels": pack_numbers(labels), "predicted": pack_numbers((labels[~survived] + 1 + self.number) % classes),
            "broken_at": pack_numbers(broken),
        }  # fmt: skip


def _state(number: int, nights_ago: int) -> str:
    """Three in a hundred audits of the last night failed, and two were cancelled; the night before, all went well."""
    if nights_ago == 1:
        return "done"
    failed, cancelled = (number + 31 * nights_ago) % 33 == 1, (number + 31 * nights_ago) % 47 == 2
    return "failed" if failed else "cancelled" if cancelled else "done"


def _templates(audit: int, job: _Audit) -> Row:
    values = np.random.default_rng(job.number).normal(size=(10, 1, 28, 28))
    values += 3 * np.sin(np.linspace(0, 6, 28))[None, None, :, None] * np.arange(1, 11)[:, None, None, None] / 10
    scales, pixels = pack_templates(values)
    return {
        "audit_id": audit, "kind": "linearized", "probes": None, "size": [28, 28], "shape": [10, 1, 28, 28],
        "scales": scales, "pixels": pixels,
    }  # fmt: skip


def _insert_running_scan(zoo: _Zoo, entries: Sequence[ZooEntry]) -> int:
    """A scan of today: three results that it reused, three audits that workers run, and the rest in the queue."""
    zoo.scans += 1
    at = zoo.now - timedelta(minutes=20)
    numbers = [number for number, entry in enumerate(entries, 1) if entry.source == "demo"][:12]
    states = ["running"] * 3 + ["queued"] * 9
    request = ScanRequest.make(AuditRequest(protocol="standard"), samples=None)
    scan = {
        "id": zoo.scans, "source": "demo", "request": request.to_json(), "state": "running", "queue": "cpu",
        "worker": None, "pending": len(numbers), "started_at": at, "finished_at": None,
    }  # fmt: skip
    _insert(zoo.connection, tables.Scan, [scan])
    rows = []
    for number, state in zip(numbers, states, strict=False):
        job = _Audit(zoo, number, entries[number - 1], zoo.nights - 1)
        job.state, job.protocol, job.n = state, "standard", 0
        zoo.audits += 1
        row = job.row(zoo.audits, at) | {"samples": 1000, "latest": False, "latest_done": False, "seconds": None}
        if state == "running":
            host = ".rack-7.compute.north.example.org" if zoo.long else ""
            row |= {
                "worker": f"worker-{zoo.audits - zoo.found.get(state, zoo.audits) + 1}{host}:4711",
                "lease_until": zoo.now + timedelta(days=1),
            }
        if state == "queued":
            row |= {"worker": None, "started_at": None, "attempt": 0}
        zoo.found.setdefault(state, zoo.audits)
        rows.append(row)
    _insert(zoo.connection, tables.Audit, rows)
    links = [_link(zoo.scans, row["id"]) for row in rows]
    _insert(zoo.connection, tables.ScanAudit, links + [_link(zoo.scans, number, reused=True) for number in (1, 2, 3)])
    return zoo.scans


@dataclass(frozen=True)
class _Data:
    classes: tuple[str, ...]
    superclasses: tuple[str, ...]
    order: tuple[int, ...]
    matrices: tuple[bytes, ...]


@functools.cache
def data_of(dataset: str) -> _Data:
    """Classes and superclasses, and four correlations that cluster along them. Of ImageNet, the first 40 classes."""
    if dataset.startswith("garden"):
        long = len(dataset) > 20
        classes = tuple(f"flower {n}" + (f" {AWKWARD}" if long else "") for n in range(12))
        superclasses = tuple(("spring", "summer", "autumn")[n // 4] for n in range(12))
    else:
        whole = load_hierarchy(dataset, CLASSES[dataset]).superclasses
        classes, superclasses = CLASSES[dataset][:40], tuple(whole[:40])
    order = tuple(sorted(range(len(classes)), key=lambda number: superclasses[number]))
    same = np.array([[a == b for b in superclasses] for a in superclasses])
    matrices = []
    for seed in range(4):
        noise = np.random.default_rng(seed).normal(0, 0.08, same.shape)
        matrix = np.where(same, 0.25 + 0.1 * seed, -0.1) + (noise + noise.T) / 2
        np.fill_diagonal(matrix, 1)
        matrices.append(pack_matrix(np.clip(matrix, -1, 1)))
    return _Data(classes, superclasses, order, tuple(matrices))


@functools.cache
def pictures_of(dataset: str) -> "np.ndarray[Any, np.dtype[np.uint64]]":
    """The digests of the first 1,000 test images of a data set."""
    return np.random.default_rng(sum(map(ord, dataset))).integers(0, 2**63, 1000).astype(np.uint64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--nights", type=int, default=4)
    parser.add_argument("--long-names", action="store_true")
    options = parser.parse_args()
    made = fill_zoo(
        open_database(options.url), models=options.models, nights=options.nights, long_names=options.long_names
    )
    print(json.dumps(made, default=lambda one: one.__dict__, indent=2))


if __name__ == "__main__":
    main()
