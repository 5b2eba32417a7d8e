"""The base class of all scenarios, and the run of one: audits, faults until the last one has ended, the check."""

import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.faults.stage import Options, Stage, services
from tests.factories.services import Cluster
from tests.workers.team import Redis


class Scenario:
    """One kind of fault.

    A run calls :meth:`begin`, then :meth:`inject` whenever :meth:`is_due`, until no audit is queued or runs, and then
    :meth:`check` and :meth:`end`.
    """

    name: ClassVar[str]
    fault: ClassVar[str]
    """What one fault is, for the page."""
    every: ClassVar[float] = 10
    """Seconds from the end of one fault to the next one."""

    @contextlib.contextmanager
    def make_services(self, folder: Path) -> Iterator[tuple[Cluster, Redis]]:
        """PostgreSQL and Redis of the scenario's own, in an empty folder."""
        with services(folder) as made:
            yield made

    def begin(self, stage: Stage) -> None:
        """Queue the audits and start the workers."""
        stage.queue_scan()
        for _ in range(stage.options.workers):
            stage.start_worker()

    def is_due(self, stage: Stage, counts: dict[str, int], seconds: float) -> bool:  # noqa: ARG002
        """Whether the next fault is due; ``seconds``: since the end of the last one, or since the begin."""
        return seconds >= self.every

    def inject(self, stage: Stage) -> None:
        """Make one fault happen, and end it."""
        raise NotImplementedError

    def check(self, stage: Stage) -> list[str]:  # noqa: ARG002
        """What is wrong beyond what :meth:`Stage.check` finds."""
        return []

    def end(self, stage: Stage) -> None:
        """End what the scenario has started beside the workers."""


def run(scenario: Scenario, zoo: Path, options: Options, reference: dict[str, str]) -> dict[str, Any]:
    """Run a scenario; returns its row, in which ``wrong`` is empty if all is well."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="auditor-faults-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL runs as another user
        (folder / "services").mkdir()
        with scenario.make_services(folder / "services") as (cluster, broker):
            stage = Stage(folder, zoo, options, cluster, broker)
            try:
                return run_on(scenario, stage, reference)
            finally:
                scenario.end(stage)
                stage.end()


def run_on(scenario: Scenario, stage: Stage, reference: dict[str, str]) -> dict[str, Any]:
    """Run a scenario on its services."""
    scenario.begin(stage)
    seconds = run_to_the_end(scenario, stage)
    if seconds is None:
        wrong = [f"not done within {stage.options.minutes:g} minutes: {stage.counts()}"]
    else:
        wrong = stage.check(reference) + scenario.check(stage)
    if not stage.faults:
        wrong.append("the audits ended before the first fault")
    return describe(scenario, stage, reference, seconds) | {"wrong": wrong[:20]}


def run_to_the_end(scenario: Scenario, stage: Stage) -> float | None:
    """Inject faults until no audit is left; the seconds that it took, or None if it takes too long."""
    began = last = printed = time.monotonic()
    while True:
        counts = stage.counts()
        now = time.monotonic()
        if counts is not None and not counts.get("queued") and not counts.get("running"):
            return now - began
        if now - began > 60 * stage.options.minutes:
            return None
        if counts is not None and scenario.is_due(stage, counts, now - last):
            scenario.inject(stage)
            stage.faults += 1
            last = time.monotonic()
        if now - printed >= 15:
            printed = now
            print_progress(scenario, stage, counts or {}, now - began)
        time.sleep(0.2)


def print_progress(scenario: Scenario, stage: Stage, counts: dict[str, int], seconds: float) -> None:
    parts = ", ".join(f"{counts.get(state, 0)} {state}" for state in ("done", "running", "queued"))
    print(f"  {scenario.name}, {seconds:4.0f} s: {parts}; faults: {stage.faults}", flush=True)


def describe(scenario: Scenario, stage: Stage, reference: dict[str, str], seconds: float | None) -> dict[str, Any]:
    """The row of a scenario: counts, seconds and what the workers logged."""
    counts = stage.counts() or {}
    ((attempts, losses),) = stage.sql("SELECT COALESCE(SUM(attempt), 0), COALESCE(MAX(losses), 0) FROM audits")
    found = stage.digests()
    return {
        "scenario": scenario.name,
        "fault": scenario.fault,
        "audits": stage.options.audits,
        "samples": stage.options.samples,
        "workers": stage.options.workers,
        "seed": stage.options.seed,
        "faults": stage.faults,
        "done": counts.get("done", 0),
        "failed": counts.get("failed", 0),
        "attempts": int(attempts),
        "lost": int(attempts) - counts.get("done", 0) - counts.get("failed", 0),
        "most_losses": int(losses),
        "seconds": seconds,
        "equal": sum(found.get(name) == digest for name, digest in reference.items()),
        "waiting": stage.broker.waiting("cpu"),
        "logged": stage.count_logged(),
        "notes": stage.notes,
    }
