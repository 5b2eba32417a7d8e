"""The result that a model had before a scan: which ones count, and which of them is the last."""

from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from auditor.config import settings
from auditor.db.models import ScanAudit
from auditor.db.results import Filter, list_results
from auditor.db.session import open_database
from auditor.db.store import Store
from auditor.results.previous import count_audits, previous_result
from tests.factories.audits import N, audited
from tests.factories.records import REQUEST, entry


def previous(audit_id: int) -> int | None:
    """The id of the result before that of ``audit_id``, as of the scan that made it."""
    engine = open_database(settings().database_url)
    (row,) = [row for row in list_results(engine, Filter(history=True)) if row.id == audit_id]
    with Session(engine) as session:
        scan_id = session.scalars(select(ScanAudit.scan_id).where(ScanAudit.audit_id == audit_id)).one()
    found = previous_result(engine, row, scan_id)
    return found and found.id


@pytest.mark.long
@pytest.mark.parametrize(
    ("changes", "counts"),
    [
        ({}, True),
        ({"identity": "other weights", "seed": 1}, True),
        ({"digest": "resized for another input size"}, True),
        ({"eps": 0.05}, False),
        ({"norm": "L2"}, False),
        ({"sketch": 64}, False),
        ({"dataset": "cifar10"}, False),
        ({"protocol": "standard"}, False),
        ({"numbers": range(N - 1)}, False),
        ({"numbers": range(N - 1), "samples": N}, False),
        ({"samples": 10 * N}, True),
        ({"numbers": range(N, 2 * N), "digest": "others"}, False),
        ({"data": 1}, False),
        ({"digest": None}, False),
    ],
)
def test_only_what_was_asked_alike_on_the_same_pictures_counts(changes: dict[str, Any], counts: bool) -> None:
    before = audited("a", 50, **changes)
    audited("b", 50)
    assert previous(audited("a", 40)) == (before if counts else None)


def test_weights_that_change_back_make_their_old_result_the_last_one() -> None:
    first = audited("a", 50, identity="old")
    second = audited("a", 20, identity="new")
    assert previous(second) == first
    store = Store(open_database(settings().database_url))
    request = REQUEST | {"samples": N}
    scan_id, (job,) = store.create_scan("demo", request, [entry("a")])
    assert store.reuse(scan_id, job.audit_id, store.claim(job.audit_id), first)
    assert previous(audited("a", 30, identity="newer")) == first


def test_of_several_data_sets_the_last_result_on_this_one_counts() -> None:
    first = audited("a", 50)
    audited("a", 50, dataset="cifar10")
    assert previous(audited("a", 50)) == first


def test_the_models_of_a_scan_are_counted() -> None:
    store = Store(open_database(settings().database_url))
    ids = [store.create_scan("demo", REQUEST, [entry(name) for name in names])[0] for names in ("a", "bcd")]
    assert [count_audits(store.engine, scan_id) for scan_id in ids] == [1, 3]
