"""AUDITOR_…_FILE: passwords in files, and errors that do not show them."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from auditor.cli import main
from auditor.config import settings
from auditor.errors import UsageError

URL = "postgresql+psycopg://auditor:hidden@127.0.0.1:1/auditor"


@pytest.fixture
def secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the database's URL."""
    file = tmp_path / "database_url"
    monkeypatch.delenv("AUDITOR_DATABASE_URL")
    monkeypatch.setenv("AUDITOR_DATABASE_URL_FILE", str(file))
    settings.cache_clear()
    return file


@pytest.mark.parametrize("around", ["{}", "{}\n", " {}\r\n"])
def test_the_line_in_the_file_is_the_setting(secret: Path, around: str) -> None:
    secret.write_text(around.format(URL))
    assert settings().database_url == URL
    assert settings().broker_url is None


def test_both_secrets_may_be_in_files(secret: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secret.write_text(URL)
    (tmp_path / "broker_url").write_text("redis://:other@redis/0\n")
    monkeypatch.setenv("AUDITOR_BROKER_URL_FILE", str(tmp_path / "broker_url"))
    assert settings().broker_url == "redis://:other@redis/0"


def test_an_empty_variable_names_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDITOR_DATABASE_URL_FILE", "")
    assert settings().database_url.startswith(("sqlite", "postgresql"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "AUDITOR_DATABASE_URL_FILE: cannot read .*: No such file or directory"),
        (b"", "expected one line in .*, got 0"),
        (b"hidden\nhidden", "expected one line in .*, got 2"),
        (b"\xff\xfe hidden", "expected text in UTF-8"),
    ],
)
def test_a_file_that_will_not_do(secret: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        secret.write_bytes(content)
    with pytest.raises(UsageError, match=message) as raised:
        settings()
    assert "hidden" not in str(raised.value)


def test_both_the_variable_and_the_file_are_refused(secret: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret.write_text(URL)
    monkeypatch.setenv("AUDITOR_DATABASE_URL", "sqlite:///x.db")
    with pytest.raises(UsageError, match="AUDITOR_DATABASE_URL and AUDITOR_DATABASE_URL_FILE are both set"):
        settings()


def test_other_settings_have_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDITOR_THREADS_FILE", "x")
    with pytest.raises(UsageError, match="AUDITOR_THREADS_FILE is not a setting of auditor"):
        settings()


def test_the_password_is_in_no_error_line(secret: Path) -> None:
    secret.write_text(URL)
    result = CliRunner().invoke(main, ["db", "upgrade"])
    assert result.exit_code == 3
    assert "auditor:***@127.0.0.1:1" in result.output
    assert "hidden" not in result.output


def test_a_byte_order_mark_is_no_part_of_a_secret(secret: Path) -> None:
    secret.write_text(URL, encoding="utf-8-sig")
    assert settings().database_url == URL
