"""A short run of the simulation, and whether it notices, explains and repeats what is wrong."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.simulation.__main__ import explore
from tests.simulation.database import WRITING
from tests.simulation.mutants import MUTANTS, ROOT
from tests.simulation.schedule import EVENTS, TEMPLATES, WEIGHTS, Schedule, Simulation, draw
from tests.simulation.shrink import shrink

CALM = Schedule(
    template="one audit", workers=("cpu", "cpu"), reapers=1, patience=0.0, keys=1, lease_of_reapers=60.0,
    reports=False, sent=True, events=(),
)  # fmt: skip
AT_WORK = 3 << 8
"""The process claims the job that it gets, and saves no progress before the next event."""
CRASHES = (
    ("deliver", AT_WORK), ("beat", 0), ("crash", AT_WORK), ("thaw", 0), ("crash", AT_WORK), ("broker back", 0),
    ("crash", AT_WORK), ("check messages", 0),
)  # fmt: skip


@pytest.fixture(scope="module")
def simulation() -> Iterator[Simulation]:
    with Simulation().running() as simulation:
        yield simulation


def run(simulation: Simulation, schedule: Schedule) -> list[Any]:
    """The transactions of a schedule that must hold."""
    trace: list[Any] = []
    violation = simulation.run(schedule, trace)
    assert violation is None, str(violation)
    return trace


def returned(trace: list[Any], name: str) -> list[Any]:
    return [result for _, call, result, *_ in trace if call.name == name]


@pytest.mark.long
def test_random_schedules_hold_with_and_without_remembering() -> None:
    totals = explore("test", range(40), verify_every=10)
    assert totals.failures == []
    assert (totals.interleavings, totals.verified) == (40, 4)
    assert totals.executed < totals.transactions / 5


@pytest.mark.long
def test_many_random_schedules_hold_and_reach_every_transaction() -> None:
    totals = explore("long test", range(1500), verify_every=100)
    assert totals.failures == []
    expected = {
        "claim: claimed", "claim: refused", "renew: active", "renew: lost", "renew: cancelling", "expire: queued",
        "expire: cancelled", "expire: failed", "finish: True", "finish: False", "reuse: True", "give_back: True",
        "cancelled: True", "fail: True", "retry_scan", "resume",
    }  # fmt: skip
    assert expected <= set(totals.calls)


def test_a_seed_gives_the_same_interleaving_again(simulation: Simulation) -> None:
    assert draw("1-7") == draw("1-7") != draw("1-8")
    for number in range(10):
        first, second = (run(simulation, draw(f"again-{number}")) for _ in range(2))
        writes = [[(step[0], step[1]) for step in trace if step[1].name in WRITING] for trace in (first, second)]
        assert writes[0] == writes[1] != []


def test_every_event_and_template_is_drawn() -> None:
    drawn = [draw(f"all-{number}") for number in range(300)]
    assert {name for one in drawn for name, _ in one.events} == set(WEIGHTS) == set(EVENTS)
    assert {one.template for one in drawn} == set(TEMPLATES)


def test_a_calm_audit_is_claimed_and_stored_once(simulation: Simulation) -> None:
    trace = run(simulation, CALM)
    assert (returned(trace, "claim"), returned(trace, "finish"), returned(trace, "expire")) == ([1], [True], [])


def test_a_frozen_process_writes_late_and_is_refused(simulation: Simulation) -> None:
    """It is thawed after its lease has expired and another process has stored the result."""
    events = (("deliver", 7 << 8), ("freeze", 0xC00), ("silence", 1), ("deliver", 0), ("finish", 0))
    trace = run(simulation, replace(CALM, events=events))
    assert (returned(trace, "claim"), returned(trace, "expire")) == ([1, 2], ["queued"])
    assert (returned(trace, "finish"), returned(trace, "reuse")) == ([True], [False])  # it finds the stored result


def test_a_signal_gives_back_the_job_at_work_and_none_that_was_left_before(simulation: Simulation) -> None:
    """The process left an audit because the database was away, and gets the signal before it claims its next job."""
    events = (
        ("deliver", 0x101), ("step", 0), ("database away", 0), ("step", 0), ("step", 0),
        ("database back", 0), ("deliver", 0x101), ("stop", 0xC00),
    )  # fmt: skip
    trace = run(simulation, replace(CALM, template="an audit and an adaptation", events=events))
    assert returned(trace, "expire") == ["queued"]


def test_three_crashes_end_a_job(simulation: Simulation) -> None:
    trace = run(simulation, replace(CALM, events=CRASHES))
    assert returned(trace, "expire") == ["queued", "queued", "failed"]


def test_a_mistake_is_found_and_shrunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """One loss too many: three crashes are enough to show it, and nothing that happens beside them."""
    schedule = replace(CALM, events=CRASHES, patience=20.0)
    monkeypatch.setattr("auditor.db.leases.MOST_LOSSES", 4)
    with Simulation().running() as simulation:
        violation = simulation.run(schedule)
        assert "the model 'failed'" in str(violation)
        small = shrink(schedule, lambda one: simulation.run(one) is not None)
    assert [name for name, _ in small.events] == ["deliver", "crash", "crash", "crash"]
    assert small.patience == 0.0


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_replaces_one_text_of_the_code(mutant: Any) -> None:
    assert (ROOT / mutant.file).read_text().count(mutant.old) == 1
    assert mutant.new != mutant.old
