"""How many models are measured side by side, with how many threads, and how the threads wait for each other."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from auditor import tracing
from auditor.config import settings
from auditor.errors import MeasurementError, MemoryLimitError
from auditor.jobs.child import ChildFactory
from auditor.jobs.limits import GIB, Limits
from auditor.machine import devices
from auditor.machine.devices import count_cores, share_of_threads, threads_asked, wait_passively
from auditor.records import AuditRequest, JobContext, Measurement, ZooEntry
from auditor.scans import parallel as side_by_side
from auditor.scans.parallel import SharedMemoryMeasure, are_small, make_measure, memory_of, share_machine
from auditor.zoo import find_source
from auditor.zoo.demo import DemoZoo
from tests.factories.collector import ListRecorder
from tests.factories.records import entry

MIB = 2**20
QUICK = Measurement(audit=AuditRequest(protocol="quick"), samples=256)


class Zoo:
    """A source of models whose weights have so many bytes."""

    def __init__(self, weights: int | None) -> None:
        self.weights = weights

    def weight_bytes(self, entries: Sequence[ZooEntry]) -> int | None:  # noqa: ARG002
        return self.weights


def models(number: int, size: int = 28, channels: int = 1) -> list[ZooEntry]:
    return [replace(entry(f"m{index}"), input_size=(channels, size, size)) for index in range(number)]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """``machine(cores, gib)``, with nothing said of threads in the environment."""

    def make(cores: int, gib: float, **environment: str) -> None:
        monkeypatch.setattr(devices, "count_cores", lambda: cores)
        monkeypatch.setattr(side_by_side, "count_cores", lambda: cores)
        memory = SimpleNamespace(available=int(gib * GIB), total=int(gib * GIB))
        monkeypatch.setattr(side_by_side.psutil, "virtual_memory", lambda: memory)
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        settings.cache_clear()

    return make


@pytest.mark.parametrize(
    ("cores", "gib", "environment", "number", "weights", "given", "expected"),
    [
        (2, 24, {}, 15, MIB, {}, (2, 1)),
        (1, 24, {}, 15, MIB, {}, (1, None)),
        (16, 64, {}, 15, MIB, {}, (15, 1)),  # no more than there are models
        (16, 64, {}, 5, MIB, {}, (5, 3)),  # which share all cores
        (8, 64, {}, 1, MIB, {}, (1, None)),
        (8, 3, {}, 15, MIB, {}, (4, 2)),  # no more than there is memory for
        (8, 0.5, {}, 15, MIB, {}, (1, None)),
        (128, 999, {}, 200, MIB, {}, (64, 2)),
        (8, 64, {}, 15, 9 * MIB, {}, (1, None)),  # large models
        (8, 64, {}, 15, None, {}, (1, None)),  # nobody knows
        (8, 64, {}, 15, MIB, {"size": 224}, (1, None)),  # large images
        (8, 64, {}, 15, MIB, {"size": 65}, (1, None)),
        (8, 64, {}, 15, MIB, {"size": 64, "channels": 3}, (8, 1)),
        (8, 64, {}, 15, MIB, {"device": "cuda"}, (1, None)),  # one GPU
        (8, 64, {}, 15, MIB, {"device": "cuda:1"}, (1, None)),
        (8, 64, {}, 15, MIB, {"memory": 20 * GIB}, (3, 2)),  # each may use as much as was said
        (8, 64, {}, 15, MIB, {"memory": 100 * GIB}, (1, None)),
        (8, 64, {"AUDITOR_THREADS": "2"}, 15, MIB, {}, (4, 2)),
        (8, 64, {"AUDITOR_THREADS": "8"}, 15, MIB, {}, (1, 8)),
        (8, 64, {"AUDITOR_THREADS": "3"}, 15, 9 * MIB, {}, (1, 3)),
        (8, 64, {"OMP_NUM_THREADS": "3"}, 15, MIB, {}, (2, 3)),
        (8, 64, {"OMP_NUM_THREADS": "4,2"}, 15, MIB, {}, (2, 4)),
        (8, 64, {"OMP_NUM_THREADS": "x"}, 15, MIB, {}, (8, 1)),
        (8, 64, {"OMP_NUM_THREADS": "3"}, 15, 9 * MIB, {}, (1, None)),  # torch reads it itself
        # What is asked for holds, whatever the models are.
        (8, 64, {}, 15, 900 * MIB, {"jobs": 1}, (1, None)),
        (8, 64, {}, 15, MIB, {"jobs": 1}, (1, None)),
        (8, 64, {}, 15, 900 * MIB, {"jobs": 4}, (4, 2)),
        (2, 1, {}, 15, None, {"jobs": 4, "size": 224}, (4, 1)),
        (8, 64, {"AUDITOR_THREADS": "3"}, 15, MIB, {"jobs": 4}, (4, 3)),
        (8, 64, {"AUDITOR_THREADS": "3"}, 15, MIB, {"jobs": 1}, (1, 3)),
    ],
)
def test_how_many_at_once_with_how_many_threads(
    machine: Any,
    cores: int,
    gib: float,
    environment: dict[str, str],
    number: int,
    weights: int | None,
    given: dict[str, Any],
    expected: tuple[int, int | None],
) -> None:
    machine(cores, gib, **environment)
    shape = {name: given[name] for name in ("size", "channels") if name in given}
    request = replace(QUICK, audit=replace(QUICK.audit, device=given.get("device", "cpu")))
    asked = {"jobs": given.get("jobs"), "memory": given.get("memory")}
    found = share_machine(Zoo(weights), models(number, **shape), request, **asked)
    assert (found.processes, found.threads) == expected


def test_one_large_model_among_small_ones_makes_them_take_turns() -> None:
    assert are_small(Zoo(MIB), models(3))
    assert not are_small(Zoo(MIB), [*models(3), *models(1, size=224)])
    assert not are_small(Zoo(MIB), [])


def test_fewer_images_need_less_memory() -> None:
    few, many = (memory_of(entry(), replace(QUICK, samples=samples)) for samples in (0, None))
    assert few < memory_of(entry(), replace(QUICK, samples=64)) < many == memory_of(entry(), QUICK) < GIB


def test_the_demo_zoo_is_small_and_sources_know_the_size_of_what_is_there(tmp_path: Path) -> None:
    zoo = DemoZoo()
    assert are_small(zoo, zoo.entries())
    largest = max(file.stat().st_size for file in zoo.folder.glob("*.safetensors"))
    assert zoo.weight_bytes(zoo.entries()) == largest
    assert DemoZoo(tmp_path).weight_bytes(zoo.entries()) is None
    robustbench = find_source("robustbench", tmp_path)
    known = next(one for one in robustbench.entries() if one.dataset == "cifar10")
    assert robustbench.weight_bytes([known]) is None
    assert find_source("checkpoint", tmp_path).weight_bytes([replace(entry(), model="checkpoint:1")]) is None


def test_memory_is_shared_and_not_more_than_there_is(machine: Any) -> None:
    machine(8, 64)
    alone = make_measure(ChildFactory(), 60, None)
    assert alone.limits == Limits(seconds=60, memory=int(0.9 * 64 * GIB))
    four = make_measure(ChildFactory(processes=4, threads=2), 60, None)
    assert four.shared.limits.memory * 4 <= alone.limits.memory
    assert four.alone.limits == alone.limits
    requested = make_measure(ChildFactory(processes=4, threads=2), 60, GIB)
    assert requested.limits == Limits(seconds=60, memory=GIB)


def test_a_model_that_needs_more_than_its_share_is_measured_again_by_itself() -> None:
    lock, running, most, alone = threading.Lock(), set(), [], []

    def measure(memory: int, _: Any, name: str, __: Any, context: JobContext) -> str:
        with lock:
            running.add(name)
            most.append(len(running))
            if memory == 100:
                alone.append(set(running))
        try:
            time.sleep(0.02)
            context.stopped()
            if name.startswith("large") and memory < 100:
                raise MemoryLimitError("too much")
            if name == "bad":
                raise MeasurementError("it crashed")
            return name
        finally:
            with lock:
                running.discard(name)

    together = SharedMemoryMeasure(partial(measure, 25), partial(measure, 100))
    names = [f"{kind}{number}" for number in range(6) for kind in ("small", "large")]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda name: together(None, name, None, JobContext()), names)) == names
    assert sorted(map(sorted, alone)) == [[f"large{number}"] for number in range(6)]
    assert max(most) > 1
    with pytest.raises(MeasurementError, match="it crashed"):
        together(None, "bad", None, JobContext())


def test_a_model_that_is_measured_again_by_itself_is_an_event(recorder: ListRecorder) -> None:
    def too_large(*_: Any) -> None:
        raise MemoryLimitError("used 3 GiB")

    with tracing.span("audit"):
        assert SharedMemoryMeasure(too_large, lambda *_: "done")(None, None, None, JobContext()) == "done"
    expected = ("out of memory: measured again, alone", {"auditor.reason": "used 3 GiB"})
    assert recorder.spans[0].events == [expected]


def test_who_waits_to_be_alone_can_be_stopped() -> None:
    together = SharedMemoryMeasure(lambda *_: None, lambda *_: None)

    def stopped() -> None:
        raise KeyboardInterrupt

    with together._beside_others(lambda: None):
        with pytest.raises(KeyboardInterrupt), together._by_itself(stopped):
            raise AssertionError
        with together._beside_others(lambda: None):
            pass  # nobody waits any more
    with together._by_itself(stopped), pytest.raises(KeyboardInterrupt), together._beside_others(stopped):
        raise AssertionError


@pytest.mark.parametrize(
    ("said", "policy"),
    [
        ({}, {"OMP_WAIT_POLICY": "PASSIVE"}),
        ({"OMP_NUM_THREADS": "2"}, {"OMP_WAIT_POLICY": "PASSIVE"}),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, {"OMP_WAIT_POLICY": "ACTIVE"}),
        ({"OMP_WAIT_POLICY": ""}, {"OMP_WAIT_POLICY": ""}),
        ({"GOMP_SPINCOUNT": "1000"}, {"GOMP_SPINCOUNT": "1000"}),
        ({"KMP_BLOCKTIME": "5"}, {"KMP_BLOCKTIME": "5"}),
        ({"KMP_LIBRARY": "turnaround"}, {"KMP_LIBRARY": "turnaround"}),
    ],
)
def test_threads_wait_passively_unless_the_user_says_how(said: dict[str, str], policy: dict[str, str]) -> None:
    environment = dict(said)
    wait_passively(environment)
    assert {name: value for name, value in environment.items() if name != "OMP_NUM_THREADS"} == policy


IN_CHILD = """
import json
from dataclasses import replace
from tests.factories.children import child, threads
from auditor.records import JobContext

run = replace(child(threads), threads={threads})
print(json.dumps(run(None, None, None, JobContext())))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("said", "threads", "policy", "number"),
    [
        ({}, 1, {"OMP_WAIT_POLICY": "PASSIVE"}, 1),
        ({"OMP_NUM_THREADS": "1"}, None, {"OMP_WAIT_POLICY": "PASSIVE"}, 1),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, 2, {"OMP_WAIT_POLICY": "ACTIVE"}, 2),
        ({"GOMP_SPINCOUNT": "1000"}, 1, {"GOMP_SPINCOUNT": "1000"}, 1),
    ],
)
def test_children_have_the_policy_from_the_start(
    said: dict[str, str], threads: int | None, policy: dict[str, str], number: int
) -> None:
    left = {name: value for name, value in os.environ.items() if name not in (*devices.WAITING, "OMP_NUM_THREADS")}
    found = subprocess.run(
        [sys.executable, "-c", IN_CHILD.format(threads=threads)],
        capture_output=True,
        text=True,
        check=True,
        env=left | said | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert json.loads(found.stdout) == [policy, policy, number]


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        (None, 8),
        ("max 100000", 8),
        ("200000 100000", 2),
        ("250000 100000", 2),
        ("50000 100000", 1),
        ("1600000 100000", 8),
        ("", 8),
        ("nonsense", 8),
    ],
)
def test_a_containers_share_of_the_cores_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str | None, cores: int
) -> None:
    if quota is not None:
        (tmp_path / "cpu.max").write_text(f"{quota}\n")
    monkeypatch.setattr(devices, "QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert count_cores() == cores


@pytest.mark.parametrize(
    ("limit", "memory"),
    [(None, 8 * 2**30), ("max", 8 * 2**30), (str(2**30), 2**30), (str(2**50), 8 * 2**30), ("", 8 * 2**30)],
)
def test_a_containers_limit_of_memory_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str | None, memory: int
) -> None:
    if limit is not None:
        (tmp_path / "memory.max").write_text(f"{limit}\n")
    monkeypatch.setattr(devices, "MEMORY", tmp_path / "memory.max")
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(total=8 * 2**30))
    assert devices.count_memory() == memory
    assert Limits.share(60, None, processes=2).memory == int(0.9 * memory) // 2


@pytest.mark.parametrize(("said", "number"), [("2", 2), ("4,2", 4), (" 3 ", 3), ("", None), ("0", None), ("-1", None)])
def test_threads_that_the_environment_asks_for(monkeypatch: pytest.MonkeyPatch, said: str, number: int | None) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert threads_asked() == number


def test_processes_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "count_cores", lambda: 8)
    assert [share_of_threads(number) for number in (1, 2, 3, 8, 9)] == [None, 4, 2, 1, 1]
