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
        ("LEASE_SECONDS", "2", "expected float >= 3.0, got '2'"),
        ("LEASE_SECONDS", "nan", "expected float >= 3.0, got 'nan'"),
        ("DATABASE_PATIENCE", "-1", "expected float >= 0.0, got '-1'"),
        ("LEASE_SECONDS", "inf", "expected float <= 86400.0, got 'inf'"),
        ("DATABASE_PATIENCE", "1e300", "expected float <= 31536000.0, got '1e300'"),
        ("BATCH_SIZE", "99999999999999999999", "expected int <= 1000000, got '99999999999999999999'"),
        ("THREADS", "2000", "expected int <= 1024, got '2000'"),
        ("THREADS", "many", "expected int, got 'many'"),
        ("BATCH_SIZE", "1.5", "expected int, got '1.5'"),
        ("LOG_FORMAT", "xml", "expected text or json, got 'xml'"),
        ("WEBHOOK_PRIVATE", "maybe", "expected bool, got 'maybe'"),
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
    with pytest.raises(UsageError, match=r"cannot read the file \.env in "):
        settings()


def test_what_is_shown_of_them_holds_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDITOR_WEBHOOK_URL", "https://hooks.example/hidden")
    monkeypatch.setenv("AUDITOR_BROKER_URL", "redis://:hidden@127.0.0.1/0")
    assert "hidden" not in repr(settings())
