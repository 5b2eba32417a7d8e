"""Evidence verifies, and no byte of it can change unnoticed: by auditor, and by the script that knows nothing of it."""

import base64
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auditor.errors import UsageError
from auditor.evidence import export, layout
from auditor.evidence.collect import Collected
from auditor.evidence.keys import load_public, load_signer, make_key, public_pem
from auditor.evidence.statement import make_statement, sign_statement
from auditor.evidence.verify import verify_evidence
from auditor.records.evidence import EvidenceRecord

SCRIPT = Path(__file__).parents[2] / "examples" / "verify_evidence.py"
NAMES = (
    "evidence.dsse.json", "key.pub", "results.sarif", "junit.xml", "standards.json", "audits/1/record.json",
    "audits/1/bom.cdx.json", "audits/1/README.md", "audits/1/.eval_results/auditor.yaml", "audits/2/record.json",
    "audits/2/bom.cdx.json", "audits/2/README.md", "audits/2/.eval_results/auditor.yaml",
)  # fmt: skip


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("verify_evidence", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def problems(folder: Path, *, key: bool = True) -> list[str]:
    signer = load_public(folder.parent / "signer.key.pub") if key else None
    return list(verify_evidence(folder, signer).problems)


def by_script(script: ModuleType, folder: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What the script finds wrong; empty if it accepts the evidence."""
    capsys.readouterr()
    code = script.main(folder, (folder.parent / "signer.key.pub").read_bytes())
    lines = capsys.readouterr().out.splitlines()
    assert code == (0 if all(line.endswith(": verified") for line in lines) else 1)
    return lines if code else []


def test_untouched_evidence_is_valid(folder: Path, script: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == set(NAMES)
    found = verify_evidence(folder, load_public(folder.parent / "signer.key.pub"))
    assert (found.problems, found.trusted) == ((), True)
    assert [audit["model"] for audit in found.audits] == ["demo:a", "demo:b"]
    assert found.figures > 100
    assert "gap" in found.audits[0]["not_recomputed"]
    assert by_script(script, folder, capsys) == []
    assert not verify_evidence(folder).trusted


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_every_flipped_byte_is_found(
    name: str, folder: Path, script: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    """With and without the signer's key, and by the script: the message begins with the file's name."""
    path = folder / name
    content = path.read_bytes()

    @settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.integers(0, len(content) - 1), st.integers(1, 255))
    def flip(place: int, mask: int) -> None:
        changed = bytearray(content)
        changed[place] ^= mask
        path.write_bytes(changed)
        assert any(line.startswith(f"{name}: ") for line in problems(folder))
        assert any(name in line.split(": ")[0] for line in problems(folder, key=False))
        assert any(line.startswith(f"{name}: ") for line in by_script(script, folder, capsys))

    flip()
    path.write_bytes(content)
    assert problems(folder) == []


@pytest.mark.parametrize("mask", [1, 2, 32])
def test_every_byte_of_the_key_counts(mask: int, folder: Path) -> None:
    """The key in the folder is read before anything is verified, and most changes of it are other valid keys."""
    path = folder / "key.pub"
    content = path.read_bytes()
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= mask
        path.write_bytes(changed)
        (problem,) = problems(folder, key=False)
        assert problem.startswith("key.pub"), place
        assert "\n" not in problem


@pytest.mark.parametrize("name", ["evidence.dsse.json", "key.pub"])
def test_text_that_means_the_same_is_a_change_too(
    name: str, folder: Path, script: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    """A signature covers neither spaces nor the bits that base64 ignores; these files have one form."""
    path = folder / name
    content = path.read_bytes()
    last = max(place for place, byte in enumerate(content) if content[place + 1 : place + 2] == b"=" and byte != 61)
    spare = bytearray(content)
    spare[last] += 1  # the last letter before the padding has bits that decode to nothing
    for changed in (content + b"\n", content.rstrip(b"\n"), content.replace(b"\n", b"\r\n"), bytes(spare)):
        path.write_bytes(changed)
        assert any(line.startswith(f"{name}: ") for line in problems(folder)), changed[-50:]
        assert any(name in line for line in problems(folder, key=False)), changed[-50:]
        assert any(line.startswith(f"{name}: ") for line in by_script(script, folder, capsys)), changed[-50:]


def remove(folder: Path) -> str:
    (folder / "junit.xml").unlink()
    return "junit.xml: missing"


def remove_envelope(folder: Path) -> str:
    (folder / "evidence.dsse.json").unlink()
    return "evidence.dsse.json: missing"


def add(folder: Path) -> str:
    (folder / "audits" / "notes.txt").write_text("x")
    return "audits/notes.txt: added"


def add_hidden(folder: Path) -> str:
    (folder / ".hidden").write_text("")
    return ".hidden: added"


def replace_by_link(folder: Path) -> str:
    path = folder / "audits" / "1" / "record.json"
    path.rename(folder.parent / "elsewhere.json")
    path.symlink_to(folder.parent / "elsewhere.json")
    return "audits/1/record.json: expected a file, got a link"


def link_a_folder(folder: Path) -> str:
    (folder / "more").symlink_to(folder.parent)
    return "more: added"


def swap(folder: Path) -> str:
    first, second = (folder / "audits" / number / "record.json" for number in "12")
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    return "audits/2/record.json: changed"


@pytest.mark.parametrize("change", [remove, remove_envelope, add, add_hidden, replace_by_link, link_a_folder, swap])
def test_missing_added_and_linked_files_are_named(
    change: Callable[[Path], str], folder: Path, script: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    said = change(folder)
    assert any(line.startswith(said) for line in problems(folder))
    assert any(said.partition(":")[0] in line for line in problems(folder, key=False))
    assert any(said.partition(":")[0] in line for line in by_script(script, folder, capsys))


def change_first(collected: Collected, change: Callable[[EvidenceRecord], EvidenceRecord]) -> Collected:
    """The same with another first record, as somebody would export it."""
    return replace(collected, records=(change(collected.records[0]), *collected.records[1:]))


def pass_all(record: EvidenceRecord) -> EvidenceRecord:
    """Everything survives, and the figures say so."""
    from auditor.evidence.figures import compute_figures

    samples = tuple(
        replace(
            one, correct=True, survived=True, clean_class=one.label, broken_by=None, adversarial_class=None, size=0.2
        )
        for one in record.samples
    )
    made = replace(record, samples=samples)
    return replace(made, figures=compute_figures(made))


def test_who_signs_again_is_found_by_the_key_alone(
    folder: Path, collected: Collected, script: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    """An attacker has no private key, but can make one: the forgery is consistent, and only the real key refuses it."""
    make_key(folder.parent / "attacker.key")
    forged = folder.parent / "forged"
    signer = load_signer(folder.parent / "attacker.key")
    better = change_first(collected, pass_all)
    rows = (replace(collected.rows[0], clean_accuracy=1.0, robust_accuracy=1.0), *collected.rows[1:])
    low = better.records[0].figures["robust_accuracy"]["low"]
    rows = (replace(rows[0], robust_low=low, robust_high=1.0), *rows[1:])
    export.export_evidence(replace(better, rows=rows), signer, forged)
    found = verify_evidence(forged)
    assert (found.problems, found.trusted) == ((), False)
    assert found.audits[0]["figures"]["robust_accuracy"] == 1.0
    (problem,) = problems(forged)
    assert problem.startswith("evidence.dsse.json: expected one signature of the key ")
    assert by_script(script, forged, capsys) == [
        "evidence.dsse.json: ValueError: it was changed, or another key signed it"
    ]


def inflate(figures: dict[str, Any]) -> dict[str, Any]:
    """Other figures than the verdicts give."""
    made: dict[str, Any] = json.loads(json.dumps(figures))
    made["robust_accuracy"]["value"] += 0.2
    return made


def lie_in_record(collected: Collected) -> Collected:
    return change_first(collected, lambda record: replace(record, figures=inflate(record.figures)))


def lie_in_row(collected: Collected) -> Collected:
    row = replace(collected.rows[1], robust_accuracy=(collected.rows[1].robust_accuracy or 0) + 0.2)
    return replace(collected, rows=(collected.rows[0], row))


def lie_in_verdict(collected: Collected) -> Collected:
    def survive(record: EvidenceRecord) -> EvidenceRecord:
        broken = next(k for k, sample in enumerate(record.samples) if sample.broken_by is not None)
        samples = list(record.samples)
        samples[broken] = replace(samples[broken], survived=True)
        return replace(record, samples=tuple(samples))

    return change_first(collected, survive)


@pytest.mark.parametrize(
    ("lie", "named"),
    [
        (
            lie_in_record,
            {"audits/1/record.json", "evidence.dsse.json", "audits/1/bom.cdx.json", "audits/1/README.md",
             "audits/1/.eval_results/auditor.yaml"},
        ),
        (lie_in_row, {"results.sarif", "junit.xml"}),
        (lie_in_verdict, {"audits/1/record.json"}),
    ],
)  # fmt: skip
def test_a_signer_whose_figures_do_not_follow_from_the_verdicts_is_refused(
    lie: Callable[[Collected], Collected], named: set[str], folder: Path, collected: Collected
) -> None:
    """The signature is right, and the figures are wrong."""
    signed = folder.parent / "signed"
    export.export_evidence(lie(collected), load_signer(folder.parent / "signer.key"), signed)
    found = problems(signed)
    assert {line.partition(": ")[0] for line in found} == named
    assert all("does not follow from the verdicts" in line or "contradicts" in line for line in found)


def flag(row: Any, record: EvidenceRecord) -> tuple[Any, EvidenceRecord]:
    return replace(row, flags=["zero_gradients"]), replace(record, stated=record.stated | {"flags": ["zero_gradients"]})


def sign_changed(folder: Path, collected: Collected, changes: dict[str, tuple[bytes, bytes]], version: str) -> Path:
    """Evidence with changed files, by somebody who has the key and claims to use this version of auditor."""
    files = export.make_files(collected)
    for name, (old, new) in changes.items():
        assert files[name].count(old) >= 1, (name, files[name])
        files[name] = files[name].replace(old, new)
    signer = load_signer(folder.parent / "signer.key")
    files[layout.PUBLIC_KEY] = public_pem(signer.public_key)
    statement = make_statement(collected, files)
    statement["predicate"]["producer"]["version"] = version
    files[layout.ENVELOPE] = sign_statement(statement, signer)
    signed = folder.parent / "changed"
    for name, content in files.items():
        (signed / name).parent.mkdir(parents=True, exist_ok=True)
        (signed / name).write_bytes(content)
    return signed


@pytest.mark.parametrize(
    ("name", "old", "new", "in_any_version"),
    [
        ("audits/1/README.md", b"| clean accuracy |", b"| certified accuracy |", False),
        ("audits/1/README.md", b"Robust accuracy is empirical", b"Robust accuracy is 99 %, and proven", False),
        ("audits/1/README.md", b"**Flagged zero_gradients: these figures cannot be trusted.**", b"", False),
        ("audits/2/.eval_results/auditor.yaml", b"40 images", b"40,000 images", False),
        ("audits/1/bom.cdx.json", b'"Flagged zero_gradients: the figures cannot be trusted."', b'"None."', True),
        ("standards.json", b'"status": "not covered"', b'"status": "covered"', False),
        ("results.sarif", b'"model": "demo:b"', b'"model": "demo:better"', True),
        ("results.sarif", b'"flag-zero_gradients"', b'"note"', True),
        ("junit.xml", b"<system-out>flagged: zero_gradients</system-out>", b"", True),
    ],
)
def test_a_signer_who_changes_a_text_is_refused(
    name: str, old: bytes, new: bytes, in_any_version: bool, folder: Path, collected: Collected
) -> None:
    """The texts of another version cannot be compared, and `verify` says so."""
    row, record = flag(collected.rows[0], collected.records[0])
    flagged = replace(collected, rows=(row, collected.rows[1]), records=(record, collected.records[1]))
    key = load_public(folder.parent / "signer.key.pub")
    for version in (metadata.version("auditor"), "99.0"):
        signed = sign_changed(folder, flagged, {name: (old, new)}, version)
        found = verify_evidence(signed, key)
        other = version == "99.0"
        assert (found.other_producer == version) == other
        assert {line.partition(": ")[0] for line in found.problems} == (
            {name} if in_any_version or not other else set()
        )
        shutil.rmtree(signed)


@pytest.mark.parametrize(
    "change",
    [
        lambda record: replace(record, figures={}),
        lambda record: replace(record, figures={"robust_accuracy": 1}),
        lambda record: replace(record, corruptions=("fog",)),
        lambda record: replace(record, corruptions=("fog/x", "fog/2")),
    ],
)
def test_signed_nonsense_in_a_record_is_named(
    change: Callable[[EvidenceRecord], EvidenceRecord], folder: Path, collected: Collected
) -> None:
    _sign_record(folder, export.write_record(change(collected.records[0])))
    assert {line.partition(": ")[0] for line in problems(folder)} >= {"audits/1/record.json"}


@pytest.mark.parametrize("flags", [3, "zero_gradients", [3]])
def test_flags_that_are_no_list_of_texts_are_named(flags: Any, folder: Path, collected: Collected) -> None:
    record = json.loads(export.write_record(collected.records[0]))
    record["stated"]["flags"] = flags
    _sign_record(folder, json.dumps(record).encode())
    assert {line.partition(": ")[0] for line in problems(folder)} >= {"audits/1/record.json"}


def _sign_record(folder: Path, record: bytes) -> None:
    """Put another first record into a folder of evidence, and sign it again."""
    (folder / "audits/1/record.json").write_bytes(record)
    envelope = json.loads((folder / layout.ENVELOPE).read_bytes())
    statement = json.loads(base64.b64decode(envelope["payload"]))
    for file in statement["predicate"]["files"]:
        file["digest"]["sha256"] = hashlib.sha256((folder / file["name"]).read_bytes()).hexdigest()
    (folder / layout.ENVELOPE).write_bytes(sign_statement(statement, load_signer(folder.parent / "signer.key")))


def test_the_script_refuses_figures_that_do_not_follow(
    folder: Path, collected: Collected, script: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    signed = folder.parent / "signed"
    export.export_evidence(lie_in_record(collected), load_signer(folder.parent / "signer.key"), signed)
    (line,) = by_script(script, signed, capsys)
    assert line.startswith("audits/1/record.json: robust_accuracy is ")


@pytest.mark.parametrize("content", [b"", b"null", b"{}", b"[" * 100_000, b'{"payload": 3}', b"\xff" * 9])
def test_damaged_envelopes_are_one_line(content: bytes, folder: Path) -> None:
    (folder / "evidence.dsse.json").write_bytes(content)
    (problem,) = problems(folder)
    assert problem.startswith("evidence.dsse.json: changed")
    assert "\n" not in problem


def signed_payloads() -> Iterator[dict[str, Any]]:
    yield {}
    yield {"_type": "x", "predicateType": "y", "predicate": {"audits": [], "files": [], "notIncluded": []}}
    right = {"_type": "https://in-toto.io/Statement/v1", "predicateType": "urn:auditor:robustness-evidence:1"}
    yield right | {"predicate": {"audits": [], "files": [], "notIncluded": []}}
    yield right | {"predicate": {"audits": [{}], "files": [{"name": "x"}], "notIncluded": []}}
    yield right | {"predicate": {"audits": [{"audit": 1}], "files": [], "notIncluded": []}}
    yield right | {"predicate": {"audits": [{"audit": float("inf")}], "files": [], "notIncluded": []}}
    yield right | {"predicate": {"audits": [None], "files": [], "notIncluded": [{}]}}


@pytest.mark.parametrize("statement", list(signed_payloads()))
def test_a_signed_statement_without_evidence_is_refused(
    statement: dict[str, Any], folder: Path, script: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    signer = load_signer(folder.parent / "signer.key")
    (folder / layout.ENVELOPE).write_bytes(sign_statement(statement, signer))
    assert any("evidence.dsse.json: " in line or "missing" in line for line in problems(folder))
    assert by_script(script, folder, capsys)


def drop_audits(statement: dict[str, Any], _: dict[str, Any]) -> str:
    statement["predicate"]["audits"] = []
    return "evidence.dsse.json: it is about no audit"


def drop_samples(_: dict[str, Any], record: dict[str, Any]) -> str:
    record["samples"] = []
    return "audits/1/record.json: it has no samples"


def drop_digits(_: dict[str, Any], record: dict[str, Any]) -> str:
    record["corruptions"] = [{}]
    record["samples"] = [sample | {"corruptions": ""} for sample in record["samples"]]
    return "evidence.dsse.json: ZeroDivisionError: "


def drop_figures(_: dict[str, Any], record: dict[str, Any]) -> str:
    record["figures"] = "none"
    return "evidence.dsse.json: AttributeError: "


@pytest.mark.parametrize("lie", [drop_audits, drop_samples, drop_digits, drop_figures])
def test_the_script_refuses_what_has_nothing_to_compute(
    lie: Callable[[dict[str, Any], dict[str, Any]], str],
    folder: Path,
    script: ModuleType,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The signature and the digests are right."""
    from auditor.evidence.statement import sign_statement

    path = folder / "audits" / "1" / "record.json"
    statement = script.open_envelope(folder, (folder.parent / "signer.key.pub").read_bytes())
    record = json.loads(path.read_bytes())
    expected = lie(statement, record)
    path.write_text(json.dumps(record))
    for file in statement["predicate"]["files"]:
        if file["name"] == "audits/1/record.json":
            file["digest"]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    signer = load_signer(folder.parent / "signer.key")
    (folder / layout.ENVELOPE).write_bytes(sign_statement(statement, signer))
    (line,) = by_script(script, folder, capsys)
    assert line.startswith(expected)


@pytest.mark.long
def test_verifying_needs_no_database_no_model_and_no_torch(folder: Path) -> None:
    code = (
        "import sys\nfrom auditor.cli import main\n"
        f"try:\n    main(['evidence', 'verify', {os.fspath(folder)!r}])\nexcept SystemExit as end:\n"
        "    assert not end.code, end.code\n"
        "assert 'torch' not in sys.modules\n"
    )
    environment = os.environ | {"AUDITOR_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "valid: " in done.stdout


def test_the_script_runs_alone(folder: Path) -> None:
    words = [sys.executable, "-I", str(SCRIPT), str(folder), str(folder.parent / "signer.key.pub")]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(": verified") == 2
    assert "auditor" not in {
        line.split()[1] for line in SCRIPT.read_text().splitlines() if line.startswith(("import", "from"))
    }
    assert len(SCRIPT.read_text().splitlines()) < 140


def test_a_folder_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no folder"):
        verify_evidence(tmp_path / "gone")
