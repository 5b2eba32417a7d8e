"""The command line, run in this process."""

import json
import os
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import create_engine, text

from auditor.cli import main
from auditor.config import settings
from auditor.zoo.demo import WEIGHTS


def run(*arguments: object) -> Result:
    settings.cache_clear()
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def rows(*arguments: object, code: int = 0) -> list[dict]:
    result = run("scan", "demo", *arguments, "--format", "json")
    assert result.exit_code == code, result.stderr
    return json.loads(result.stdout)


def audits() -> int:
    engine = create_engine(os.environ["AUDITOR_DATABASE_URL"])
    with engine.connect() as connection:
        return connection.execute(text("SELECT COUNT(*) FROM audits")).scalar()


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the demo zoo to damage."""
    folder = tmp_path / "zoo"
    shutil.copytree(WEIGHTS, folder)
    monkeypatch.setenv("AUDITOR_DEMO_WEIGHTS", str(folder))
    return folder


def swap(folder: Path, name: str, weights: str) -> None:
    """Give a model of the copied zoo the weights of another one."""
    manifest = json.loads((folder / "manifest.json").read_text())
    rows = {row["name"]: row for row in manifest["models"]}
    original = {row["name"]: row for row in json.loads((WEIGHTS / "manifest.json").read_text())["models"]}
    kept = {key: rows[name][key] for key in ("name",)}
    rows[name].clear()
    rows[name].update(original[weights] | kept)
    shutil.copy(WEIGHTS / f"{weights}.safetensors", folder / f"{name}.safetensors")
    (folder / "manifest.json").write_text(json.dumps(manifest))
