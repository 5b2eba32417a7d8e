"""``--mlflow``: a scan's audits as runs of a real MLflow server, of a database file and of a folder."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from auditor.cli.output.mlflow import mlflow_name
from auditor.config import settings
from auditor.db.session import open_database
from auditor.db.store import Store
from auditor.records import AttackScore
from tests.factories.audits import audited
from tests.factories.command import run
from tests.factories.evidence import store_attacked
from tests.factories.records import REQUEST, entry

mlflow = pytest.importorskip("mlflow", reason="needs MLflow, of the extra `test`")
pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own, about SQLAlchemy


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an MLflow server of its own."""
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "artifacts"),
    ]  # fmt: skip
    quiet = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=quiet, start_new_session=True)
    url = f"http://127.0.0.1:{port}"
    try:
        while process.poll() is None:
            try:
                if httpx.get(f"{url}/health", timeout=5).is_success:
                    break
            except httpx.HTTPError:
                time.sleep(0.5)
        assert process.poll() is None, (folder / "log").read_text()
        yield url
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # its database is thrown away
        process.wait()


def runs_of(uri: str, experiment: str = "auditor/demo") -> dict[str, "mlflow.entities.Run"]:
    client = mlflow.MlflowClient(uri)
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    return {run.data.params["model"]: run for run in client.search_runs([found.experiment_id])}


@pytest.mark.long
def test_nights_become_steps_of_one_run(server: str, tmp_path: Path) -> None:
    first = audited("strong", 80)
    second = audited("strong", 70, flags=("zero_gradients",))
    other = audited("strong", 60, eps=0.2)
    for scan in (1, 2, 3):
        done = run("scans", "mlflow", str(scan), server, "--experiment", "nights")
        assert done.exit_code == 0, done.output
        assert done.stderr.strip().endswith("logged 1 audit to MLflow")
    again = run("scans", "mlflow", "2", server, "--experiment", "nights")
    assert again.stderr.strip() == "logged 0 audits to MLflow"
    client = mlflow.MlflowClient(server)
    experiment = client.get_experiment_by_name("nights")
    runs = {one.data.params["eps"]: one for one in client.search_runs([experiment.experiment_id])}
    assert {name: one.data.metrics["robust_accuracy"] for name, one in runs.items()} == {"0.1": 0.7, "0.2": 0.6}
    run_ = runs["0.1"]
    history = client.get_metric_history(run_.info.run_id, "robust_accuracy")
    assert [(point.step, point.value) for point in history] == [(1, 0.8), (2, 0.7)]
    assert [point.value for point in client.get_metric_history(run_.info.run_id, "audit")] == [first, second]
    assert run_.data.tags["auditor.flags"] == "zero_gradients"
    assert run_.data.params["protocol"] == "quick"
    assert run_.info.status == "FINISHED"
    folders = {found.path for found in client.list_artifacts(run_.info.run_id, "audits")}
    assert folders == {f"audits/{first}", f"audits/{second}"}
    local = Path(client.download_artifacts(run_.info.run_id, f"audits/{second}", str(tmp_path)))
    (shown,) = json.loads(run("results", "show", "demo:strong", "--id", str(second), "--format", "json").stdout)
    assert json.loads((local / "record.json").read_text()) == shown
    assert (local / "clustering.png").read_bytes().startswith(b"\x89PNG")
    assert (local / "weights.csv").read_text().splitlines()[0].split(",")[1:] == shown["classes"]
    assert other not in (first, second)


@pytest.mark.long
def test_evidence_is_logged_and_verifies(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDITOR_EVIDENCE_KEY", str(tmp_path / "team.key"))
    settings.cache_clear()
    assert run("evidence", "keygen").exit_code == 0
    audit_id, _ = store_attacked("proven", curve=True), audited("doubtful", 80, clean_accuracy=0.123)
    logged = run("scans", "mlflow", "1", server, "--experiment", "evidence")
    assert (logged.exit_code, logged.stderr.strip()) == (0, "logged 1 audit to MLflow")
    run_id = runs_of(server, "evidence")["demo:proven"].info.run_id
    local = mlflow.MlflowClient(server).download_artifacts(run_id, f"evidence/{audit_id}", str(tmp_path))
    verified = run("evidence", "verify", local, "--key", tmp_path / "team.key.pub")
    assert verified.exit_code == 0, verified.stderr
    assert "not trusted" not in verified.stderr
    contradicted = run("scans", "mlflow", "2", server, "--experiment", "evidence")
    assert "demo:doubtful: no evidence is logged: " in contradicted.stderr
    assert "logged 1 audit to MLflow" in contradicted.stderr


@pytest.mark.long
def test_without_a_key_everything_else_is_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDITOR_EVIDENCE_KEY", str(tmp_path / "absent.key"))
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    settings.cache_clear()
    store_attacked()
    done = run("scans", "mlflow", "1", tmp_path / "mlruns")
    assert done.exit_code == 0, done.output
    assert "no evidence is logged: there is no key" in " ".join(done.stderr.split())
    assert "logged 1 audit to MLflow" in done.stderr
    assert not list(tmp_path.rglob("evidence.dsse.json"))


@pytest.mark.long
def test_a_scan_logs_itself_and_a_failure(server: str) -> None:
    done = run("scan", "demo", "--model", "standard", "--protocol", "screen", "--here", "--mlflow", server)
    assert done.exit_code == 0, done.output
    assert "logged 1 audit to MLflow" in done.stderr
    assert "View run" not in done.stdout
    logged = runs_of(server)["demo:standard"]
    assert logged.data.metrics["screen_score"] < 0.1
    assert "robust_accuracy" not in logged.data.metrics
    store = Store(open_database(settings().database_url))
    scan_id, (job,) = store.create_scan("demo", REQUEST, [entry("broken")])
    store.fail(job.audit_id, store.claim(job.audit_id), "the weights are damaged")
    assert run("scans", "mlflow", str(scan_id), server).exit_code == 0
    failed = runs_of(server)["demo:broken"]
    assert failed.info.status == "FAILED"
    assert "the weights are damaged" in failed.data.tags["mlflow.note.content"]


@pytest.mark.long
@pytest.mark.parametrize("place", ["sqlite", "folder"])
def test_stores_without_a_server(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    audited("strong", 80)
    uri = f"sqlite:///{tmp_path}/nested.db" if place == "sqlite" else str(tmp_path / "mlruns")
    done = run("scans", "mlflow", "1", uri)
    assert done.exit_code == 0, done.output
    logged = runs_of(uri if place == "sqlite" else (tmp_path / "mlruns").as_uri())["demo:strong"]
    assert logged.data.metrics["robust_accuracy"] == 0.8
    assert len(list(tmp_path.rglob("record.json"))) == 1


NAMES = [
    "pgd-20 from hub:me/vit@v2", "pgd-20 from hub:me/vit+v2", "my=attack.py:a(b)", "über", "a//b", "a/../b", "a/",
    ".", "..", "x" * 400, "x" * 401, "a\\b", "50%",
]  # fmt: skip


def test_names_are_those_that_mlflow_accepts_and_stay_different() -> None:
    from mlflow.utils.validation import _validate_length_limit, _validate_metric_name, _validate_param_name

    made: dict[str, int] = {}
    for text in NAMES:
        made[mlflow_name(f"after/{text}", taken=made)] = 1
        _validate_param_name(mlflow_name(f"training.{text}"))
    for name in made:
        _validate_metric_name(name)
        _validate_length_limit("name", 250, name)
    assert len(made) == len(NAMES)
    assert "after/pgd-20 from hub:me/vit_v2_2" in made
    assert mlflow_name("after/square") == "after/square"


@pytest.mark.long
def test_any_attack_and_training_is_logged(tmp_path: Path) -> None:
    attacks = [
        AttackScore(attack=name, parameters={}, n=40, broken=1, robust_accuracy=0.5 - number / 100, seconds=1.0)
        for number, name in enumerate(NAMES)
    ]
    audited("strong", 80, attacks=tuple(attacks), training={"label smoothing @ 0.1": "yes"})
    uri = f"sqlite:///{tmp_path}/nested.db"
    done = run("scans", "mlflow", "1", uri)
    assert (done.exit_code, done.stderr.strip().splitlines()[-1]) == (0, "logged 1 audit to MLflow"), done.output
    logged = runs_of(uri)["demo:strong"].data
    found = {value for name, value in logged.metrics.items() if name.startswith("after/")}
    assert found == {score.robust_accuracy for score in attacks}
    assert logged.params["training.label smoothing _ 0.1"] == "yes"


@pytest.mark.long
def test_with_half_of_the_packages_for_evidence_everything_else_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUDITOR_EVIDENCE_KEY", str(tmp_path / "team.key"))
    settings.cache_clear()
    assert run("evidence", "keygen").exit_code == 0
    store_attacked()
    monkeypatch.setitem(sys.modules, "cyclonedx.model.bom", None)
    uri = f"sqlite:///{tmp_path}/nested.db"
    done = run("scans", "mlflow", "1", uri)
    assert done.exit_code == 0, done.output
    assert "no evidence is logged: evidence needs cyclonedx-python-lib" in " ".join(done.stderr.split())
    assert "logged 1 audit to MLflow" in done.stderr
    assert len(list(tmp_path.rglob("record.json"))) == 1


@pytest.mark.parametrize(
    ("uri", "words", "code"),
    [
        ("ftp://host", "expected the address of a server (http://HOST:5000), sqlite:///FILE or a folder", 2),
        ("sqlite://", "expected the address of a server", 2),
        ("http://[::1", "expected the address of a server", 2),
        ("http://me:secret@host", "set MLFLOW_TRACKING_USERNAME", 2),
        ("https://secret@host", "set MLFLOW_TRACKING_USERNAME", 2),
        ("https://host/?token=secret", "set MLFLOW_TRACKING_USERNAME", 2),
        ("https://host/#secret", "set MLFLOW_TRACKING_USERNAME", 2),
        ("http://127.0.0.1:9", "cannot reach 127.0.0.1", 3),
    ],
)
def test_a_server_that_cannot_be_used_is_one_line_before_the_scan(
    uri: str, words: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    done = run("scan", "demo", "--protocol", "screen", "--here", "--mlflow", uri)
    assert done.exit_code == code
    assert words in done.stderr
    assert "secret" not in done.output
    assert len(done.stderr.strip().splitlines()) == 1
    assert "no scans" in run("scans", "list").output


def test_results_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDITOR_BROKER_URL", "redis://127.0.0.1:6379/0")
    settings.cache_clear()
    done = run("scan", "demo", "--mlflow", "http://127.0.0.1:9")
    assert done.exit_code == 2
    assert "--mlflow need the results: add --wait or --here" in done.stderr
