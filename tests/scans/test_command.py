"""The command that a scan's page shows starts the same scan."""

import shlex
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from auditor.config import settings
from auditor.db.scans import load_settings
from auditor.db.session import open_database
from auditor.db.store import Store
from auditor.records import AuditRequest, Measurement
from auditor.scans.command import MOST_MODELS, scan_command, uses_folder
from auditor.scans.local import ScanOutcome
from auditor.scans.request import ScanRequest
from tests.factories.attack_files import ATTACKS
from tests.factories.command import run
from tests.factories.records import entry
from tests.factories.scans import scan_request

OPTIONS = {
    "protocol": "--protocol screen",
    "samples": "--samples 20",
    "seed": "--protocol standard --samples 64 --seed 7",
    "linearization": "--linearization fold",
    "sketch": "--protocol standard --samples 64 --sketch 64",
    "triage": "--triage 0.25",
    "targeted": "--eps 8/255 --targeted superclass",
    "curve": "--norm L2 --eps 0.123456789 --curve",
    "certify": "--eps 0.02 --certify bounds",
    "sigma": "--norm L2 --eps 0.5 --certify smoothing --sigma 0.3",
    "mixed_precision": "--protocol strong --mixed-precision",
    "stop_at": "--fail-under 45% --sequential",
    "stop_on_regression": "--fail-on-regression --sequential",
    "extra_attacks": "--transfer-from demo:standard",
    "device": "--device cuda",
    "seconds": "--time-limit 90",
    "memory": "--memory-limit 2.5",
    "force": "--force",
    "trust_code": "--attack {attack}:few --trust-code",
    "data": "--data {data}",
    "adversarials": "--save-adversarials {kept}",
    "reverify": "--reverify 1",
    "or_fewer": "--match 'at-*' --limit 2",
}
"""By field of a request: options of a scan of the demo zoo that set it to something else than a plain scan has."""
NOT_OPTIONS = {
    "batch_size": "a setting of the machine, no part of the identity",
    "measure_batch": "a setting of the machine, no part of the identity",
    "tests": "counted from the models",
    "folder": "an argument, see the test of paths",
}


def all_fields() -> set[str]:
    names = {field.name for kind in (AuditRequest, Measurement, ScanRequest) for field in fields(kind)}
    return names - {"audit", "measurement"}  # the objects that have the others


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


def test_every_field_of_a_request_is_tried_or_has_a_reason() -> None:
    assert OPTIONS.keys() | NOT_OPTIONS.keys() == all_fields()


@pytest.mark.parametrize("field", OPTIONS)
def test_a_stored_scan_is_written_as_its_command(
    field: str, parse: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("auditor.machine.devices.check_device", lambda device: device)  # nothing is measured
    monkeypatch.setattr("auditor.results.reverify.longest_unverified", lambda *_: ["demo:standard"])
    (tmp_path / "some data").mkdir()
    (tmp_path / "attacks.py").write_text(ATTACKS)
    places = {"data": tmp_path / "some data", "kept": tmp_path / "it's kept", "attack": tmp_path / "attacks.py"}
    words = [word.format(**places) for word in shlex.split(OPTIONS[field])]
    source, entries, request = parse("demo", *words)
    engine = open_database(settings().database_url)
    scan_id, _ = Store(engine).create_scan(source, request.to_json(), entries)
    command = scan_command(load_settings(engine, scan_id), [one.model for one in entries])
    assert command[:3] == ["auditor", "scan", "demo"]
    again = parse(*shlex.split(shlex.join(command))[2:])
    assert again == (source, entries, request)
    plain = ScanRequest.make(AuditRequest(protocol="quick"), samples=20 if field == "or_fewer" else None, seconds=21600)
    assert request.to_json()[field] != plain.to_json()[field], "the options do not set the field"


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
