"""``auditor scan`` as its users run it: from the command to the stored rows and the exit code."""

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from auditor.zoo.demo import WEIGHTS
from tests.factories.command import audits, rows, run
from tests.web.serving import client

KEYS = {
    "model", "source", "dataset", "threat_model", "norm", "eps", "protocol", "linearization", "hierarchy", "status",
    "correlation", "sketch", "gap_error",
    "not_measurable", "clean_accuracy", "robust_accuracy", "robust_low", "robust_high", "n", "intra", "inter", "gap",
    "silhouette", "p_value", "effective_rank", "affinity_error", "flags", "seconds", "device", "weights_sha256",
    "started_at", "reason",
}  # fmt: skip


@pytest.mark.long
def test_a_quick_scan_stores_every_key_and_a_second_one_does_nothing() -> None:
    chosen = ("--match", "*standard", "--samples", "20")
    first = rows(*chosen)
    assert [row["model"] for row in first] == ["demo:standard", "demo:plain-standard"] or len(first) == 2
    for row in first:
        assert row.keys() >= KEYS
        assert (row["status"], row["n"], row["eps"], row["norm"], row["protocol"]) == ("done", 20, 0.1, "Linf", "quick")
        assert row["affinity_error"] < 1e-5
        assert 0 <= row["robust_low"] <= row["robust_accuracy"] <= row["robust_high"] <= 1
    assert {row["id"] for row in rows(*chosen)} == {row["id"] for row in first}
    assert audits() == 2
    forced = rows(*chosen, "--force")
    assert audits() == 4
    same = ("model", "robust_accuracy", "gap", "weights_sha256")
    assert sorted([row[key] for key in same] for row in forced) == sorted([row[key] for key in same] for row in first)


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        ("--seed", "1"),
        ("--eps", "8/255"),
        ("--norm", "L2", "--eps", "1.5"),
        ("--linearization", "fold"),
        ("--sketch", "64"),
        ("--samples", "21"),
    ],
    ids=lambda change: change[0],
)
def test_what_changes_a_number_makes_another_audit(change: tuple) -> None:
    rows("--model", "standard", "--samples", "20")
    (row,) = rows("--model", "standard", "--samples", "20", *change)
    assert audits() == 2
    if change[0] == "--eps":
        assert row["eps"] == pytest.approx(8 / 255)


@pytest.mark.long
def test_screen_needs_no_images_and_says_what_it_is_not() -> None:
    (row,) = rows("--protocol", "screen", "--model", "noise")
    assert row["robust_accuracy"] is None
    assert row["gap"] is not None
    table = run("scan", "demo", "--protocol", "screen", "--model", "noise").stdout
    assert "not evidence of robustness" in table


@pytest.mark.long
def test_the_table_ranks_and_leaves_flagged_rows_unranked() -> None:
    result = run(
        "scan", "demo", "--samples", "50", "--model", "saturated", "--model", "standard", "--model", "at-eps0.10"
    )
    lines = result.stdout.splitlines()
    assert result.exit_code == 0
    assert lines[0].strip() == "quick, fashion_mnist, Linf 0.1, n = 50"
    assert lines[2].startswith("1  demo:at-eps0.10")
    assert lines[3].startswith("2  demo:standard")
    assert lines[4].startswith("–  demo:saturated")
    assert "zero_gradients" in lines[4]
    assert "evidence, not proof" in result.stdout
    assert "1/3 demo:" in result.stderr
    assert "/3 demo:saturated: done" in result.stderr


@pytest.mark.long
def test_one_model_that_fails_is_stored_and_the_scan_goes_on(zoo: Path) -> None:
    (zoo / "standard.safetensors").write_bytes((zoo / "standard.safetensors").read_bytes()[:1000])
    found = rows("--limit", "3", "--protocol", "screen", code=1)
    assert len(found) == 3
    (failed,) = [row for row in found if row["status"] == "failed"]
    assert failed["model"] == "demo:standard"
    assert "SHA-256" in failed["reason"]
    table = run("scan", "demo", "--limit", "3", "--protocol", "screen")
    assert table.exit_code == 1
    assert "demo:standard: failed" in table.stdout
    shutil.copy(WEIGHTS / "standard.safetensors", zoo)
    mended = rows("--limit", "3", "--protocol", "screen")
    assert {row["status"] for row in mended} == {"done"}
    listed = json.loads(run("results", "list", "--format", "json").stdout)
    assert {row["status"] for row in listed} == {"done"}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--model", "standrad"), 2, "did you mean standard"),
        (("--match", "x*"), 2, "the filters match none of"),
        (("--eps", "eight"), 2, "8/255"),
        (("--eps", "0"), 2, "above 0"),
        (("--eps", "1/0"), 2, "8/255"),
        (("--eps", "1e400"), 2, "above 0"),
        (("--eps", "1e99999999"), 2, "above 0"),
        (("--eps", "5"), 2, "Linf radius of at most 1"),
        (("--norm", "L2"), 2, "needs --eps"),
        (("--seed", "99999999999999999999"), 2, "range"),
        (("--samples", "0"), 2, "samples"),
        (("--samples", "50000"), 2, "has 10000 test images"),
        (("--samples", "5", "--protocol", "screen"), 2, "uses no images"),
        (("--protocol", "best"), 2, "protocol"),
        (("--mixed-precision",), 2, "no meaning under 'quick'"),
        (("--device", "gpu"), 2, "cpu, cuda"),
        (("--device", "cuda:77"), 3, "torch finds"),
        (("--data", "/no/such/folder"), 2, "does not exist"),
    ],
)
@pytest.mark.usefixtures("fashion_mnist")
def test_bad_usage(arguments: tuple, code: int, message: str) -> None:
    result = run("scan", "demo", *arguments)
    assert result.exit_code == code
    assert message in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.long
@pytest.mark.usefixtures("fashion_mnist")
def test_a_search_in_mixed_precision_has_a_result_of_its_own() -> None:
    scan = ("scan", "demo", "--model", "at-eps0.02", "--samples", "10", "--protocol", "strong")
    assert run(*scan).exit_code == 0
    mixed = run(*scan, "--mixed-precision")
    assert mixed.exit_code == 0
    assert "1 audited" in mixed.stderr
    (found,) = json.loads(run("results", "show", "at-eps0.02", "--format", "json").stdout)
    assert [attack["parameters"].get("precision") for attack in found["attacks"]] == [
        None,
        None,
        "bfloat16",
        None,
        None,
    ]
    assert "--mixed-precision --device cpu" in client().get(f"/audits/{found['id']}").text


def test_a_folder_without_the_data_is_one_error_before_any_model(tmp_path: Path) -> None:
    result = run("scan", "demo", "--protocol", "full", "--data", tmp_path)
    assert result.exit_code == 3
    assert result.stderr.startswith("error: no Fashion-MNIST idx files of the test split")
    assert audits() == 0


@pytest.mark.parametrize(
    ("name", "value", "code", "message"),
    [
        ("AUDITOR_DATABASE_URL", "sqlite:////proc/none/a.db", 3, "cannot use the database"),
        ("AUDITOR_DATABASE_URL", "nonsense", 3, "not a database URL"),
        ("AUDITOR_DATABASE_URL", "http://bob:secret@host:port/", 3, "not a database URL"),
        ("AUDITOR_BATCH_SIZE", "0", 2, "AUDITOR_BATCH_SIZE"),
        ("AUDITOR_THREADS", "100000000", 2, "AUDITOR_THREADS"),
        ("AUDITOR_DATABSE_URL", "sqlite:///x.db", 2, "did you mean AUDITOR_DATABASE_URL?"),
        ("AUDITOR_DEMO_WEIGHTS", "/nowhere", 3, "manifest"),
    ],
)
def test_bad_settings(monkeypatch: pytest.MonkeyPatch, name: str, value: str, code: int, message: str) -> None:
    monkeypatch.setenv(name, value)
    result = run("scan", "demo", "--protocol", "screen")
    assert result.exit_code == code
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert "secret" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def _start(command: list[str], action: signal.Handlers) -> subprocess.Popen[str]:
    """A process that is interrupted, or not, whatever the shell that runs the tests makes of its background jobs."""

    def prepare() -> None:
        for kind in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(kind, action)

    return subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=prepare,
    )


@pytest.mark.slow
def test_nohup_is_respected() -> None:
    process = _start([sys.executable, "-m", "auditor", "scan", "demo", "--protocol", "screen"], signal.SIG_IGN)
    assert ": done" in process.stderr.readline()
    process.send_signal(signal.SIGHUP)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors


@pytest.mark.long
@pytest.mark.parametrize(
    "kind", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=["Ctrl-C", "SIGTERM", "closed session"]
)
def test_an_interrupted_scan_keeps_what_is_done_and_goes_on_from_there(kind: signal.Signals) -> None:
    command = [sys.executable, "-m", "auditor", "scan", "demo", "--samples", "200"]
    process = _start(command, signal.SIG_DFL)
    first = ""
    while ": done" not in first:
        first = process.stderr.readline()
        assert first, "the scan ended before it was interrupted"
    time.sleep(0.05)
    process.send_signal(kind)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "interrupted: finished audits are stored" in errors
    assert "Traceback" not in errors
    done = json.loads(run("results", "list", "--format", "json").stdout)
    assert {row["status"] for row in done} == {"done"}
    cancelled = json.loads(run("results", "list", "--status", "cancelled", "--format", "json").stdout)
    assert cancelled
    assert {row["reason"] for row in cancelled} == {"interrupted"}
    assert not json.loads(run("results", "list", "--status", "running", "--format", "json").stdout)
    again = subprocess.run([*command, "--limit", "2"], capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert ": reused" in again.stderr


@pytest.mark.long
def test_a_database_that_fails_midway_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from sqlalchemy.exc import OperationalError

    from auditor.db.store import Store

    def full(*_: object) -> None:
        raise OperationalError("INSERT", {}, Exception("database or disk is full"))

    monkeypatch.setattr(Store, "finish", full)
    result = run("scan", "demo", "--protocol", "screen", "--limit", "2")
    assert result.exit_code == 3
    assert "disk is full" in result.stderr
    assert "Traceback" not in result.stderr
    assert {row["status"] for row in json.loads(run("results", "list", "--history", "--format", "json").stdout)} == {
        "cancelled"
    }


@pytest.mark.long
def test_the_same_weights_under_two_names_are_two_models(zoo: Path) -> None:
    manifest = json.loads((zoo / "manifest.json").read_text())
    twin = next(row for row in manifest["models"] if row["name"] == "standard") | {"name": "twin"}
    manifest["models"].append(twin)
    (zoo / "manifest.json").write_text(json.dumps(manifest))
    shutil.copy(zoo / "standard.safetensors", zoo / "twin.safetensors")
    found = rows("--model", "standard", "--model", "twin", "--protocol", "screen")
    assert {row["model"] for row in found} == {"demo:standard", "demo:twin"}


@pytest.mark.long
def test_a_model_that_fails_later_keeps_its_older_result_in_reach(zoo: Path) -> None:
    rows("--model", "noise", "--samples", "20")
    (zoo / "noise.safetensors").write_bytes(b"")
    rows("--model", "noise", "--samples", "20", code=1)
    (newest,) = json.loads(run("results", "list", "--format", "json").stdout)
    (done,) = json.loads(run("results", "list", "--status", "done", "--format", "json").stdout)
    assert (newest["status"], done["status"]) == ("failed", "done")
    assert run("results", "show", "demo:noise").exit_code == 0


@pytest.mark.long
def test_full_is_not_standard_on_as_many_images() -> None:
    rows("--protocol", "standard", "--samples", "2", "--model", "standard")
    (row,) = rows("--protocol", "full", "--samples", "2", "--model", "standard")
    assert row["protocol"] == "full"


@pytest.mark.long
def test_settings_are_ranked_apart_and_the_figure_takes_the_largest(tmp_path: Path) -> None:
    rows("--match", "*standard*", "--samples", "20")
    rows("--model", "noise", "--samples", "20", "--eps", "8/255", "--linearization", "fold")
    table = run("results", "list").stdout
    assert "quick, fashion_mnist, Linf 0.1, n = 20" in table
    assert "quick, fashion_mnist, Linf 8/255, n = 20, batch norm folded" in table
    assert len(re.findall("^1  demo:", table, re.M)) >= 2
    rows("--model", "noise", "--samples", "20", "--eps", "8/255")
    drawn = run("results", "plot", "--zoo", "-o", tmp_path / "zoo.png")
    assert drawn.exit_code == 0
    assert "left out: 1 result of quick, fashion_mnist, Linf 8/255, n = 20" in drawn.stderr


@pytest.mark.long
@pytest.mark.parametrize("columns", [40, 80, 100])
def test_narrow_terminals_lose_columns_not_digits(columns: int) -> None:
    run("scan", "demo", "--samples", "20", "--model", "saturated", "--model", "standard")
    shell = f"stty cols {columns}; {sys.executable} -m auditor results list"
    output = subprocess.run(["script", "-qec", shell, "/dev/null"], capture_output=True, text=True, check=True).stdout
    assert "…" not in output
    assert "zero_gradients" in output.replace("\r\n", "")
    assert "gap" in output


@pytest.mark.long
def test_a_reader_that_leaves_does_not_end_the_scan() -> None:
    shell = f"{sys.executable} -m auditor scan demo --protocol screen --limit 4 2>&1 >/dev/null | head -1"
    subprocess.run(shell, shell=True, check=True, capture_output=True)
    for _ in range(100):
        if (found := json.loads(run("results", "list", "--format", "json").stdout)) and len(found) == 4:
            break
        time.sleep(0.2)
    assert [row["status"] for row in found] == ["done"] * 4


@pytest.mark.long
def test_a_terminal_that_knows_ascii_only() -> None:
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "auditor", "scan", "demo", "--samples", "20", "--match", "*standard*"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "demo:standard" in result.stdout


@pytest.mark.parametrize(("source", "extra"), [("robustbench", "zoos"), ("timm", "timm")])
def test_a_zoo_whose_packages_are_not_here_is_one_clear_error(
    source: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *more: None if name == source else real(name, *more))
    result = run("scan", source, "--protocol", "screen")
    assert result.exit_code == 3
    assert result.stderr == f"error: {source} is not installed: pip install 'auditor[{extra}]'\n"
