"""The GPU check's steps: none stops another, however it ends, and all of them end in time."""

import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.gpu import __main__ as program
from benchmarks.gpu.page import HEADING, find_section, put_section, render_section
from benchmarks.gpu.runner import Finding, Outcome, Run, Step, run_step, run_steps

# Functions of a module, because other processes import them.


def measures(run: Run) -> Iterator[Finding]:
    yield Finding("a figure", values={"rate": 2.0})
    yield Finding(f"on {run.device}", passed=True)


def knows(run: Run) -> Iterator[Finding]:
    yield Finding(f"the rate is {run.known['rate']}", passed=run.known["rate"] == 2.0)


def disagrees(_: Run) -> Iterator[Finding]:
    yield Finding("not equal", passed=False)


def raises(_: Run) -> Iterator[Finding]:
    yield Finding("before the error")
    raise RuntimeError("out of luck")


def crashes(_: Run) -> Iterator[Finding]:
    yield Finding("before the crash")
    os.kill(os.getpid(), signal.SIGSEGV)


def hangs(_: Run) -> Iterator[Finding]:
    yield Finding("before the wait")
    time.sleep(600)


def _steps(*works: object, seconds: float = 60) -> list[Step]:
    return [Step(work.__name__, work.__name__, work, seconds) for work in works]


@pytest.mark.long
def test_a_step_that_fails_stops_no_other() -> None:
    lines: list[str] = []
    states: list[int] = []
    outcomes = run_steps(
        _steps(measures, raises, crashes, disagrees, knows),
        Run("cpu"),
        seconds=300,
        report=lines.append,
        done=lambda so_far: states.append(len(so_far)),
    )
    assert [outcome.passed for outcome in outcomes] == [True, False, False, False, True]
    assert [len(outcome.findings) for outcome in outcomes] == [2, 1, 1, 1, 1]
    assert "RuntimeError: out of luck" in outcomes[1].error
    assert outcomes[2].error == f"its process ended with exit code -{signal.SIGSEGV.value}"
    assert outcomes[3].error is None
    assert states == [1, 2, 3, 4, 5]
    assert any(line.endswith("FAILED: not equal") for line in lines)


def _measures(*works: object, seconds: float = 60) -> list[Step]:
    return [replace(step, measures=True) for step in _steps(*works, seconds=seconds)]


@pytest.mark.long
def test_a_measurement_that_takes_too_long_is_not_measured_and_one_that_fails_has_failed() -> None:
    lines: list[str] = []
    steps = [*_measures(hangs, seconds=12), *_measures(raises, disagrees)]
    slow, *broken = run_steps(steps, Run("cpu"), seconds=300, report=lines.append)
    assert (slow.passed, slow.error, slow.missed) == (True, None, "took longer than 12 s and was stopped")
    assert [finding.text for finding in slow.findings] == ["before the wait"]
    assert [outcome.passed for outcome in broken] == [False, False]
    assert "         not measured: took longer than 12 s and was stopped" in lines


def test_a_measurement_that_was_not_reached_has_not_failed() -> None:
    now = iter([0.0, 96.0, 96.0, 97.0, 97.0])
    lines: list[str] = []
    outcomes = run_steps(
        [*_steps(measures), *_measures(knows)], Run("cpu"), seconds=100, report=lines.append, clock=lambda: next(now)
    )
    assert [outcome.passed for outcome in outcomes] == [False, True]
    assert outcomes[1].missed == "not started: no time was left"
    assert lines[-1] == "         not measured: not started: no time was left"
    assert outcomes[1].as_json()["missed"] == "not started: no time was left"


@pytest.mark.long
def test_a_step_that_hangs_is_stopped_and_keeps_what_it_found() -> None:
    began = time.monotonic()
    outcome = run_step(_steps(hangs)[0], Run("cpu"), 12, report=lambda _: None)
    assert time.monotonic() - began < 60
    assert outcome.error == "took longer than 12 s and was stopped"
    assert [finding.text for finding in outcome.findings] == ["before the wait"]


def test_without_time_nothing_is_started() -> None:
    now = iter([0.0, 96.0, 96.0, 97.0, 97.0])
    outcomes = run_steps(
        _steps(measures, knows), Run("cpu"), seconds=100, report=lambda _: None, clock=lambda: next(now)
    )
    assert [outcome.error for outcome in outcomes] == ["not started: no time was left"] * 2
    assert not any(outcome.passed for outcome in outcomes)


OUTCOMES = [
    Outcome("a", "First", 3.4, (Finding("fine", passed=True), Finding("1 | 2"))),
    Outcome("b", "Second", 5.0, (Finding("not equal", passed=False),), "Traceback\nRuntimeError: no luck"),
]


def test_the_section_says_the_card_and_every_failure() -> None:
    section = render_section(OUTCOMES, "NVIDIA H999", "2026-01-02", "torch 9")
    assert section.startswith(f"{HEADING}\n\n`make gpu-check`, 2026-01-02, NVIDIA H999, torch 9\n")
    assert "| First | passed: fine<br>1 / 2 | 3 |" in section
    assert "| Second | **failed**: not equal<br>**ended early**: RuntimeError: no luck | 5 |" in section


def test_the_section_says_what_was_not_measured() -> None:
    outcome = Outcome("a", "First", 0.0, missed="not started: no time was left")
    section = render_section([outcome], "NVIDIA H999", "2026-01-02", "torch 9")
    assert "| First | not measured: not started: no time was left | 0 |" in section


def test_the_section_is_replaced_and_nothing_else() -> None:
    page = "# Performance\n\nWords.\n\n## W and C\n\nfigures\n"
    once = put_section(page, f"{HEADING}\n\nold\n")
    assert once == f"# Performance\n\nWords.\n\n{HEADING}\n\nold\n\n## W and C\n\nfigures\n"
    assert find_section(once) == f"{HEADING}\n\nold\n"
    assert put_section(once, f"{HEADING}\n\nnew\n") == once.replace("old", "new")
    assert find_section(page) == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["--device", "cpu", "--write", "page.md"],
        ["--device", "cpu", "--small", "--write", "page.md"],
        ["nonsense", "--device", "cpu"],
        ["--device", "tpu"],
    ],
)
def test_no_page_is_written_and_no_step_started_without_a_gpu(arguments: list[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        program.main(arguments)
    assert ended.value.code == 2
    assert not list(tmp_path.glob("page.md"))


def test_a_run_on_a_gpu_writes_page_and_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page, file = tmp_path / "page.md", tmp_path / "found.json"
    page.write_text("# Performance\n\nWords.\n\n## Others\n")
    monkeypatch.setattr(program, "find_card", lambda _: "NVIDIA H999")

    def run(steps: list[Step], run: Run, *, done: object, **_: object) -> list[Outcome]:
        assert [step.name for step in steps] == list(program.STEPS)
        assert run == Run("cuda")
        done(OUTCOMES)
        return OUTCOMES

    monkeypatch.setattr(program, "run_steps", run)
    assert program.main(["--write", str(page), "--json", str(file)]) == 1
    assert "NVIDIA H999" in find_section(page.read_text())
    stored = json.loads(file.read_text())
    assert stored["card"] == "NVIDIA H999"
    assert [step["passed"] for step in stored["steps"]] == [True, False]


def test_what_was_not_measured_is_said_and_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outcomes = [OUTCOMES[0], Outcome("c", "Third", 0.0, missed="not started: no time was left")]
    monkeypatch.setattr(program, "find_card", lambda _: "NVIDIA H999")
    monkeypatch.setattr(program, "run_steps", lambda *_, **__: outcomes)
    assert program.main([]) == 0
    assert capsys.readouterr().out.endswith("not measured: c\nno step failed\n")


def test_every_check_has_its_time_within_eight_minutes_and_comes_before_what_only_measures() -> None:
    measures = [step.measures for step in program.STEPS.values()]
    assert measures == sorted(measures)
    assert list(program.STEPS)[:2] == ["card", "tests"]
    making_the_environment = 60
    checks = sum(step.seconds for step in program.STEPS.values() if not step.measures)
    assert checks <= program.SECONDS - making_the_environment
    assert program.SECONDS < 480
