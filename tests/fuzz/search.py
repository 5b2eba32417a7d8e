"""Search for findings of one target for some seconds; `python -m tests.fuzz` starts this program for each turn.

Atheris drives the search: libFuzzer's mutations, guided by the branches of the target's modules. It is the only
maintained coverage-guided fuzzer for Python that also sees comparisons of strings and integers.
"""

import contextlib
import hashlib
import importlib
import os
import resource
import shutil
import sys
import tempfile
from pathlib import Path
from types import FunctionType, ModuleType

import atheris

ADDRESS_SPACE = 2 << 30
"""Bytes that all inputs together may add to the address space of this process."""
SECONDS_PER_INPUT = 20


def main(name: str, corpus: Path, findings: Path, seconds: int) -> None:
    """Fuzz a target; findings are written as they come, one for each place, and the search goes on."""
    with atheris.instrument_imports(include=["auditor", "workers"]):
        from auditor.errors import AuditorError
        from tests.fuzz.contract import check, warm_up
        from tests.fuzz.targets import TARGETS

        target = TARGETS[name]
        with tempfile.TemporaryDirectory() as folder, contextlib.suppress(AuditorError):
            warm_up(target, Path(folder))
    for module in target.libraries:
        _instrument(importlib.import_module(module))
    known = {path.stem for path in findings.glob("*.bin")}
    places: set[str] = set()
    scratch = Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-"))
    os.chdir(scratch)
    _limit_memory()

    def one(data: bytes) -> None:
        folder = scratch / "own"
        folder.mkdir()
        found = check(target, data, folder)
        shutil.rmtree(folder, ignore_errors=True)
        if found is not None and found.place not in places:
            places.add(found.place)
            digest = hashlib.sha1(data, usedforsecurity=False).hexdigest()[:12]
            if digest not in known:
                findings.mkdir(parents=True, exist_ok=True)
                (findings / f"{digest}.bin").write_bytes(data)
            print(f"FINDING {digest} {found}", flush=True)

    options = [f"-max_len={target.length}", f"-max_total_time={seconds}", f"-timeout={SECONDS_PER_INPUT}",
               "-rss_limit_mb=0", f"-artifact_prefix={scratch}/", "-print_final_stats=1"]  # fmt: skip
    atheris.Setup([sys.argv[0], *options, str(corpus)], one)
    atheris.Fuzz()


def _instrument(module: ModuleType) -> None:
    """Instrument the functions of a library's module; atheris could only instrument all of its package."""
    classes = [
        value for value in vars(module).values() if isinstance(value, type) and value.__module__ == module.__name__
    ]
    for place in (module, *classes):
        for function in vars(place).values():
            if isinstance(function, FunctionType) and function.__module__ == module.__name__:
                atheris.instrument_func(function)


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + ADDRESS_SPACE
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
