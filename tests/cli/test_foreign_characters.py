"""NUL characters and bytes that are no UTF-8 in options: one line, on both databases, and nothing is stored."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from auditor.config import settings
from auditor.db.schedules import add_schedule, find_schedule, last_run
from auditor.db.session import open_database
from tests.factories.command import run
from tests.factories.databases import url  # noqa: F401

ODD = {"NUL": "a\0b", "byte": "a\udcffb", "half of a pair": "\ud800", "pattern": "[!\0]*", "byte in one": "[!\udcff]*"}
CRON = ("--cron", "0 2 * * *", "--")


@pytest.fixture(autouse=True)
def database(url: str, monkeypatch: pytest.MonkeyPatch) -> str:  # noqa: F811
    monkeypatch.setenv("AUDITOR_DATABASE_URL", url)
    settings.cache_clear()
    open_database(url).dispose()
    return url


def commands(odd: str) -> list[tuple[str, ...]]:
    return [
        ("results", "list", "--match", odd), ("results", "list", "--model", odd), ("results", "list", "--dataset", odd),
        ("results", "list", "--source", odd), ("results", "list", "--sort", odd), ("results", "list", "--status", odd),
        ("results", "show", odd), ("results", "compare", odd, odd), ("results", "plot", odd, "-o", "x.png"),
        ("scan", "demo", "--model", odd), ("scan", "demo", "--dataset", odd), ("scan", "demo", "--threat-model", odd),
        ("scan", "demo", "--device", odd), ("zoo", "list", odd), ("boost", odd), ("adapt", odd),
        ("schedule", "add", odd, *CRON, "scan", "demo"), ("schedule", "add", "x", "--cron", odd, "--", "scan", "demo"),
        ("schedule", "add", "x", *CRON, "scan", odd), ("schedule", "add", "x", *CRON, "scan", "demo", "--match", odd),
        ("schedule", "remove", odd), ("schedule", "enable", odd), ("schedule", "run-now", odd),
        ("tokens", "add", odd, "--scope", "read"), ("tokens", "revoke", odd), ("tokens", "add", "x", "--scope", odd),
        ("scans", "list", "--state", odd), ("serve", "--allowed-host", odd), ("metrics", "--allowed-host", odd),
    ]  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_one_line_whatever_the_option(odd: str, database: str) -> None:
    for words in commands(odd):
        refused = run(*words)
        found_nothing = refused.exit_code == 0 and words[:2] == ("results", "list") and "\0" not in odd
        assert refused.exit_code == 2 or found_nothing, (words, refused.stderr)
        lines = [line for line in refused.stderr.splitlines() if not line.startswith(("Usage:", "Try "))]
        assert len([line for line in lines if line]) <= 1, refused.stderr
        assert "unexpected" not in refused.stderr
    engine = create_engine(database)
    with engine.connect() as connection:
        for table in ("scans", "schedules", "trainings", "tokens"):
            assert connection.scalar(text(f"SELECT COUNT(*) FROM {table}")) == 0, table
    engine.dispose()


@pytest.mark.parametrize("path", ["a\0b", "[!\0]*"])
def test_paths_with_nul_are_one_line(path: str) -> None:
    for words in (
        ("results", "export", "-o", path), ("scan", "local", path), ("scan", "checkpoint", path), ("zoo", "init", path),
        ("scan", "demo", "--data", path), ("report", "1", "-o", path), ("boost", "local:x", "--zoo", path),
    ):  # fmt: skip
        refused = run(*words)
        assert (refused.exit_code, len(refused.stderr.splitlines())) == (2, 1), refused.stderr
        assert "without NUL characters" in refused.stderr


def test_a_file_whose_name_is_no_utf_8_can_be_written(tmp_path: Path) -> None:
    name = tmp_path / os.fsdecode(b"caf\xe9.csv")
    assert run("results", "export", "-o", name).exit_code == 0
    assert name.is_file()


@pytest.mark.long
def test_bytes_of_a_shell() -> None:
    program = [sys.executable.encode(), b"-m", b"auditor", b"schedule", b"remove", b"caf\xe9"]
    refused = subprocess.run(program, capture_output=True, check=False, timeout=120)
    assert refused.returncode == 2
    assert refused.stderr.splitlines() == [b"error: expected names and options in UTF-8, got 'caf\\udce9'"]


@pytest.mark.parametrize("word", ["a\0b", "a\ud800b"], ids=["NUL", "half of a pair"])
def test_a_stored_command_with_such_a_word_fails_with_its_reason(word: str, database: str) -> None:
    engine = open_database(database)
    add_schedule(engine, "old", "0 2 * * *", ("scan", "demo", f"--match={word}"))
    failed = run("schedule", "run-now", "old", "--here")
    assert failed.exit_code == 3
    assert failed.stderr.splitlines()[-1].startswith("error: schedule old: "), failed.stderr
    assert "unexpected" not in failed.stderr
    assert last_run(engine, find_schedule(engine, "old")).state == "failed"
    engine.dispose()
