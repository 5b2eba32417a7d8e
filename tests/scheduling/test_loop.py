"""The heartbeat file of ``auditor beat``, by which a container is healthy or not."""

import os
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import Engine

from auditor.cli import main
from auditor.db.session import open_database
from auditor.errors import UsageError
from auditor.scheduling.loop import Beat


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return open_database(f"sqlite:///{tmp_path}/auditor.db")


def until_newer(file: Path, than: float) -> None:
    end = time.monotonic() + 10
    while not file.exists() or file.stat().st_mtime <= than:
        assert time.monotonic() < end, "no heartbeat within 10 s"
        time.sleep(0.02)


def test_each_check_updates_the_file_and_a_check_that_hangs_does_not(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging, checks = threading.Event(), threading.Semaphore(0)

    def run_due(*_: object, **__: object) -> None:
        checks.release()
        if hanging.is_set():
            threading.Event().wait()

    monkeypatch.setattr("auditor.scheduling.loop.run_due", run_due)
    monkeypatch.setattr("auditor.scheduling.loop.until_next_minute", lambda: 0.02)
    file = tmp_path / "beat"
    beat = Beat(engine, local=True, heartbeat_file=file)
    threading.Thread(target=beat.run, daemon=True).start()
    for _ in range(2):
        until_newer(file, file.stat().st_mtime if file.exists() else 0)
    hanging.set()
    while checks.acquire(timeout=0.5):
        pass
    os.utime(file, (1, 1))
    time.sleep(0.2)
    assert file.stat().st_mtime == 1


def test_an_unwritable_file_is_logged_and_ends_no_loop(
    engine: Engine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Beat(engine, local=True, heartbeat_file=tmp_path / "missing" / "beat").touch_heartbeat()
    assert "cannot write the heartbeat" in caplog.text


def test_an_unwritable_file_is_refused_at_the_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["beat", "--here", "--heartbeat", str(tmp_path / "missing" / "beat")])
    assert ended.value.code == 2
    assert "--heartbeat: cannot write" in capsys.readouterr().err


def test_the_file_of_an_earlier_run_is_removed_before_the_database_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is new at the start would make a beat healthy that has checked nothing."""
    file = tmp_path / "beat"
    file.touch()
    found: list[bool] = []

    def open_none() -> None:
        found.append(file.exists())
        raise UsageError("no database")

    monkeypatch.setattr("auditor.cli.db.open_database", open_none)
    with pytest.raises(SystemExit):
        main(["beat", "--here", "--heartbeat", str(file)])
    assert found == [False]
