"""What pruning takes and leaves: never from the newest audits, all numbers kept, nothing left for a second time."""

import dataclasses
import json
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from auditor.config import settings as auditor_settings
from auditor.db import models as tables
from auditor.db.prune import PruneResult, prune
from auditor.db.results import Filter, list_results, load_detail
from auditor.db.session import open_database
from auditor.db.store import Store
from auditor.errors import UsageError
from auditor.records import Clustering
from auditor.results.serialize import serialize_detail
from tests.factories.command import run
from tests.factories.latest import SERIES, begin, check
from tests.factories.records import REQUEST, done_audit, entry, record

FRESH = count()


def whole(engine: Engine) -> set[int]:
    """The audits that still have their matrix and their verdicts; others have neither."""
    part = tables.Clustering
    with Session(engine) as session:
        kept = set(session.scalars(select(part.audit_id).where(part.matrix.is_not(None))))
        assert kept == set(session.scalars(select(tables.Verdicts.audit_id)))
        return kept


@pytest.mark.long
@settings(max_examples=15)
@given(
    st.lists(st.tuples(SERIES, st.sampled_from(("done", "done", "failed", "reuse"))), max_size=15), st.integers(1, 3)
)
def test_the_last_ones_of_each_series_keep_everything(shared: Engine, steps: list, keep: int) -> None:
    store, run, order = Store(shared), next(FRESH), {}
    for series, what in steps:
        name, *setting = series
        scan_id, audit_id, attempt = begin(store, f"{name}{run}", *setting)
        done = order.setdefault(series, [])
        if what == "failed" or (what == "reuse" and not done):
            store.fail(audit_id, attempt, "no weights")
        elif what == "reuse":
            store.reuse(scan_id, audit_id, attempt, done[0])
            done.append(done.pop(0))
        else:
            store.finish(audit_id, attempt, record(f"{name}{run}"))
            done.append(audit_id)
    before, rows = whole(shared), list_results(shared, Filter(history=True), sort="started_at")
    latest = {row.id for status in (None, "done") for row in list_results(shared, Filter(status=status))}
    expected = {audit_id for done in order.values() for audit_id in done[-keep:]}
    promised = prune(shared, keep, dry_run=True)
    assert whole(shared) == before
    assert prune(shared, keep) == promised
    mine = {audit_id for done in order.values() for audit_id in done}
    assert whole(shared) & mine == expected
    assert latest & before <= whole(shared)
    assert promised.audits == promised.matrices == promised.verdicts == len(before - whole(shared))
    assert list_results(shared, Filter(history=True), sort="started_at") == rows
    assert prune(shared, keep) == PruneResult()
    check(shared)


def test_bytes_are_those_that_were_stored(url: str) -> None:
    engine = open_database(url)
    verdicts = dataclasses.replace(record().verdicts, pictures=np.arange(3, dtype=np.uint64))
    first = done_audit(Store(engine), verdicts=verdicts)
    done_audit(Store(engine))
    row = tables.Verdicts
    with Session(engine) as session:
        matrix = session.scalars(select(tables.Clustering.matrix).where(tables.Clustering.audit_id == first)).one()
        packed = session.execute(
            select(
                row.indices, row.correct, row.survived, row.pictures, row.labels, row.predicted, row.broken_at
            ).limit(1)
        ).one()
    expected = len(matrix) + sum(len(part) for part in packed)
    assert prune(engine, 1) == PruneResult(audits=1, matrices=1, verdicts=1, bytes=expected)
    detail = load_detail(engine, first)
    assert detail.verdicts is None
    assert detail.clusterings["weights"].matrix is None
    assert detail.clusterings["weights"].scores.leaf_order == (2, 0, 1)
    assert detail.attacks == record().attacks
    assert serialize_detail(detail)["clusterings"]["weights"]["pruned"]
    with pytest.raises(UsageError, match="it was pruned from the database; `auditor scan … --force` measures it again"):
        detail.clusterings["weights"].full_matrix()
    engine.dispose()


def _large(store: Store) -> int:
    """A result whose matrix does not compress."""
    _, (job,) = store.create_scan("demo", REQUEST, [entry()])
    (part,) = record().clusterings
    matrix = np.random.default_rng(job.audit_id).random((200, 200))
    attempt = store.claim(job.audit_id)
    assert attempt
    scores = dataclasses.replace(part.scores, leaf_order=tuple(range(200)))
    large = Clustering(kind="weights", scores=scores, matrix=matrix + matrix.T)
    classes, superclasses = tuple(map(str, range(200))), ("s", "t") * 100
    found = record(clusterings=(large,), classes=classes, superclasses=superclasses)
    assert store.finish(job.audit_id, attempt, found)
    return job.audit_id


@pytest.mark.long
def test_the_command_says_what_it_removes(tmp_path: Path) -> None:
    engine = open_database(auditor_settings().database_url)
    ids = [_large(Store(engine)) for _ in range(4)]
    engine.dispose()
    size = sum(file.stat().st_size for file in tmp_path.glob("auditor.db*"))
    for option, would in (("--dry-run", "would remove"), (None, "removed")):
        shown = run("db", "prune", "--keep-per-model", 1, *filter(None, [option])).stdout
        assert shown.startswith(f"{would} 3 matrices and 3 per-sample verdicts of 3 audits: ")
        assert ("autovacuum" in shown or "made smaller" in shown) == (option is None)
    if engine.dialect.name == "sqlite":
        assert sum(file.stat().st_size for file in tmp_path.glob("auditor.db*")) < size - 3 * 100_000
    assert run("db", "prune", "--keep-per-model", 1).stdout == (
        "removed 0 matrices and 0 per-sample verdicts of 0 audits: 0 bytes\n"
    )
    assert run("db", "prune", "--keep-per-model", 0).exit_code == 2
    shown = run("results", "show", "demo:a", "--id", ids[0]).stdout
    assert "the matrices of weights; `auditor scan … --force` makes them again" in " ".join(shown.split())
    assert "pruned" not in run("results", "show", "demo:a").stdout
    plot = run("results", "plot", "demo:a", "--id", ids[0], "-o", "x.png")
    assert (plot.exit_code, len(plot.stderr.splitlines())) == (2, 1)
    assert "expected the matrix of the weights, got scores alone: it was pruned" in plot.stderr
    assert run("results", "plot", "demo:a", "-o", "x.png").exit_code == 0
    exported = run("results", "export", "--history")
    assert [row["clusterings"]["weights"]["pruned"] for row in json.loads(exported.stdout)] == [True] * 3 + [False]
    assert "3 of 4 results have no matrices, because they were pruned" in exported.stderr
    compared = run("results", "compare", f"a@{ids[0]}", f"a@{ids[3]}")
    assert compared.exit_code == 2
    assert "pruned from the database" in compared.stderr
