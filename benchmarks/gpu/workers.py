"""Two workers on one device: real ones, with a Redis server in Python, so that no server need be installed."""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from auditor.db.filters import Filter
from auditor.db.results import list_results, load_verdicts
from auditor.db.session import open_database
from auditor.db.workers import list_workers
from auditor.machine.devices import MIB, query_nvidia_smi
from benchmarks.gpu.runner import Finding, Run
from benchmarks.side_by_side import ROOT
from workers.devices import visible_gpus

MODELS = (
    "at-eps0.10",
    "at-eps0.08",
    "at-eps0.05",
    "trades-eps0.05",
    "trades-eps0.10",
    "noise",
    "standard",
    "fgsm-eps0.10",
)


def two_workers(run: Run) -> Iterator[Finding]:
    """A scan by two workers side by side, the same scan in one process, and the memory that they leave."""
    from fakeredis import TcpFakeServer

    server = TcpFakeServer(("127.0.0.1", 0))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(prefix="gpu-") as scratch:
        folder, gpu = Path(scratch), first_gpu(run)
        before = memory_used(gpu)
        environment = os.environ | {
            "AUDITOR_DATABASE_URL": f"sqlite:///{folder}/auditor.db",
            "AUDITOR_BROKER_URL": f"redis://127.0.0.1:{server.server_address[1]}/0",
            "PYTHONPATH": str(ROOT),
        }
        queue = ["--queue", "cpu", "--processes", "1"] if gpu is None else ["--queue", "gpu", "--gpus", gpu]
        logs = [(folder / f"worker-{number}.log").open("w+") for number in (1, 2)]
        workers = [
            subprocess.Popen([*_auditor("worker"), *queue], cwd=folder, env=environment, stdout=log, stderr=log)
            for log in logs
        ]
        try:
            yield from _scan_by_both(run, folder, environment)
            most = memory_used(gpu)
        finally:
            for worker in workers:
                worker.terminate()
            codes = [_end(worker) for worker in workers]
        yield Finding(f"both workers ended with exit codes {codes}", passed=codes == [0, 0])
        if most is not None and before is not None:
            time.sleep(2)  # the driver frees memory a moment after a process has ended
            after = memory_used(gpu) or 0
            yield Finding(
                f"GPU memory in use: {before / 2**20:.0f} MiB before, {most / 2**20:.0f} MiB with idle workers, "
                f"{after / 2**20:.0f} MiB after",
                passed=after <= before + 64 * 2**20,
            )
        for log in logs:
            log.close()


def _scan_by_both(run: Run, folder: Path, environment: dict[str, str]) -> Iterator[Finding]:
    models = MODELS[:3] if run.small else MODELS
    scan = ["scan", "demo", "--samples", "16" if run.small else "256", "--device", run.device.partition(":")[0]]
    scan += [word for model in models for word in ("--model", model)]
    _wait_for_workers(environment, folder)
    began = time.perf_counter()
    _call(environment, folder, *scan, "--queue", "--wait")
    seconds = time.perf_counter() - began
    (shown,) = _json(environment, folder, "scans", "show", "1")
    audits = shown["audits"]
    names = {audit["worker"] for audit in audits}
    yield Finding(
        f"{len(audits)} audits by {len(names)} workers in {seconds:.0f} s, {_overlaps(audits)} pairs of them at the "
        "same time",
        passed=[audit["state"] for audit in audits] == ["done"] * len(models) and len(names) == 2,
    )
    together = _verdicts(environment)
    alone = environment | {"AUDITOR_DATABASE_URL": f"sqlite:///{folder}/alone.db"}
    began = time.perf_counter()
    _call(alone, folder, *scan, "--here")
    seconds = time.perf_counter() - began
    expected = _verdicts(alone)
    equal = sum(together[model] == expected[model] for model in expected)
    yield Finding(
        f"the same scan in one process, {seconds:.0f} s: all verdicts equal for {equal} of {len(expected)} models",
        passed=set(together) == set(expected)
        and all(_differing(together[model], expected[model]) <= 0.01 for model in expected),
    )


def _wait_for_workers(environment: dict[str, str], folder: Path, seconds: float = 40) -> None:
    engine, deadline = open_database(environment["AUDITOR_DATABASE_URL"]), time.monotonic() + seconds
    while time.monotonic() < deadline:
        if len(list_workers(engine)) == 2:
            return
        time.sleep(0.5)
    logs = "; ".join(file.read_text()[-500:] for file in sorted(folder.glob("worker-*.log")))
    raise RuntimeError(f"expected 2 workers after {seconds:.0f} s: {logs}")


def _verdicts(environment: dict[str, str]) -> dict[str, list[bool]]:
    """Which samples of each model have survived, from the database."""
    engine = open_database(environment["AUDITOR_DATABASE_URL"])
    found = {}
    for row in list_results(engine, Filter()):
        verdicts = load_verdicts(engine, row.id)
        assert verdicts is not None
        found[row.model] = verdicts.survived.tolist()
    return found


def _differing(one: list[bool], other: list[bool]) -> float:
    return sum(a != b for a, b in zip(one, other, strict=True)) / len(one)


def _overlaps(audits: list[dict[str, Any]]) -> int:
    """How many pairs of audits, of different workers, ran at the same time."""
    spans = [(audit["started_at"], audit["finished_at"], audit["worker"]) for audit in audits]
    return sum(
        one[2] != other[2] and one[0] < other[1] and other[0] < one[1]
        for number, one in enumerate(spans)
        for other in spans[:number]
    )


def _auditor(*words: str) -> list[str]:
    return [sys.executable, "-m", "auditor", *words]


def _call(environment: dict[str, str], folder: Path, *words: str) -> str:
    done = subprocess.run(_auditor(*words), cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"auditor {words[0]} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    return done.stdout


def _json(environment: dict[str, str], folder: Path, *words: str) -> Any:
    return json.loads(_call(environment, folder, *words, "--format", "json"))


def first_gpu(run: Run) -> str | None:
    """The number or UUID of the GPU that the run is on, as CUDA_VISIBLE_DEVICES has it; None on the CPU."""
    if not run.device.startswith("cuda"):
        return None
    index, gpus = torch.device(run.device).index or 0, visible_gpus()
    return gpus[index] if index < len(gpus) else str(index)


def memory_used(gpu: str | None) -> int | None:
    """Bytes in use on this GPU, by all processes; None without one, or if the driver does not say."""
    if gpu is None:
        return None
    for line in query_nvidia_smi("index,uuid,memory.used", ",nounits"):
        number, uuid, used = (part.strip() for part in line.split(","))
        if (gpu == number or (gpu.startswith("GPU-") and uuid.startswith(gpu))) and used.isdecimal():
            return int(used) * MIB
    return None


def _end(worker: "subprocess.Popen[Any]") -> int:
    try:
        return worker.wait(20)
    except subprocess.TimeoutExpired:
        worker.kill()
        return worker.wait(5)
