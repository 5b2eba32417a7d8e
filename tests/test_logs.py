"""Logs: ids on every line, JSON that parses, and no secret, whatever wrote the line."""

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from auditor import logs
from auditor.config import hide_secrets, settings
from auditor.errors import UsageError
from auditor.text import redaction

logger = logging.getLogger("auditor.of_a_test")
Said = Callable[[], list[str]]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Iterator[Said]:
    """What was logged since the last look; afterwards all is as it was."""
    root = logging.getLogger()
    before, level, log_settings = root.handlers[:], root.level, logs._settings
    yield lambda: capsys.readouterr().err.splitlines()
    root.handlers[:], logs._settings = before, log_settings
    root.setLevel(level)
    logging.captureWarnings(False)


def set_up(monkeypatch: pytest.MonkeyPatch, shape: str, **variables: str) -> None:
    for name, value in {"AUDITOR_LOG_FORMAT": shape, **variables}.items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()
    logs.set_up("worker", "INFO")


def test_a_line_for_people_ends_with_its_ids(said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    set_up(monkeypatch, "text")
    with logs.log_context(scan=3, audit=7, model="demo:noise"):
        logger.info("one")
        with logs.log_context(attempt=2, worker="host:42"):
            logger.warning("two", extra={"audit": 8, "seconds": 1.5})
        with logs.log_context(attempt=None):
            logger.info("three")
    logger.info("four")
    logger.debug("five")
    one, two, three, four = said()
    assert one.endswith(": INFO/worker] one [scan=3 audit=7 model=demo:noise]")
    assert two.endswith(": WARNING/worker] two [scan=3 audit=8 model=demo:noise attempt=2 worker=host:42]")
    assert three.endswith("three [scan=3 audit=7 model=demo:noise]")
    assert four.endswith("] four")


def test_json_has_the_ids_as_fields(said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    set_up(monkeypatch, "json")
    with logs.log_context(scan=3, audit=7, model="ε"):
        logger.info("it took %.1f s", 2, extra={"outcome": "done"})
        try:
            raise ValueError("no\nroute")
        except ValueError:
            logger.exception("failed")
    done, failed = (json.loads(line) for line in said())
    expected = {"level": "INFO", "logger": "auditor.of_a_test", "message": "it took 2.0 s", "program": "worker"}
    expected |= {"scan": 3, "audit": 7, "model": "ε", "outcome": "done", "pid": os.getpid()}
    assert expected.items() <= done.items()
    assert done["time"].endswith("+00:00")
    assert "ValueError: no\nroute" in failed["exception"]


def test_threads_do_not_mix_up_what_they_are_about(said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    set_up(monkeypatch, "json")
    both = threading.Barrier(2)

    def work(number: int) -> None:
        with logs.log_context(audit=number):
            both.wait(10)
            logger.info("%d", number)

    threads = [threading.Thread(target=work, args=(number,)) for number in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {(line["message"], line["audit"]) for line in map(json.loads, said())} == {("1", 1), ("2", 2)}


SECRET = 'ge"heim/ü%40x'


@pytest.mark.parametrize("shape", ["text", "json"])
def test_no_secret_is_logged(said: Said, monkeypatch: pytest.MonkeyPatch, shape: str) -> None:
    monkeypatch.setenv("AUDITOR_DATABASE_URL", "postgresql://user:pass%21word@db.example/x")
    monkeypatch.setenv("AUDITOR_WEBHOOK_URL", "https://hooks.example/t0ken")
    set_up(monkeypatch, shape, AUDITOR_BROKER_URL="redis://:br0ker-pw@broker.example:6379/0")
    redaction.hide(SECRET)
    for line in (
        "at pass!word",
        "at pass%21word",
        "at br0ker-pw",
        "at https://hooks.example/t0ken",
        f"at {SECRET}",
        "amqp://a:other@b",
        "redis://me@b/1",
    ):
        logger.info("%s", line)
    try:
        raise ValueError("cannot reach redis://:br0ker-pw@broker.example")
    except ValueError:
        logger.exception("away")
    text = "\n".join(said())
    for secret in ("pass!word", "pass%21word", "br0ker-pw", "heim", "other", "me@", "t0ken"):
        assert secret not in text
    assert text.count("at ***") == 5
    assert "amqp://***@b" in text
    assert "broker.example" in text


def test_a_setting_that_is_a_secret_by_its_name_is_hidden() -> None:
    asked = {"webhook_url": "https://hooks.example/abc", "webhook_secret": "s3cr3t", "data": "/data", "threads": 4}
    hide_secrets(asked)
    assert redaction.known_secrets() == {"https://hooks.example/abc", "s3cr3t"}


def test_another_format_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="AUDITOR_LOG_FORMAT"):
        set_up(monkeypatch, "xml")


def test_a_process_goes_on_as_the_one_that_started_it(said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    set_up(monkeypatch, "json")
    with logs.log_context(audit=7):
        taken = logs.export_context()
    logs.import_context((None, {}), logging.WARNING)
    logs.import_context(taken, logging.ERROR)
    logger.warning("left out")
    logger.error("kept")
    logs.import_context((taken[0], {}), logging.INFO)
    assert [(line["message"], line["audit"]) for line in map(json.loads, said())] == [("kept", 7)]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "auditor", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "AUDITOR_LOG_FORMAT": "json"}
    return subprocess.run(program, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.long
def test_a_scan_says_all_in_json_where_asked() -> None:
    options = ("--protocol", "screen", "--model", "noise", "--model", "standard", "--here")
    result = run("scan", "demo", *options)
    assert result.returncode == 0, result.stderr
    lines: list[dict[str, Any]] = [json.loads(line) for line in result.stderr.splitlines()]
    done = [line for line in lines if "outcome" in line]
    assert {(line["model"], line["outcome"], line["scan"], line["attempt"]) for line in done} == {
        ("demo:noise", "done", 1, 1),
        ("demo:standard", "done", 1, 1),
    }
    assert {line["audit"] for line in done} == {1, 2}
    assert all(line["seconds"] > 0 and line["worker"] and line["program"] == "scan" for line in done)
    assert "demo:noise" in result.stdout
    refused = run("scan", "demo", "--model", "nobody")
    assert refused.returncode == 2
    (line,) = map(json.loads, refused.stderr.splitlines())
    assert (line["level"], "nobody" in line["message"]) == ("ERROR", True)
