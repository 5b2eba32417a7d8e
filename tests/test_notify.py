"""Webhooks: who is told, how often it is tried, and that no secret gets out and no private network is reached."""

import html
import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from tenacity import wait_none

from auditor.db.diff import Diff
from auditor.errors import EnvironmentUnusableError, UsageError
from auditor.notify import TRIES, in_words, post


class Hook:
    """A webhook that answers what it is told to."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.heard: list[tuple[str, dict[str, str]]] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                hook.heard.append((self.headers["Host"], body))
                status = hook.answers.pop(0) if hook.answers else 200
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "http://127.0.0.1/elsewhere")
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://localhost:{self.server.server_port}/services/T0/SECRET"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def hook() -> Iterator[Hook]:
    made = Hook()
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_slack_compatible_json_with_the_hosts_own_name(hook: Hook) -> None:
    post(hook.url, "hello\nyou", allow_private=True)
    assert hook.heard == [(hook.url.split("/")[2], {"text": "hello\nyou"})]


@pytest.mark.parametrize("text", ["<!channel> failed", "<https://example.org|click>", "a & b <@U1>"])
def test_a_models_words_call_nobody_and_link_nowhere(hook: Hook, text: str) -> None:
    post(hook.url, text, allow_private=True)
    ((_, heard),) = hook.heard
    assert "<" not in heard["text"]
    assert html.unescape(heard["text"]) == text


@pytest.mark.parametrize(("answers", "tries"), [([500], 2), ([429, 503], 3), ([], 1)])
def test_what_may_pass_is_tried_again(hook: Hook, answers: list[int], tries: int) -> None:
    hook.answers = list(answers)
    post(hook.url, "x", allow_private=True, wait=wait_none())
    assert len(hook.heard) == tries


@pytest.mark.parametrize(("answers", "tries"), [([500] * 9, TRIES), ([404], 1), ([302], 1), ([403], 1)])
def test_what_does_not_pass_is_an_error_without_the_secret(hook: Hook, answers: list[int], tries: int) -> None:
    hook.answers = list(answers)
    with pytest.raises(EnvironmentUnusableError) as caught:
        post(hook.url, "x", allow_private=True, wait=wait_none())
    assert len(hook.heard) == tries
    assert "SECRET" not in str(caught.value)
    assert "localhost" in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost/SECRET", "http://127.0.0.1/SECRET", "http://10.0.0.1/SECRET", "http://192.168.1.1/SECRET",
        "http://169.254.169.254/latest/SECRET", "http://[::1]/SECRET", "http://[fd00::1]/SECRET", "http://0.0.0.0/SECRET",
        "http://[::ffff:10.0.0.1]/SECRET", "http://2130706433/SECRET", "http://0x7f000001/SECRET",
    ],
)  # fmt: skip
def test_private_addresses_are_refused(url: str) -> None:
    with pytest.raises(UsageError, match="AUDITOR_WEBHOOK_PRIVATE=true allows that") as caught:
        post(url, "x")
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("url", ["", "ftp://x/SECRET", "SECRET", "http://", "https:///SECRET"])
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(UsageError, match="expected https://") as caught:
        post(url, "x")
    assert "SECRET" not in str(caught.value)


def test_nobody_there(hook: Hook, caplog: pytest.LogCaptureFixture) -> None:
    hook.server.shutdown()
    hook.server.server_close()
    with caplog.at_level(logging.WARNING), pytest.raises(EnvironmentUnusableError) as caught:
        post(hook.url, "x", allow_private=True, wait=wait_none())
    assert "ConnectError" in str(caught.value)
    assert "SECRET" not in str(caught.value) + caplog.text


def test_in_words() -> None:
    diff = Diff(6, 7, new=["a"], failed={"b": "no weights"}, regressions={"c": ["a gap of 0.1 instead of 0.4", "x"]})
    assert in_words(diff, "scan 7") == (
        "scan 7: 1 regressions, 1 failed, 1 new\nregression: c: a gap of 0.1 instead of 0.4; x\nfailed: b: no weights"
    )
    many = Diff(6, 7, failed={f"m{number}": "no" for number in range(100)})
    assert len(in_words(many, "s").splitlines()) == 31
    assert in_words(many, "s").endswith("… and 71 more: `auditor scans diff` shows all")
    assert len(in_words(many, "s", all_of_it=True).splitlines()) == 101
