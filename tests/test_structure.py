"""Promises about the shape of the project: small files, no torch where none is needed, docs that keep up."""

import subprocess
import sys
from pathlib import Path

import click
import pytest

from auditor.cli.scan import command as scan
from auditor.config import Settings, settings
from auditor.db.session import open_database
from auditor.db.store import Store
from tests import cli_reference
from tests.factories.records import REQUEST, entry

ROOT = Path(__file__).parent.parent


GENERATED = ROOT / "auditor/client/models.py"
FILES = sorted(file for package in ("auditor", "workers") for file in (ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_one_idea_a_file(file: Path) -> None:
    assert file == GENERATED or len(file.read_text().splitlines()) <= 500


@pytest.mark.long
@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"], ["--version"], ["scan", "--help"], ["results", "list"], ["results", "list", "--format", "json"],
        ["results", "plot", "--help"], ["zoo", "list", "demo"], ["db", "upgrade"],
        ["scans", "list"], ["scans", "--help"], ["scans", "show", "1"], ["workers"], ["worker", "--help"],
        ["metrics", "--once"], ["metrics", "--help"],
        ["zoo", "list", "robustbench"], ["zoo", "import-published", "--help"], ["results", "compare", "--help"],
        ["checkpoints", "list"], ["checkpoints", "get", "--help"], ["reproduce", "bai2021", "--list"],
        ["evidence", "keygen", "--out", "new.key"], ["evidence", "export", "--help"], ["zoo", "check", "--help"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_commands_that_only_read_never_import_torch(arguments: list[str]) -> None:
    if "show" in arguments:
        Store(open_database(settings().database_url)).create_scan("demo", REQUEST, [entry()], queue="cpu")
    code = (
        "import sys\nfrom auditor.cli import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_help_waits_for_no_library_but_click() -> None:
    code = (
        "import sys\nfrom auditor.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print([name for name in ('numpy', 'sqlalchemy', 'rich', 'pydantic', 'scipy') if name in sys.modules])\n"
    )
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert result.stdout.splitlines()[-1] == "[]"


def test_every_setting_is_documented() -> None:
    text = (ROOT / "docs" / "settings.md").read_text()
    for name in Settings.__struct_fields__:
        assert f"`AUDITOR_{name.upper()}`" in text


def test_the_cli_reference_is_current() -> None:
    scan.get_help(click.Context(scan))  # alone it has no -h, and click would keep that
    assert (ROOT / "docs" / "cli.md").read_text() == cli_reference.reference(), "run `make docs`"
