"""A data set smaller than the protocol's sample is used whole; a number that somebody asked for has to be there."""

import json
from pathlib import Path

import numpy as np
import pytest

from auditor.audit.identity import identity
from auditor.audit.task import images_of
from auditor.config import settings
from auditor.db.scans import load_request
from auditor.db.session import open_database
from auditor.records import AuditRequest
from auditor.scans.request import ScanRequest
from auditor.zoo.local import LocalZoo
from tests.factories import garden
from tests.factories.command import run
from tests.web.serving import client

NOTE = "garden has fewer than 256 test images, so that all 80 were used"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return garden.make(tmp_path / "garden")


def scan(folder: Path, *options: str, code: int = 0) -> list[dict]:
    result = run("scan", "local", folder, "--trust-code", "--here", *options, "--format", "json")
    assert result.exit_code == code, result.stderr
    return json.loads(result.stdout)


@pytest.mark.long
def test_all_images_are_used_with_a_note(folder: Path) -> None:
    (row,) = scan(folder)
    assert (row["status"], row["n"], NOTE in row["notes"]) == ("done", 80, True)
    assert NOTE in " ".join(run("results", "show", row["model"]).stdout.split())
    assert "garden has fewer than 256 test images: all 80 were used." in run("results", "list").stdout
    server = client()
    assert NOTE in server.get(f"/audits/{row['id']}").text
    assert NOTE in server.get(f"/api/v1/results/{row['id']}").json()["notes"]
    assert "--samples 80" in server.get(f"/audits/{row['id']}").text  # the command that repeats the audit can run
    (again,) = scan(folder, "--samples", "80")
    assert again["id"] == row["id"]  # the same images: nothing to do
    (fewer,) = scan(folder, "--samples", "60")
    assert (fewer["n"], NOTE in fewer["notes"], fewer["identity"] == row["identity"]) == (60, False, False)
    assert [one["id"] for one in scan(folder, "--reverify", "1")] == [row["id"]]


@pytest.mark.long
@pytest.mark.parametrize("protocol", ["quick", "standard", "full", "screen"])
def test_what_a_stored_request_means_for_a_worker(folder: Path, protocol: str) -> None:
    (entry,) = LocalZoo(folder).entries()
    options = {"--protocol": protocol, "--triage": "1"} if protocol != "screen" else {"--protocol": protocol}
    words = [word for option in options.items() for word in option]
    scan(folder, *words)
    stored = load_request(open_database(settings().database_url), 1)
    images = images_of(entry, ScanRequest.from_json(stored).measurement)
    assert (None if images is None else len(images.labels)) == (None if protocol == "screen" else 80)


def test_a_larger_data_set_is_another_audit(folder: Path, tmp_path: Path) -> None:
    def identity_of(folder: Path) -> str:
        (entry,) = LocalZoo(folder).entries()
        request = ScanRequest.make(AuditRequest(protocol="quick"), samples=None)
        return identity(entry, "w", request.measurement.audit, images_of(entry, request.measurement))

    larger = garden.make(tmp_path / "larger", test=256)
    assert identity_of(folder) != identity_of(larger)


@pytest.mark.long
def test_a_dry_run_says_so(folder: Path) -> None:
    result = run("scan", "local", folder, "--trust-code", "--here", "--dry-run", "--format", "json")
    (row,) = json.loads(result.stdout)
    assert (row["plan"], NOTE in row["reason"]) == ("to do", True), result.stderr


@pytest.mark.parametrize("options", [(), ("--dry-run",)])
def test_more_samples_than_there_are_is_an_error(folder: Path, options: tuple[str, ...]) -> None:
    result = run("scan", "local", folder, "--trust-code", "--here", "--samples", "81", *options)
    assert result.exit_code == 2
    assert "garden has 80 test images, 81 were requested; use `--samples 80`" in result.stderr


@pytest.mark.long
def test_only_the_models_of_the_smaller_data_set_fail(folder: Path) -> None:
    text = garden.TOML.replace("SUPERS", garden.SUPERS)
    small = text.replace('"plant"', '"small"').replace('"garden"', '"bed"').replace("test.npz", "bed.npz")
    (folder / "zoo.toml").write_text(text + "\n" + small)
    pixels, labels = garden.images(3, 8)
    np.savez(folder / "bed.npz", images=pixels, labels=labels)
    rows = {row["model"]: row for row in scan(folder, "--samples", "40", code=1)}
    assert rows["local:plant"]["n"] == 40
    assert rows["local:small"]["status"] == "failed"
    assert "bed has 8 test images, 40 were requested" in rows["local:small"]["reason"]
