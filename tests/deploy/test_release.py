"""A release: the same bytes from two builds, one version everywhere, a valid SBOM, a database that upgrades."""

import json
import re
import sqlite3
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from tests.deploy.files import ROOT
from tests.factories.command import run
from tests.factories.tools import load_tool

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
RELEASES = Path(__file__).parent / "releases"
REVISIONS = {"0.1.0": "0015"}  # the head of each version's database; its files are in releases/


@pytest.fixture
def release() -> ModuleType:
    return load_tool("release")


@pytest.mark.long
def test_two_builds_are_the_same_and_complete(release: ModuleType, tmp_path: Path) -> None:
    digests = release.build_twice(tmp_path)
    assert sorted(digests) == [f"auditor-{VERSION}-py3-none-any.whl", f"auditor-{VERSION}.tar.gz"]
    inside = release.contents(tmp_path / "first" / f"auditor-{VERSION}.tar.gz")
    for needed in ("README.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/index.md", "tools/site.py",
                   "examples/notebooks/boost_and_prove.ipynb", "auditor/plots/__init__.py"):  # fmt: skip
        assert needed in inside
    assert not [name for name in inside if name.endswith(".pyc") or ".env" in Path(name).name]


@pytest.mark.long
def test_the_sbom_names_each_installed_package(release: ModuleType, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "clean")], check=True)
    python = tmp_path / "clean" / "bin" / "python"
    release.build(ROOT, tmp_path / "dist")
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", str(wheel)]
    subprocess.run(pip, check=True)
    release.write_sbom(python, tmp_path / "sbom.json")
    sbom = json.loads((tmp_path / "sbom.json").read_text())
    assert (sbom["bomFormat"], sbom["specVersion"]) == ("CycloneDX", "1.6")
    root = sbom["metadata"]["component"]
    assert (root["name"], root["version"], root["type"]) == ("auditor", VERSION, "application")


def test_the_scan_of_a_release_is_of_the_whole_demo_zoo(release: ModuleType) -> None:
    from auditor.zoo.demo import DemoZoo

    assert [f"demo:{name}" for name in release.demo_models()] == [entry.model for entry in DemoZoo().entries()]


def test_one_version_everywhere() -> None:
    changes = (ROOT / "CHANGELOG.md").read_text()
    assert re.search(r"^## (\S+) \(", changes, re.MULTILINE)[1] == VERSION
    for name in ("compose.yaml", "docs/operations.md"):
        tags = set(re.findall(r"auditor:(\d[\w.]*)", (ROOT / name).read_text()))
        assert tags <= {VERSION}, name


@pytest.mark.sqlite("the files that a release made")
@pytest.mark.parametrize("version", REVISIONS)
def test_the_database_of_a_release_upgrades_and_lists_the_same(
    version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "old.db"
    with sqlite3.connect(file) as connection:
        connection.executescript((RELEASES / f"{version}.sql").read_text())
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(REVISIONS[version],)]
    connection.close()
    monkeypatch.setenv("AUDITOR_DATABASE_URL", f"sqlite:///{file}")
    expected = json.loads((RELEASES / f"{version}.json").read_text())
    assert run("db", "upgrade").exit_code == 0
    assert run("db", "check").exit_code == 0
    for words, rows in expected.items():
        found = json.loads(run(*words.split(), "--format", "json").stdout)
        found = found if isinstance(found, list) else [found]
        assert [{name: now[name] for name in then} for then, now in zip(rows, found, strict=True)] == rows, words
