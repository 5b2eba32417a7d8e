"""Settings: from the environment and a file, checked, and said in one line where they will not do."""

from pathlib import Path

import pytest

from auditor.config import settings
from auditor.errors import UsageError


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("lease_seconds", "3", 3.0),
        ("database_patience", "0.5", 0.5),
        ("threads", "7", 7),
        ("threads", "", None),
        ("log_format", "json", "json"),
        ("webhook_private", "true", True),
        ("webhook_private", "0", False),
        ("data", "some/where", Path("some/where")),
        ("broker_url", "null", "null"),
    ],
)
def test_values(monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected: object) -> None:
    monkeypatch.setenv(f"AUDITOR_{name.upper()}", value)
    assert getattr(settings(), name) == expected


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("LEASE_SECONDS", "2", "expected a number >= 3, got '2'"),
        ("LEASE_SECONDS", "nan", "expected a number >= 3, got 'nan'"),
        ("DATABASE_PATIENCE", "-1", "expected a number >= 0, got '-1'"),
        ("LEASE_SECONDS", "inf", "expected a number <= 86400, got 'inf'"),
        ("DATABASE_PATIENCE", "1e300", "expected a number <= 31536000, got '1e300'"),
        ("BATCH_SIZE", "99999999999999999999", "expected a whole number <= 1000000, got '99999999999999999999'"),
        ("THREADS", "2000", "expected a whole number <= 1024, got '2000'"),
        ("THREADS", "many", "expected a whole number, got 'many'"),
        ("BATCH_SIZE", "1.5", "expected a whole number, got '1.5'"),
        ("LOG_FORMAT", "xml", "expected text or json, got 'xml'"),
        ("WEBHOOK_PRIVATE", "maybe", "expected true or false, got 'maybe'"),
    ],
)
def test_values_that_will_not_do(monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str) -> None:
    monkeypatch.setenv(f"AUDITOR_{name}", value)
    with pytest.raises(UsageError) as raised:
        settings()
    assert str(raised.value) == f"AUDITOR_{name}: {words}"


def test_the_environment_counts_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("AUDITOR_THREADS=3\nAUDITOR_BATCH_SIZE=8\nAUDITOR_DATA=\nSOMEBODY_ELSES=1\n")
    monkeypatch.setenv("AUDITOR_BATCH_SIZE", "16")
    found = settings()
    assert (found.threads, found.batch_size) == (3, 16)
    assert found.data == Path.home() / ".cache" / "auditor"


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"\xff\xfeAUDITOR_THREADS=3")
    with pytest.raises(UsageError, match=r"cannot read the file \.env in .*: expected UTF-8"):
        settings()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("AUDITOR_THREADS: 4\n", 1),
        ("A=1\n\nAUDITOR_THREADS\n", 3),
        ("# text\nAUDITOR_BROKER_URL='redis://:hunter2@h\nA=1\n", 2),
        ('AUDITOR_BROKER_URL="redis://:hunter2@h\n', 1),
        ('{"AUDITOR_THREADS": 4}\n', 1),
        ("AUDITOR_THREADS 4\n", 1),
    ],
)
def test_a_line_of_the_file_that_sets_nothing_is_named(text: str, line: int) -> None:
    Path(".env").write_text(text)
    with pytest.raises(UsageError) as raised:
        settings()
    assert str(raised.value) == f"{Path.cwd()}/.env:{line}: expected NAME=value, and quotes that end on the line"


def test_lines_of_other_programs_do_not_matter(caplog: pytest.LogCaptureFixture) -> None:
    Path(".env").write_text("SOMEBODY: else\n= = =\nFLAG\n export AUDITOR_THREADS = '4' # four\r\nBATCH=AUDITOR\n")
    assert settings().threads == 4
    assert caplog.text == ""


def test_what_is_shown_of_them_holds_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDITOR_WEBHOOK_URL", "https://hooks.example/hidden")
    monkeypatch.setenv("AUDITOR_BROKER_URL", "redis://:hidden@127.0.0.1/0")
    assert "hidden" not in repr(settings())


def of_kubernetes(name: str, port: int, protocol: str = "tcp", host: str = "10.0.0.1") -> dict[str, str]:
    """What a container gets beside a Service of this name."""
    at = f"{name}_PORT_{port}_{protocol.upper()}"
    return {
        f"{name}_SERVICE_HOST": host, f"{name}_SERVICE_PORT": str(port), f"{name}_SERVICE_PORT_HTTP_API": str(port),
        f"{name}_PORT": f"{protocol}://{host}:{port}", at: f"{protocol}://{host}:{port}", f"{at}_PROTO": protocol,
        f"{at}_PORT": str(port), f"{at}_ADDR": host,
    }  # fmt: skip


@pytest.mark.parametrize(
    "variables",
    [
        of_kubernetes("AUDITOR", 8000),
        of_kubernetes("AUDITOR_DATABASE", 5432, host="fd00::1"),
        of_kubernetes("AUDITOR_DATA", 53, "udp"),
        of_kubernetes("AUDITOR_1", 9100, "sctp"),
        {"AUDITOR_PORT": "tcp://172.17.0.5:8000", "AUDITOR_NAME": "/web/auditor", "AUDITOR_ENV_PATH": "/bin"},
        {"AUDITOR_NAME": "/web_1/auditor", "AUDITOR_ENV_GPG_KEY": "x"},
        {"AUDITOR_PORT_8000_TCP_START": "tcp://172.17.0.5:8000", "AUDITOR_PORT_8000_TCP_PORT_END": "8003"},
        {"AUDITOR_IMAGE": "auditor:1", "AUDITOR_SECRETS": "/etc/auditor"},
    ],
)
@pytest.mark.parametrize("where", ["environment", "file"])
def test_names_that_orchestrators_set_are_harmless(
    variables: dict[str, str], where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if where == "file":
        Path(".env").write_text("".join(f"{name}={value}\n" for name, value in variables.items()))
    else:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
    settings()
    monkeypatch.setenv("AUDITOR_THREDS", "4")
    settings.cache_clear()
    with pytest.raises(UsageError, match=r"AUDITOR_THREDS is not a setting of auditor; did you mean AUDITOR_THREADS\?"):
        settings()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            "AUDITOR_DATABSE_URL=sqlite:///x.db",
            "AUDITOR_DATABSE_URL is not a setting of auditor (in ",
        ),
        ("export AUDITOR_THREAD=4", "did you mean AUDITOR_THREADS?"),
        ("auditor_broker_url=redis://h", "did you mean AUDITOR_BROKER_URL?"),
        ("AUDITER_BROKER_URL=redis://h", "did you mean AUDITOR_BROKER_URL?"),
        ("AUDITOR_PORT=8000", "AUDITOR_PORT is not a setting of auditor (in "),
        ("AUDITOR_DATABASE_URL_FILE=/x", "AUDITOR_DATABASE_URL_FILE is only read from the environment"),
        ("AUDITOR_ZZZ=", "AUDITOR_ZZZ is not a setting of auditor (in "),
    ],
)
def test_a_misspelt_name_in_the_file_is_said(line: str, words: str) -> None:
    Path(".env").write_text(f"SOMEBODY_ELSES=1\n{line}\n")
    with pytest.raises(UsageError) as raised:
        settings()
    assert words in str(raised.value)
    assert ".env" in str(raised.value)


@pytest.mark.parametrize("name", ["data", "checkpoints", "robustbench_models", "demo_weights"])
def test_the_home_folder_of_a_path(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"AUDITOR_{name.upper()}", "~/some/where")
    assert getattr(settings(), name) == Path.home() / "some" / "where"
    monkeypatch.setenv(f"AUDITOR_{name.upper()}", "~nobody_here/x")
    settings.cache_clear()
    with pytest.raises(UsageError, match=f"AUDITOR_{name.upper()}: the home folder of ~nobody_here is unknown"):
        settings()
