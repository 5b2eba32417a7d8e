"""`auditor evidence` and `auditor zoo check` as people type them, and the files of `auditor scan --sarif --junit`."""

import json
import os
import stat
from pathlib import Path

import pytest

from tests.factories import garden
from tests.factories.command import run
from tests.factories.evidence import collected, folder, made, store_attacked, store_scan  # noqa: F401

SMALL = ("--model", "standard", "--samples", "4", "--here")


def test_from_a_key_to_verified_evidence(tmp_path: Path) -> None:
    key = tmp_path / "keys" / "team.key"
    generated = run("evidence", "keygen", "--out", key)
    assert generated.exit_code == 0, generated.stderr
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert f"public key: {key}.pub" in generated.stdout
    audit_id = store_attacked()
    exported = run("evidence", "export", audit_id, "--out", "evidence", "--key", key)
    assert exported.exit_code == 0, exported.stderr
    assert "1 audit, 9 files, signed with the key" in exported.stderr
    verified = run("evidence", "verify", "evidence", "--key", f"{key}.pub")
    assert verified.exit_code == 0, verified.stderr
    assert "valid: " in verified.stdout
    assert "not trusted" not in verified.stderr
    consistent = run("evidence", "verify", "evidence")
    assert consistent.exit_code == 0
    assert "not trusted: the signature fits the key " in consistent.stderr
    assert "can sign them again with another key" in " ".join(consistent.stderr.split())


def test_the_default_key_is_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDITOR_EVIDENCE_KEY", str(tmp_path / "own.key"))
    store_scan()
    missing = run("evidence", "export", "scan:1", "--out", "evidence")
    assert (missing.exit_code, "`auditor evidence keygen` makes a key" in missing.stderr) == (2, True)
    assert run("evidence", "keygen").exit_code == 0
    exported = run("evidence", "export", "scan:1", "--out", "evidence")
    assert exported.exit_code == 0, exported.stderr
    assert "not included: demo:broken: its audit is failed: its file is damaged" in exported.stderr
    again = run("evidence", "keygen")
    assert (again.exit_code, "already exists and was not changed" in again.stderr) == (2, True)


def test_a_change_ends_with_4_and_the_name_of_the_file(folder: Path) -> None:  # noqa: F811
    (folder / "junit.xml").write_text("<testsuites/>")
    refused = run("evidence", "verify", folder, "--key", folder.parent / "signer.key.pub")
    assert refused.exit_code == 4
    assert "not valid: junit.xml: changed" in refused.stderr
    assert "valid: " not in refused.stdout
    (row,) = json.loads(run("evidence", "verify", folder, "--format", "json").stdout)
    assert row["problems"] == ["junit.xml: changed: its SHA-256 is not the one that was signed"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("evidence", "export", "x", "--out", "e"), "expected an audit such as 12, or a scan such as scan:7"),
        (("evidence", "export", "7", "--out", "e", "--key", "k"), "there is no key k"),
        (("evidence", "verify", "gone"), "there is no folder gone"),
        (("evidence", "verify", ".", "--key", "gone"), "there is no key gone"),
        (("zoo", "check", "notes.txt"), "expected the folder of a zoo or its zoo.toml"),
        (("zoo", "check", "."), "there is no zoo.toml"),
        (("scan", "demo", "--queue", "--sarif", "x.sarif"), "gates, --sarif, --junit and --mlflow need the results"),
    ],
)
def test_mistakes_are_one_line_and_2(words: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDITOR_BROKER_URL", "redis://127.0.0.1:1/0")
    refused = run(*words)
    assert refused.exit_code == 2, refused.stderr
    assert said in " ".join(refused.stderr.split())


@pytest.mark.skipif(os.name != "posix", reason="modes of files")
def test_a_private_key_that_others_can_read_signs_nothing(tmp_path: Path) -> None:
    key = tmp_path / "a.key"
    run("evidence", "keygen", "--out", key)
    key.chmod(0o644)
    refused = run("evidence", "export", store_attacked(), "--out", "e", "--key", key)
    assert (refused.exit_code, "other users can read the private key" in refused.stderr) == (2, True)
    wrong = run("evidence", "verify", tmp_path, "--key", key)
    assert (wrong.exit_code, "expected a public key" in wrong.stderr) == (2, True)


def test_check_finds_weights_that_are_missing_or_no_weights(tmp_path: Path) -> None:
    zoo = garden.make(tmp_path / "zoo")
    right = run("zoo", "check", zoo, "--weights")
    assert (right.exit_code, "zoo: 1 model" in right.stdout) == (0, True)
    (zoo / "plant.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    assert run("zoo", "check", zoo).exit_code == 0
    pointer = run("zoo", "check", zoo, "--weights")
    assert (pointer.exit_code, "local:plant: expected weights in plant.safetensors" in pointer.stderr) == (2, True)
    (zoo / "plant.safetensors").unlink()
    missing = run("zoo", "check", zoo, "--weights")
    assert (missing.exit_code, "No such file" in missing.stderr) == (2, True)


@pytest.mark.long
@pytest.mark.parametrize(("gate", "code"), [("0%", 0), ("100%", 4)])
def test_a_scan_writes_its_gates_for_ci(gate: str, code: int) -> None:
    scan = run("scan", "demo", *SMALL, "--fail-under", gate, "--sarif", "ci/robust.sarif", "--junit", "ci/robust.xml")
    assert scan.exit_code == code, scan.stderr
    (log,) = json.loads(Path("ci/robust.sarif").read_text())["runs"]
    assert [result["ruleId"] for result in log["results"]] == (["gate-not-met"] if code else [])
    text = Path("ci/robust.xml").read_text()
    assert f'name="--fail-under {1 if code else 0}"' in text
    assert ("<failure" in text) == bool(code)


def test_a_file_that_cannot_be_written_is_found_before_the_scan() -> None:
    Path("file").write_text("")
    refused = run("scan", "demo", *SMALL, "--junit", "file/robust.xml")
    assert (refused.exit_code, f"--junit: cannot write into {Path.cwd()}/file: " in refused.stderr) == (2, True)
