"""auditor on the oldest Python that it supports, which is Debian's, with the packages of this environment."""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.constraints import ROOT, oldest_python

DEBIANS = Path("/usr/bin/python3")
IMPORT_ALL = """
import importlib, pkgutil
import auditor, workers
packages = [pkgutil.walk_packages(package.__path__, f"{package.__name__}.") for package in (auditor, workers)]
names = [found.name for modules in packages for found in modules]
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name)
print(len(names))
"""


@pytest.fixture
def oldest() -> list[str]:
    """The command of the oldest Python; modules for one 3.11 fit each 3.11."""
    ask = "import platform; print(platform.python_version())"
    version = ""
    if DEBIANS.exists():
        version = subprocess.run([DEBIANS, "-c", ask], capture_output=True, text=True, check=True).stdout.strip()
    if version != oldest_python() or sys.version_info[:2] != tuple(map(int, version.split(".")[:2])):
        pytest.skip(f"needs Python {oldest_python()}, as in Debian 12, beside another one of the same minor version")
    return [str(DEBIANS), "-P"]


@pytest.mark.long
def test_it_imports_all_modules_and_audits_a_model(oldest: list[str], tmp_path: Path) -> None:
    packages = f"{ROOT}:{sysconfig.get_path('purelib')}"
    environment = {**os.environ, "PYTHONPATH": packages}
    imported = subprocess.run(
        [*oldest, "-c", IMPORT_ALL], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert imported.returncode == 0, imported.stderr
    assert int(imported.stdout) > 150
    scan = ["-m", "auditor", "scan", "demo", "--limit", "1", "--samples", "10", "--here", "--format", "json"]
    scanned = subprocess.run(
        [*oldest, *scan], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert scanned.returncode == 0, scanned.stderr
    (row,) = json.loads(scanned.stdout)
    assert row["model"] == "demo:standard"
