"""The wheel holds all that an installed auditor needs: migrations, weights, images, hierarchies."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.long
def test_an_installed_auditor_finds_its_migrations_and_its_zoo(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(tmp_path)]
    subprocess.run([*build, str(ROOT)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("auditor-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    check = (
        "import auditor, auditor.db.session as session, workers.process\n"
        f"assert workers.__file__.startswith({str(tmp_path)!r})\n"
        f"assert auditor.__file__.startswith({str(tmp_path)!r})\n"
        "assert session.migrations_folder().parent.name == 'auditor'\n"
    )
    subprocess.run([sys.executable, "-c", check], check=True, env=environment, cwd=tmp_path)
    scan = [sys.executable, "-m", "auditor", "scan", "demo", "--limit", "1", "--samples", "10"]
    done = subprocess.run(scan, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = [sys.executable, "-m", "auditor", "report", "1", "-o", "report.html"]
    subprocess.run(report, check=True, env=environment, cwd=tmp_path, capture_output=True)
    assert "demo:" in (tmp_path / "report.html").read_text()
