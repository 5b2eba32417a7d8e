"""``auditor scan --attack`` and ``--transfer-from``: from the command line to the record, and the worked examples."""

import json
import re
import runpy
import shutil
from pathlib import Path

import pytest

from auditor.audit.extra_attacks import load_attacks
from auditor.errors import ModelLoadError
from auditor.records import AuditRequest
from auditor.records.extra_attacks import ExtraAttacks, TransferModel
from auditor.zoo import select
from auditor.zoo.demo import DemoZoo
from tests.factories.attack_files import ATTACKS, attack_file
from tests.factories.command import audits, rows, run, swap

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "own_attacks"
ONE = ("--model", "at-eps0.10", "--samples", "24")


def attack(file: Path, function: str = "brighter") -> tuple[object, ...]:
    return "--attack", f"{file}:{function}", "--trust-code"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return attack_file(tmp_path / "own")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--attack", "HERE:brighter"), "--attack runs Python code of HERE: read that code and add --trust-code"),
        (("--attack", "HERE", "--trust-code"), "--attack: expected FILE.py:FUNCTION, got 'HERE'"),
        (("--attack", "HERE:", "--trust-code"), "--attack: expected FILE.py:FUNCTION, got"),
        (("--attack", "HERE:a b", "--trust-code"), "--attack: expected FILE.py:FUNCTION, got"),
        (("--attack", "HERE.txt:x", "--trust-code"), "--attack: expected FILE.py:FUNCTION, got"),
        (("--attack", "missing.py:x", "--trust-code"), "--attack: no such file: "),
        (("--transfer-from", "standard"), "--transfer-from: expected SOURCE:MODEL with one of demo, "),
        (("--transfer-from", "demo:standrad"), "did you mean standard"),
        (("--transfer-from", "local:net"), "needs the folder of its local zoo: add --transfer-zoo DIR"),
        (("--transfer-zoo", "x"), "--transfer-zoo needs --transfer-from local:MODEL"),
        (("--protocol", "screen", "--transfer-from", "demo:standard"), "have no meaning under 'screen'"),
    ],
)  # fmt: skip
def test_wrong_words_are_refused_before_anything_runs(file: Path, words: tuple[str, ...], message: str) -> None:
    result = run("scan", "demo", *(word.replace("HERE", str(file)) for word in words))
    assert result.exit_code == 2, result.output
    assert message.replace("HERE", str(file)) in result.stderr
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1


def test_two_files_of_one_name_are_refused(file: Path, tmp_path: Path) -> None:
    other = attack_file(tmp_path / "other")
    result = run("scan", "demo", *attack(file), *attack(other))
    assert result.exit_code == 2
    assert "two attacks are named mine.py:brighter" in result.stderr


BAD = [
    (
        "shape",
        "mine.py:shape: expected candidates (20, 1, 28, 28) torch.float32 on cpu, as the images, got (20, 1, 27, 28)",
    ),
    ("raises", "mine.py:15: KeyError: 'no such step'"),
    ("leaves", "mine.py:19: SystemExit: enough"),
    ("weights", "mine.py:weights changed the weights"),
    ("few", "mine.py:few: TypeError: few() "),
    ("number", "mine.py has no function 'number'; expected one of: "),
    ("brihgter", "mine.py has no function 'brihgter'; did you mean brighter"),
]


@pytest.mark.long
@pytest.mark.parametrize(("function", "message"), BAD, ids=[name for name, _ in BAD])
def test_a_bad_attack_fails_the_audit_with_one_clear_line(file: Path, function: str, message: str) -> None:
    (row,) = rows("--model", "at-eps0.10", "--samples", "24", "--eps", "0.001", *attack(file, function), code=1)
    assert row["status"] == "failed"
    assert message in row["reason"]
    assert "\n" not in row["reason"]


@pytest.mark.long
def test_a_syntax_error_names_its_line(file: Path) -> None:
    file.write_text("def brighter(:\n")
    (row,) = rows(*ONE, *attack(file), code=1)
    assert row["reason"].startswith("mine.py:1: SyntaxError: ")


@pytest.mark.long
def test_an_attack_that_never_ends_meets_the_time_limit(file: Path) -> None:
    (row,) = rows(*ONE, *attack(file, "for_ever"), "--time-limit", "0.3", code=1)
    assert "took longer than 0.3 minutes and was stopped" in row["reason"]


@pytest.mark.long
def test_such_a_result_is_of_a_series_of_its_own(file: Path) -> None:
    (plain,) = rows(*ONE)
    (extra,) = rows(*ONE, *attack(file), "--transfer-from", "demo:standard")
    assert re.match("transfer from demo:standard@[0-9a-f]{8}, mine.py:brighter@", extra["extra_attacks"])
    assert plain["extra_attacks"] is None
    assert extra["robust_accuracy"] <= plain["robust_accuracy"]
    (detail,) = json.loads(run("results", "show", extra["model"], "--id", extra["id"], "--format", "json").stdout)
    assert [one["attack"] for one in detail["attacks"]] == [
        "fgsm", "pgd-20", "pgd-20 from demo:standard", "pgd-50 from demo:standard", "mine.py:brighter"
    ]  # fmt: skip
    (chosen,) = json.loads(run("results", "show", plain["model"], "--format", "json").stdout)
    assert chosen["id"] == plain["id"]
    listed = run("results", "list").stdout
    assert f"quick, fashion_mnist, Linf 0.1, n = 24, with {extra['extra_attacks']}" in listed
    shown = run("results", "show", plain["model"], "--id", extra["id"]).stdout
    assert "beyond the protocol" in shown
    # Each is done before; neither is the other's earlier result.
    assert rows(*ONE)[0]["id"] == plain["id"]
    assert rows(*ONE, *attack(file), "--transfer-from", "demo:standard")[0]["id"] == extra["id"]
    again = run("scan", "demo", *ONE, *attack(file), "--fail-on-regression")
    assert "no earlier result under this setting" in again.stderr
    assert audits() == 3


@pytest.mark.long
def test_other_weights_of_the_same_name_are_of_another_series(zoo: Path) -> None:
    words = (*ONE, "--transfer-from", "demo:noise")
    (first,) = rows(*words)
    swap(zoo, "noise", "standard")
    (second,) = rows(*words)
    assert first["extra_attacks"] != second["extra_attacks"]
    assert first["id"] != second["id"]
    listed = run("results", "list").stdout  # neither replaces the other
    assert all(f"with {one['extra_attacks']}" in listed for one in (first, second))


def test_weights_that_changed_since_the_scan_began_are_refused() -> None:
    (source,) = select(DemoZoo().entries(), models=("demo:at-eps0.10",))
    transfer = TransferModel(model="demo:noise", weights_sha256="0" * 64)
    request = AuditRequest(protocol="quick", extra_attacks=ExtraAttacks(transfer=(transfer,)))
    with pytest.raises(ModelLoadError, match="its weights have changed since the scan began"):
        load_attacks(source, request)


@pytest.mark.long
@pytest.mark.parametrize("changed", ["mine.py", "steps.py", "unrelated.py"])
def test_the_identity_is_of_the_file_and_of_what_it_imports_beside_it(file: Path, changed: str) -> None:
    (first,) = rows(*ONE, *attack(file))
    with (file.parent / changed).open("a") as stream:
        stream.write("# another text\n")
    (second,) = rows(*ONE, *attack(file))
    assert (first["identity"] == second["identity"]) == (changed == "unrelated.py")
    assert (first["extra_attacks"] == second["extra_attacks"]) == (changed == "unrelated.py")


@pytest.mark.long
def test_a_file_beside_it_replaces_no_module_and_its_output_is_not_on_stdout(file: Path) -> None:
    (file.parent / "random.py").write_text("raise RuntimeError('imported')\n")
    (file.parent / "torch.py").write_text("raise RuntimeError('imported')\n")
    (row,) = rows(*ONE, *attack(file, "prints"))
    assert row["status"] == "done"
    assert not list(file.parent.glob("__pycache__"))


@pytest.mark.long
def test_a_model_does_not_transfer_from_itself() -> None:
    (row,) = rows(*ONE, "--transfer-from", "demo:at-eps0.10")
    assert "no transfer from demo:at-eps0.10, because it is this model" in row["notes"]


def test_what_does_not_fit_is_one_line(tmp_path: Path) -> None:
    runpy.run_path(str(EXAMPLES / "make_quantised_zoo.py"))["make_zoo"](tmp_path / "zoo")
    text = (tmp_path / "zoo" / "zoo.toml").read_text()
    (tmp_path / "zoo" / "zoo.toml").write_text(text.replace('"fashion_mnist"', '"cifar10"'))
    words = ("--transfer-from", "local:quantised", "--transfer-zoo", tmp_path / "zoo")
    refused = run("scan", "demo", *ONE, *words)
    assert refused.exit_code == 2
    assert "add --trust-code" in refused.stderr
    (row,) = rows(*ONE, *words, "--trust-code", code=1)
    assert row["reason"].startswith("transfer from local:quantised: expected the input size (1, 28, 28) of demo:")


@pytest.mark.long
def test_a_dry_run_says_what_it_leaves_out_and_runs_nothing(file: Path) -> None:
    (planned,) = json.loads(run("scan", "demo", *ONE, *attack(file), "--dry-run", "--format", "json").stdout)
    assert planned["plan"] == "to do"
    assert "without the time of mine.py:brighter@" in planned["reason"]
    rows(*ONE, *attack(file))
    (planned,) = json.loads(run("scan", "demo", *ONE, *attack(file), "--dry-run", "--format", "json").stdout)
    assert planned["plan"] == "done before"


@pytest.mark.long
def test_the_worked_examples_break_both_models(tmp_path: Path) -> None:
    """docs/own-attacks.md has the figures on 256 images."""
    runpy.run_path(str(EXAMPLES / "make_quantised_zoo.py"))["make_zoo"](tmp_path / "quantised")
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    examples = tmp_path / "examples"
    found = {}
    for zoo, model, name in (
        (["demo"], "saturated", "rescaled"),
        (["local", tmp_path / "quantised"], "quantised", "straight_through"),
    ):
        for extra in ((), ("--attack", f"{examples / name}.py:{name}")):
            words = ("scan", *zoo, "--model", model, "--samples", "48", "--trust-code", *extra, "--format", "json")
            result = run(*words)
            assert result.exit_code == 0, result.stderr
            found[model, bool(extra)] = json.loads(result.stdout)[0]["robust_accuracy"]
    assert found["saturated", False] > 0.6
    assert found["saturated", True] < 0.05
    assert found["quantised", False] > 0.7
    assert found["quantised", True] < 0.05


def test_the_text_of_the_attacks_is_complete() -> None:
    assert all(f"def {name}(" in ATTACKS for name, _ in BAD if name not in ("number", "brihgter"))
