"""Whatever happens in whatever order: a scan's count of what has not ended is right, and says when it has ended."""

import itertools
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import Engine, text

from auditor.db.leases import MOST_LOSSES, Lease, Leases
from auditor.db.scans import cancel_scan, retry_scan
from auditor.db.store import Store
from auditor.errors import UsageError
from tests.factories.records import REQUEST, entry, record

NAMES = itertools.count()
PICK = st.integers(0, 10**6)
LATE = st.sampled_from([0, 0, 0, -1, 1])
"""How far the attempt is off that somebody writes with."""


class Life(RuleBasedStateMachine):
    """Scans in the database, and the same in plain Python: ``audits`` by number, with what each has been through."""

    engine: Engine

    def __init__(self) -> None:
        super().__init__()
        self.store, self.leases = Store(self.engine), Leases(self.engine)
        self.scans: list[int] = []
        self.audits: dict[int, dict[str, Any]] = {}

    def _pick(self, number: int) -> tuple[int, dict[str, Any]]:
        ids = list(self.audits)
        return ids[number % len(ids)], self.audits[ids[number % len(ids)]]

    def _mine(self, audit: dict[str, Any], off: int) -> bool:
        return audit["state"] == "running" and off == 0

    @rule(jobs=st.integers(1, 3), queue=st.sampled_from(["cpu", "here"]))
    def create(self, jobs: int, queue: str) -> None:
        entries = [entry(f"pending-{next(NAMES)}") for _ in range(jobs)]
        scan_id, made = self.store.create_scan("demo", REQUEST, entries, queue=queue)
        self.scans.append(scan_id)
        for job in made:
            new = {"scan": scan_id, "state": "queued", "attempt": 0, "losses": 0, "asked": False, "queue": queue}
            self.audits[job.audit_id] = new

    @precondition(lambda self: self.audits)
    @rule(number=PICK)
    def claim(self, number: int) -> None:
        audit_id, audit = self._pick(number)
        got = self.store.claim(audit_id, "host:1")
        if audit["state"] == "queued":
            audit.update(state="running", attempt=audit["attempt"] + 1)
            assert got == audit["attempt"]
        else:
            assert got is None

    @precondition(lambda self: self.audits)
    @rule(number=PICK, off=LATE, how=st.sampled_from(["finish", "fail", "cancelled", "give_back"]))
    def leave(self, number: int, off: int, how: str) -> None:
        audit_id, audit = self._pick(number)
        attempt, mine = audit["attempt"] + off, self._mine(audit, off)
        if how == "finish":
            assert self.store.finish(audit_id, attempt, record(str(audit_id))) == mine
        elif how == "fail":
            assert self.store.fail(audit_id, attempt, "a reason") == mine
        elif how == "cancelled":
            assert self.leases.cancelled(audit_id, attempt) == mine
        else:
            mine = mine and not audit["asked"]
            assert self.leases.give_back(audit_id, attempt) == mine
        if mine:
            after = {"finish": "done", "fail": "failed", "cancelled": "cancelled", "give_back": "queued"}
            audit.update(state=after[how], asked=False)

    @precondition(lambda self: any(one["state"] == "done" for one in self.audits.values()))
    @rule(number=PICK, off=LATE, other=PICK)
    def reuse(self, number: int, off: int, other: int) -> None:
        audit_id, audit = self._pick(number)
        done = [one for one in self.audits if self.audits[one]["state"] == "done"]
        mine = self._mine(audit, off)
        done_id = done[other % len(done)]
        assert self.store.reuse(audit["scan"], audit_id, audit["attempt"] + off, done_id) == mine
        if mine:
            del self.audits[audit_id]

    @precondition(lambda self: self.audits)
    @rule(number=PICK)
    def expire(self, number: int) -> None:
        audit_id, audit = self._pick(number)
        leases = {lease.job_id: lease for lease in self.leases.running()}
        assert (audit_id in leases) == (audit["state"] == "running" and audit["queue"] != "here")
        found = self.leases.expire(leases.get(audit_id, Lease(audit_id, audit["attempt"], None, None)))
        if audit_id not in leases:
            assert found is None
            return
        given_up = audit["losses"] + 1 >= MOST_LOSSES
        expected = "cancelled" if audit["asked"] else "failed" if given_up else "queued"
        assert found == expected
        audit.update(state=expected, losses=audit["losses"] + (expected == "queued"), asked=False)

    @precondition(lambda self: self.scans)
    @rule(number=PICK, gone=st.booleans())
    def cancel(self, number: int, gone: bool) -> None:
        scan_id = self.scans[number % len(self.scans)]
        self.store.cancel(scan_id, "gone") if gone else cancel_scan(self.engine, scan_id, "enough")
        for audit in self.audits.values():
            if audit["scan"] == scan_id and (audit["state"] == "queued" or (gone and audit["state"] == "running")):
                audit.update(state="cancelled", asked=False)
            elif audit["scan"] == scan_id and audit["state"] == "running":
                audit["asked"] = True

    @precondition(lambda self: self.scans)
    @rule(number=PICK, queue=st.sampled_from(["cpu", "here"]))
    def retry(self, number: int, queue: str) -> None:
        scan_id = self.scans[number % len(self.scans)]
        mine = [audit for audit in self.audits.values() if audit["scan"] == scan_id]
        runs = any(audit["state"] in ("queued", "running") for audit in mine)
        try:
            jobs = retry_scan(self.engine, scan_id, queue, None)
        except UsageError:
            assert runs
            return
        ended = {one for one, audit in self.audits.items() if audit["scan"] == scan_id}
        ended = {one for one in ended if self.audits[one]["state"] in ("failed", "cancelled")}
        assert {job.audit_id for job in jobs} == ended
        for audit_id in ended:
            self.audits[audit_id].update(state="queued", losses=0, asked=False, queue=queue)

    @invariant()
    def the_scans_know(self) -> None:
        with self.engine.connect() as connection:
            rows = connection.execute(text("SELECT id, state, pending, finished_at FROM scans"))
            stored = {row[0]: (row[1], row[2], row[3] is not None) for row in rows}
            rows = connection.execute(text("SELECT id, state, attempt, losses FROM audits"))
            audits = {row[0]: tuple(row[1:]) for row in rows}
        for audit_id, audit in self.audits.items():
            assert audits[audit_id] == (audit["state"], audit["attempt"], audit["losses"])
        for scan_id in self.scans:
            states = [audit["state"] for audit in self.audits.values() if audit["scan"] == scan_id]
            pending = states.count("queued") + states.count("running")
            state = "running" if pending else "interrupted" if "cancelled" in states else "done"
            assert stored[scan_id] == (state, pending, pending == 0)


@pytest.mark.long
def test_what_a_scan_has_pending(shared: Engine) -> None:
    machine = type("Life", (Life,), {"engine": shared})
    few = settings(max_examples=20, stateful_step_count=25, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(machine, settings=few)
