"""Runs the steps of the GPU check: each in a process of its own, within its seconds, whatever the others do."""

import contextlib
import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

PRELOADED = ("torch", "torchvision", "auditor.attacks", "auditor.linear")
LEAST_SECONDS = 5.0
"""A step that would have less than this is not started."""


@dataclass(frozen=True)
class Finding:
    """One line of a step; ``passed`` is None for a figure that nothing is expected of."""

    text: str
    passed: bool | None = None
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """Where and how large the steps are; ``known`` has the values of all earlier findings."""

    device: str
    small: bool = False
    known: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """A function of a module that yields findings, and the seconds that it may take.

    ``measures``: it says how fast the device is, so that a lack of time is no failure.
    """

    name: str
    title: str
    work: Callable[[Run], Iterator[Finding]]
    seconds: float
    measures: bool = False


@dataclass(frozen=True)
class Outcome:
    """What a step found until it ended.

    ``error`` says why it ended early, and ``missed`` why a measurement is not complete, for want of time.
    """

    name: str
    title: str
    seconds: float
    findings: tuple[Finding, ...] = ()
    error: str | None = None
    missed: str | None = None

    @property
    def passed(self) -> bool:
        return self.error is None and all(finding.passed is not False for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "passed": self.passed}


def run_steps(
    steps: Sequence[Step],
    run: Run,
    *,
    seconds: float,
    report: Callable[[str], None] = print,
    done: Callable[[list[Outcome]], None] = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
) -> list[Outcome]:
    """Run the steps in their order until the seconds are over. A step that fails does not stop the others.

    Args:
        report: called with each line of progress.
        done: called with all outcomes so far, after each step.
    """
    began, outcomes, known = clock(), [], dict(run.known)
    for number, step in enumerate(steps, 1):
        left = seconds - (clock() - began)
        report(f"[{clock() - began:4.0f} s] {number}/{len(steps)} {step.name}: {step.title}")
        if left < LEAST_SECONDS:
            outcome = _out_of_time(step, 0.0, (), "not started: no time was left")
        else:
            outcome = run_step(step, Run(run.device, run.small, dict(known)), min(step.seconds, left), report)
        for finding in outcome.findings:
            known |= finding.values
        if outcome.error is not None:
            report(f"         failed: {outcome.error.strip().splitlines()[-1]}")
        if outcome.missed is not None:
            report(f"         not measured: {outcome.missed}")
        outcomes.append(outcome)
        done(outcomes)
    return outcomes


def run_step(step: Step, run: Run, seconds: float, report: Callable[[str], None] = print) -> Outcome:
    """Run one step in a new process, and end it and all that it started once its seconds are over."""
    starter = _starter()
    ours, theirs = starter.Pipe()
    child = starter.Process(target=_work, args=(theirs, step.work, run))
    findings: list[Finding] = []
    began, error = time.monotonic(), "its process ended without a word"
    child.start()
    theirs.close()
    try:
        while True:
            left = seconds - (time.monotonic() - began)
            if left <= 0 or not wait([ours], left):
                slow = f"took longer than {seconds:.0f} s and was stopped"
                return _out_of_time(step, time.monotonic() - began, tuple(findings), slow)
            content = ours.recv()
            if not isinstance(content, Finding):
                error = content
                break
            findings.append(content)
            report(f"         {describe(content)}")
    except EOFError:
        child.join(5)
        error = f"its process ended with exit code {child.exitcode}"
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        child.kill()
        child.join(10)
        ours.close()
    return Outcome(step.name, step.title, time.monotonic() - began, tuple(findings), error)


def _out_of_time(step: Step, seconds: float, findings: tuple[Finding, ...], reason: str) -> Outcome:
    error, missed = (None, reason) if step.measures else (reason, None)
    return Outcome(step.name, step.title, seconds, findings, error, missed)


def describe(finding: Finding) -> str:
    mark = {True: "passed: ", False: "FAILED: ", None: ""}[finding.passed]
    return f"{mark}{finding.text}"


def _starter() -> Any:
    """Forks of a server that has imported torch and has run nothing: CUDA starts inside each child."""
    starter = multiprocessing.get_context("forkserver")
    starter.set_forkserver_preload(list(PRELOADED))
    return starter


def _work(pipe: Connection, work: Callable[[Run], Iterator[Finding]], run: Run) -> None:
    """The main function of a step's process: send each finding, and at the end None or the reason for the end."""
    os.setsid()
    try:
        for finding in work(run):
            pipe.send(finding)
        pipe.send(None)
    except BaseException:
        pipe.send(traceback.format_exc(limit=-6))
