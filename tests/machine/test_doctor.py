"""``auditor doctor``: what it finds on machines in various states of health."""

import json
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from packaging.requirements import Requirement

from auditor import tracing
from auditor.cli import main
from auditor.config import settings
from auditor.machine import doctor
from auditor.machine.doctor import examine
from tests.factories.collector import Collector

ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> Result:
    settings.cache_clear()
    return CliRunner().invoke(main, ["doctor", *arguments])


def found(subject: str) -> doctor.Finding:
    settings.cache_clear()
    (finding,) = [one for one in examine(settings()) if one.subject == subject]
    return finding


def test_a_healthy_machine_is_all_right_in_words_and_in_json() -> None:
    result = run("--format", "json")
    assert result.exit_code == 0, result.output
    states = {one["subject"]: one["state"] for one in json.loads(result.stdout)}
    assert "broken" not in states.values()
    for subject in ("python", "torch", "sqlalchemy", "database", "disk: data", "timm", "robustbench", "timm's hub"):
        assert states[subject] == "ok"
    table = run().stdout
    assert "torch" in table


def test_brackets_are_shown_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    real = doctor.installed_version
    monkeypatch.setattr(doctor, "installed_version", lambda n: None if n == "celery" else real(n))
    assert "run pip install 'auditor[service]'" in run().stdout


@pytest.mark.long
@pytest.mark.parametrize(
    ("package", "installed", "advice"),
    [
        ("torch", "2.6.0", "2.6.0 is installed: pip install 'torch>=2.10'"),
        ("huggingface_hub", "2.0.1", "pip install 'huggingface-hub<2,>=0.36'"),
        ("setuptools", "82.0", "pip install 'setuptools<81'"),
        ("scipy", None, "not installed: pip install 'scipy>=1.14'"),
    ],
)
def test_a_package_out_of_its_pins_is_broken(
    package: str, installed: str | None, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = doctor.installed_version
    monkeypatch.setattr(doctor, "installed_version", lambda n: installed if n.replace("-", "_") == package else real(n))
    finding = found(package.replace("_", "-"))
    assert finding.state == "broken"
    assert advice in finding.text
    result = run()
    assert result.exit_code == 3
    assert "broken: " in result.stderr


def test_an_extra_that_is_not_there_is_absent_not_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    real = doctor.installed_version
    monkeypatch.setattr(doctor, "installed_version", lambda n: None if n in ("celery", "psycopg") else real(n))
    assert found("[service]") == doctor.Finding(
        "[service]", "absent", "for workers and PostgreSQL, run pip install 'auditor[service]'"
    )


def test_every_extra_for_users_is_known_by_a_package_of_its_own() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(doctor.EXTRAS) == set(extras) - {"docs", "release", "fuzz", "test"}
    for extra, (package, _) in doctor.EXTRAS.items():
        assert package in {Requirement(line).name for line in extras[extra]}, extra


@pytest.mark.long
@pytest.mark.parametrize(("extra", "main"), [(extra, main) for extra, (main, _) in doctor.EXTRAS.items()])
def test_an_extra_without_its_main_package_is_absent_whatever_it_shares(
    extra: str, main: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """huggingface-hub belongs to `zoos` and `hub`: that it is installed for one does not break the other."""
    real, absent = doctor.installed_version, {main, "robustbench"} if main == "timm" else {main}
    monkeypatch.setattr(doctor, "installed_version", lambda n: None if n in absent else real(n))
    assert found(f"[{extra}]").state == "absent"
    assert not [one for one in doctor.examine(settings()) if one.state == "broken" and one.subject == main]


@pytest.mark.parametrize(
    ("version", "state", "text"),
    [
        ("1.0.9", "ok", "1.0.9 (<2,>=1.0.9; tested)"),
        ("1.0.31", "ok", "1.0.31 (<2,>=1.0.9; tested)"),
        ("1.0.99", "ok", "1.0.99 (<2,>=1.0.9; not tested with RobustBench's models, as 1.0.9 and 1.0.31 are)"),
        ("0.9.16", "broken", "0.9.16 is installed: pip install 'timm==1.0.9'"),
        (None, "broken", "not installed: pip install 'timm==1.0.9'"),
    ],
)
def test_a_newer_timm_beside_robustbench_is_no_error(
    version: str | None, state: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = doctor.installed_version
    monkeypatch.setattr(doctor, "installed_version", lambda name: version if name == "timm" else real(name))
    assert found("timm") == doctor.Finding("timm", state, text)


def test_timm_without_its_hub_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("timm.models._hub._has_hf_hub", False)
    assert found("timm's hub").state == "broken"


def test_a_database_of_somebody_else_is_broken_and_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("this is no database, and long enough to be read as one " * 20)
    monkeypatch.setenv("AUDITOR_DATABASE_URL", f"sqlite:///{tmp_path}/text.db")
    finding = found("database")
    assert finding.state == "broken"
    assert "AUDITOR_DATABASE_URL" in finding.text


@pytest.mark.parametrize(
    ("url", "state", "words"),
    [
        ("redis://127.0.0.1:1/0", "broken", "does not answer"),
        ("redis://user:secret@127.0.0.1:1/0", "broken", "user:***@127.0.0.1"),
        ("nonsense://x", "broken", "nonsense"),
    ],
)
def test_a_broker_that_does_not_answer_is_broken(
    url: str, state: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUDITOR_BROKER_URL", url)
    finding = found("broker")
    assert finding.state == state
    assert words in finding.text
    assert "secret" not in finding.text


def test_data_sets_and_models_are_found_where_the_settings_say(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert found("data: cifar10").state == "absent"
    assert found("models: robustbench").state == "absent"
    folder = tmp_path / "zoo" / "cifar10" / "Linf"
    folder.mkdir(parents=True)
    (folder / "A.pt").touch()
    monkeypatch.setenv("AUDITOR_ROBUSTBENCH_MODELS", str(tmp_path / "zoo"))
    assert found("models: robustbench").text.startswith("1 file in")


def test_little_disk_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LITTLE_DISK", 10**18)
    assert found("disk: data").state == "broken"


def test_a_check_that_fails_itself_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def ill(_: str) -> list[str]:
        raise metadata.PackageNotFoundError("auditor")

    monkeypatch.setattr(doctor, "requires", ill)
    assert found("packages").state == "broken"


def test_traces_are_off_sent_or_not_taken(monkeypatch: pytest.MonkeyPatch, collector: Collector) -> None:
    assert found("traces") == doctor.Finding("traces", "ok", f"sent to {collector.url}/v1/traces")
    assert collector.spans == []
    collector.status = 401
    finding = found("traces")
    assert finding.state == "broken"
    assert f"{collector.url}/v1/traces does not take spans: " in finding.text
    assert "401" in finding.text
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://me:geheim@127.0.0.1:9")
    finding = found("traces")
    assert finding.state == "broken"
    assert "http://***@127.0.0.1:9/v1/traces does not take spans: " in finding.text
    assert "refused" in finding.text
    assert "geheim" not in finding.text
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    finding = found("traces")
    assert (finding.state, finding.text.partition(";")[0]) == ("absent", "off")


def test_traces_without_the_extra_are_broken_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, collector: Collector
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    assert "port 4318" in found("traces").text
    monkeypatch.delitem(sys.modules, "auditor.tracing.otlp", raising=False)
    monkeypatch.delattr(tracing, "otlp", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    finding = found("traces")
    assert finding.state == "broken"
    assert "pip install 'auditor[telemetry]'" in finding.text
    assert collector.requests == 0
