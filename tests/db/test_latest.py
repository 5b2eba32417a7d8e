"""The marks of the latest audits: always what a look at all rows says, whoever ends audits at the same time."""

from concurrent.futures import ThreadPoolExecutor
from itertools import count
from threading import Barrier

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from auditor.db.session import open_database
from auditor.db.store import Store
from tests.factories.latest import SERIES, begin, check
from tests.factories.records import record

FRESH = count()


@pytest.mark.long
@settings(max_examples=15)
@given(st.lists(st.tuples(SERIES, st.sampled_from(("done", "failed", "reuse", "cancel"))), max_size=12))
def test_the_marks_are_what_the_rows_say(shared: Engine, steps: list) -> None:
    store, run, done = Store(shared), next(FRESH), []
    for (name, *setting), what in steps:
        scan_id, audit_id, attempt = begin(store, f"{name}{run}", *setting)
        if what == "done":
            assert store.finish(audit_id, attempt, record(f"{name}{run}"))
            done.append(audit_id)
        elif what == "reuse" and done:
            assert store.reuse(scan_id, audit_id, attempt, done[len(steps) % len(done)])
        elif what == "cancel":
            store.cancel(scan_id, "enough")
        else:
            assert store.fail(audit_id, attempt, "no weights")
        check(shared)


@pytest.mark.long
def test_audits_of_one_series_that_end_at_once(url: str) -> None:
    """Finished, failed and confirmed by four threads, over and over: nobody waits for good, the marks are right."""
    engine = open_database(url)
    store, together = Store(engine), Barrier(4)
    old = []
    for _ in range(2):
        _, audit_id, attempt = begin(store, "a", 3, None, 0.1)
        store.finish(audit_id, attempt, record())
        old.append(audit_id)

    def end(number: int) -> None:
        for round in range(10):
            scan_id, audit_id, attempt = begin(store, "a", 3, None, 0.1)
            together.wait(60)
            if number < 2:
                assert store.reuse(scan_id, audit_id, attempt, old[(number + round) % 2])
            elif number == 2:
                assert store.finish(audit_id, attempt, record())
            else:
                assert store.fail(audit_id, attempt, "no weights")
            if together.wait(60) == 0:
                check(engine)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(end, range(4)))
    check(engine)
    engine.dispose()
