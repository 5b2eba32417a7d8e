"""What `make image-test` needs, and what it copies of this machine's interpreter; the test itself takes minutes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.files import ROOT
from tests.image.build import PROGRAMS, copy_interpreter, packages_of_libraries
from tests.image.container import Image


@pytest.mark.long
@pytest.mark.skipif(not Path("/etc/debian_version").exists(), reason="Debian's packages are named on Debian alone")
def test_a_machine_without_buildah_is_told_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "debootstrap").write_text("#!/bin/sh\n")
    (tmp_path / "debootstrap").chmod(0o755)
    ended = subprocess.run(
        [sys.executable, "-m", "tests.image"], cwd=ROOT, env={**os.environ, "PATH": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 3
    (line,) = [line for line in ended.stderr.splitlines() if "apt-get install" in line]
    assert line.startswith("image test: needs Debian packages: apt-get install buildah redis-server util-linux")
    assert "debootstrap" not in line


def test_the_documentation_names_the_packages() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    (line,) = [line for line in text.splitlines() if "apt-get install buildah" in line]
    assert set(PROGRAMS.values()) - {"util-linux"} <= set(line.split()), "util-linux is on every Debian"


@pytest.mark.skipif(sys.base_prefix == "/usr", reason="Debian's own interpreter comes as packages")
@pytest.mark.long
def test_a_copied_interpreter_runs_without_what_was_installed_into_the_original(tmp_path: Path) -> None:
    copy_interpreter(Path(sys.base_prefix), tmp_path)
    code = "import sys, ssl, sqlite3, venv; print(sys.prefix, sys.version_info[:3])"
    python = tmp_path / "bin" / "python3"
    environment = {"LD_LIBRARY_PATH": str(tmp_path / "lib"), "PATH": ""}
    shown = subprocess.run([python, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == f"{tmp_path} {tuple(sys.version_info[:3])}"
    assert not list(tmp_path.glob("lib/python3*/site-packages/*"))


@pytest.mark.long
@pytest.mark.skipif(sys.base_prefix == "/usr", reason="Debian's own interpreter comes as packages")
@pytest.mark.skipif(not Path("/usr/bin/dpkg-query").exists(), reason="needs Debian")
def test_the_packages_of_an_interpreters_libraries() -> None:
    found = packages_of_libraries(Path(sys.base_prefix))
    assert "libc6" in found
    assert not [name for name in found if name.startswith(("libx11", "libtk"))]


def test_a_packages_size_is_that_of_its_files(tmp_path: Path) -> None:
    site = tmp_path / "opt" / "auditor" / "lib" / "python3.11" / "site-packages"
    for name, content in (("small", b"x" * 10), ("large", b"x" * 5000)):
        (site / name).mkdir(parents=True)
        (site / name / "__init__.py").write_bytes(content)
        info = site / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "RECORD").write_text(f'"{name}/__init__.py",sha256=x,10\n{name}/missing.pyc,,\n')
    image = Image.__new__(Image)
    image.root = tmp_path
    assert [(one.name, one.version, one.size) for one in image.packages()] == [
        ("large", "1.0", 5000),
        ("small", "1.0", 10),
    ]
