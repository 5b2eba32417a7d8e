"""The command that a scan's page shows starts the same scan."""

import shlex
from pathlib import Path
from typing import Any

import pytest

from auditor.config import settings
from auditor.db.scans import load_settings
from auditor.db.session import open_database
from auditor.db.store import Store
from auditor.scans.command import MOST_MODELS, scan_command, uses_folder
from auditor.scans.local import ScanOutcome
from tests.factories.command import run
from tests.factories.records import entry
from tests.factories.scans import scan_request


@pytest.fixture
def parse(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What ``auditor scan …`` would run: source, entries and request."""
    caught: list[Any] = []

    def catch(*arguments: Any) -> ScanOutcome:
        caught.append(arguments)
        return ScanOutcome(1, ended=False)

    monkeypatch.setattr("auditor.cli.run_scan.run_where", catch)
    monkeypatch.setattr("auditor.cli.run_scan.start_children", lambda *_: None)

    def parse(*words: object) -> tuple[str, Any, Any]:
        result = run("scan", *words)
        assert result.exit_code == 0, result.output
        _, _, _, source, entries, request, _ = caught.pop()
        return source, entries, request

    return parse


@pytest.mark.parametrize(
    "options",
    [
        "--protocol screen",
        "--samples 20",
        "--protocol standard --samples 64 --seed 7 --linearization fold --sketch 64",
        "--eps 8/255 --targeted superclass --triage 0.25",
        "--norm L2 --eps 0.123456789",
        "--eps 0.02 --certify bounds",
        "--norm L2 --eps 0.5 --certify smoothing --sigma 0.3",
        "--time-limit 90 --memory-limit 2.5 --force",
        "--data {data} --save-adversarials {kept}",
        "--match 'at-*' --limit 2",
    ],
)
def test_a_stored_scan_is_written_as_its_command(options: str, parse: Any, tmp_path: Path) -> None:
    (tmp_path / "some data").mkdir()
    places = {"data": tmp_path / "some data", "kept": tmp_path / "it's kept"}
    words = [word.format(**places) for word in shlex.split(options)]
    source, entries, request = parse("demo", *words)
    engine = open_database(settings().database_url)
    scan_id, _ = Store(engine).create_scan(source, request.to_json(), entries)
    command = scan_command(load_settings(engine, scan_id), [one.model for one in entries])
    assert command[:3] == ["auditor", "scan", "demo"]
    again = parse(*shlex.split(shlex.join(command))[2:])
    assert again == (source, entries, request)


def test_paths_are_left_out_for_readers_without_a_token() -> None:
    engine = open_database(settings().database_url)
    request = scan_request("quick", folder="/srv/zoo", data="/srv/data", trust_code=True)
    scan_id, _ = Store(engine).create_scan("local", request, [entry("a b")])
    stored = load_settings(engine, scan_id)
    assert uses_folder(stored)
    assert scan_command(stored, ["local:a b"])[2:7] == ["local", "/srv/zoo", "--model", "a b", "--protocol"]
    public = shlex.join(scan_command(stored, ["local:a b"], paths=False))
    assert "/srv" not in public
    assert "auditor scan local DIR --model 'a b'" in public
    assert "--data PATH" in public


def test_very_many_models_are_not_named() -> None:
    engine = open_database(settings().database_url)
    scan_id, _ = Store(engine).create_scan("demo", scan_request(), [entry("a")])
    stored = load_settings(engine, scan_id)
    assert "--model" in scan_command(stored, ["demo:a"] * MOST_MODELS)
    assert "--model" not in scan_command(stored, ["demo:a"] * (MOST_MODELS + 1))
