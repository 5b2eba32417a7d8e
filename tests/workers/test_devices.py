"""Which device and how many threads a process of the pool gets; and that nothing of this needs torch."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from auditor.errors import EnvironmentUnusableError, UsageError
from workers.devices import assign_device, visible_gpus
from workers.options import Options

PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE"}
UUID = "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6"


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """``driver(script)`` makes a program nvidia-smi, the only one on PATH beside the shell's; None makes none."""

    def make(script: str | None) -> None:
        folder = tmp_path / "programs"
        folder.mkdir()
        if script is not None:
            file = folder / "nvidia-smi"
            file.write_text(f"#!/bin/sh\n{script}\n")
            file.chmod(file.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", str(folder))

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return make


@pytest.mark.parametrize(
    ("named", "gpus"),
    [
        ("0", ("0",)),
        ("0,2", ("0", "2")),
        (" 2 , 0 ", ("2", "0")),
        ("", ()),
        ("-1", ()),
        ("0,2,-1,1", ("0", "2")),  # what follows a number that is none is hidden
        ("-1,0", ()),
        (f"{UUID},1", (UUID, "1")),
        ("MIG-1c2d", ("MIG-1c2d",)),
    ],
)
def test_what_cuda_visible_devices_leaves(
    driver: Any, monkeypatch: pytest.MonkeyPatch, named: str, gpus: tuple[str, ...]
) -> None:
    driver("echo 0; echo 1; echo 2; echo 3")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert visible_gpus() == gpus


@pytest.mark.parametrize(
    ("script", "gpus"),
    [
        ("echo 0; echo 1", ("0", "1")),
        ("echo ' 0 '; echo", ("0",)),
        ("", ()),
        ("echo 0; exit 9", ()),  # the driver does not answer
        (None, ()),
    ],
)
def test_what_the_driver_says(driver: Any, script: str | None, gpus: tuple[str, ...]) -> None:
    driver(script)
    assert visible_gpus() == gpus


def test_the_driver_is_asked_for_numbers(driver: Any, tmp_path: Path) -> None:
    driver(f'echo "$@" > {tmp_path}/asked; echo 5')
    assert visible_gpus() == ("5",)
    assert (tmp_path / "asked").read_text() == "--query-gpu=index --format=csv,noheader\n"


@pytest.mark.parametrize("gpus", [("0",), ("2", "0"), (UUID, "1", "7")])
def test_each_process_has_a_gpu_of_its_own(gpus: tuple[str, ...]) -> None:
    seen = []
    for slot in range(len(gpus)):
        environment = {"CUDA_VISIBLE_DEVICES": ",".join(gpus), "OMP_NUM_THREADS": "99", "OTHER": "stays"}
        assert assign_device(slot, gpus, 3, environment) == f"cuda (GPU {gpus[slot]})"
        seen.append(environment.pop("CUDA_VISIBLE_DEVICES"))
        assert environment == {"OMP_NUM_THREADS": "3", "MKL_NUM_THREADS": "3", "OTHER": "stays", **PASSIVE}
    assert tuple(seen) == gpus


@pytest.mark.parametrize("slot", [0, 5])
def test_a_process_without_gpus_sees_none(slot: int) -> None:
    environment: dict[str, str] = {}
    assert assign_device(slot, (), 2, environment) == "cpu"
    assert environment == {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2", **PASSIVE}


def resolve(**given: Any) -> Options:
    """As ``auditor worker`` asks."""
    usual = {"queue": None, "gpus": None, "processes": None, "threads": None, "max_jobs": 100, "grace": 20.0}
    return Options.resolve(json.dumps({**usual, "trust_code": False, "log_level": "INFO", **given}))


@pytest.mark.parametrize(
    ("machine", "given", "expected"),
    [  # GPUs; options; queue, GPUs, processes, threads of eight cores
        (0, {}, ("cpu", (), 1, 8)),
        (0, {"processes": 4}, ("cpu", (), 4, 2)),
        (0, {"processes": 3}, ("cpu", (), 3, 2)),
        (0, {"processes": 9}, ("cpu", (), 9, 1)),
        (0, {"processes": 4, "threads": 5}, ("cpu", (), 4, 5)),
        (0, {"queue": "cpu"}, ("cpu", (), 1, 8)),
        (0, {"gpus": ["0"]}, ("gpu", ("0",), 1, 8)),  # a driver that does not answer, and somebody who knows better
        (2, {}, ("gpu", ("0", "1"), 2, 4)),
        (2, {"queue": "gpu"}, ("gpu", ("0", "1"), 2, 4)),
        (2, {"queue": "cpu"}, ("cpu", (), 1, 8)),
        (2, {"queue": "cpu", "processes": 2}, ("cpu", (), 2, 4)),
        (2, {"gpus": ["1"]}, ("gpu", ("1",), 1, 8)),
        (2, {"gpus": ["1", UUID], "threads": 1}, ("gpu", ("1", UUID), 2, 1)),
    ],
)
def test_what_was_not_said(
    driver: Any, monkeypatch: pytest.MonkeyPatch, machine: int, given: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    driver("\n".join(f"echo {number}" for number in range(machine)))
    monkeypatch.setattr("workers.options.count_cores", lambda: 8)
    found = resolve(**given)
    assert (found.queue, found.gpus, found.processes, found.threads) == expected
    assert (found.max_jobs, found.grace, found.trust_code, found.log_level) == (100, 20.0, False, "INFO")


def test_a_machine_that_does_not_know_its_cores_has_one(driver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    driver(None)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert resolve().threads == 1


def test_no_worker_serves_the_gpus_that_there_are_not(driver: Any) -> None:
    driver(None)
    with pytest.raises(EnvironmentUnusableError, match="nvidia-smi found no GPU"):
        resolve(queue="gpu")


def test_a_worker_without_its_gpus_ends_with_one_line(driver: Any) -> None:
    driver(None)
    usual = {"queue": "gpu", "gpus": None, "processes": None, "threads": None}
    found = subprocess.run(
        [sys.executable, "-P", "-m", "workers", json.dumps(usual)], capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stdout) == (3, "")
    assert found.stderr.startswith("error: nvidia-smi found no GPU")
    assert len(found.stderr.splitlines()) == 1


@pytest.mark.long
@pytest.mark.parametrize(
    "module",
    ["workers.app", "workers.process", "workers.tasks", "workers.reaper", "workers.__main__", "auditor.jobs.queue"],
)
def test_torch_is_not_imported_before_a_process_has_its_device(module: str) -> None:
    code = f"import sys, {module}\nassert 'torch' not in sys.modules, 'torch is imported'"
    environment = {**os.environ, "AUDITOR_BROKER_URL": "redis://127.0.0.1:1/0"}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert found.returncode == 0, found.stderr


@pytest.mark.parametrize("gpus", [["banana"], ["0", "0"], ["7"], ["0", "-1"], [UUID, UUID]])
def test_gpus_that_are_none_are_refused(driver: Any, gpus: list[str]) -> None:
    driver("echo 0; echo 1")
    asked = {"gpus": gpus, "queue": "gpu", "processes": None, "threads": 1, "max_jobs": 1, "grace": 1.0}
    with pytest.raises(UsageError, match=r"expected different GPUs of this machine \(0, 1\)"):
        Options.resolve(json.dumps(asked | {"trust_code": False, "log_level": "INFO"}))
