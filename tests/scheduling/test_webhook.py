"""Webhooks: who is told, how often it is tried, and that no secret gets out and no private network is reached."""

import contextlib
import html
import logging
import socket
import time
from collections.abc import Callable

import pytest
from tenacity import wait_none

from auditor.errors import AuditorError, EnvironmentUnusableError, UsageError
from auditor.results.diff import Diff
from auditor.scheduling.webhook import TRIES, describe_diff, post
from tests.factories.webhook import Hook, Raw, silent


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
    with pytest.raises(UsageError, match="AUDITOR_WEBHOOK_PRIVATE=true allows it") as caught:
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
    assert describe_diff(diff, "scan 7") == (
        "scan 7: 1 regressions, 1 failed, 1 new\nregression: c: a gap of 0.1 instead of 0.4; x\nfailed: b: no weights"
    )
    many = Diff(6, 7, failed={f"m{number}": "no" for number in range(100)})
    assert len(describe_diff(many, "s").splitlines()) == 31
    assert describe_diff(many, "s").endswith("… and 71 more: `auditor scans diff` shows all")
    assert len(describe_diff(many, "s", complete=True).splitlines()) == 101


@pytest.mark.parametrize(
    "url",
    [
        "http://[64:ff9b::7f00:1]/SECRET", "http://[64:ff9b::a9fe:a9fe]/SECRET", "http://[64:ff9b:1::1]/SECRET",
        "http://[2002:a00:1::1]/SECRET", "http://[2002:c0a8:101::]/SECRET", "http://[::10.0.0.1]/SECRET",
        "http://[::ffff:0:10.0.0.1]/SECRET", "http://[fec0::7]/SECRET", "http://[ff02::1]/SECRET",
        "http://224.0.0.1/SECRET", "http://255.255.255.255/SECRET", "http://100.64.1.1/SECRET", "http://240.1.1.1/SECRET",
        "http://0x7f.1/SECRET", "http://127.1/SECRET", "http://0xa.0.0.1/SECRET", "http://3232235777/SECRET",
        "http://[fe80::1%25lo]/SECRET", "http://[fe80::1%lo]/SECRET", "http://localhost./SECRET", "http://127.0.0.1./SECRET",
    ],
)  # fmt: skip
def test_private_addresses_in_disguise_are_not_reached(url: str) -> None:
    with pytest.raises(AuditorError) as caught:
        post(url, "x")
    assert "SECRET" not in str(caught.value)
    assert "private address" in str(caught.value) or "cannot be resolved" in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "https://a..b/SECRET", "https://.example.com/SECRET", f"https://{'x' * 64}/SECRET",
        f"https://{'x.' * 200}/SECRET",
        "https://xn--/SECRET", "https://☃.net/SECRET", f"https://{'é' * 80}.com/SECRET", "https://x:99999/SECRET",
        "https://x:port/SECRET", "https://a.com\n/SECRET", "https://[::1/SECRET", "https://exa mple.com/SECRET",
        "https://\ud800.com/SECRET", "https://%00.com/SECRET", f"https://{'y' * 70_000}/SECRET",
    ],
)  # fmt: skip
def test_whatever_the_address_is_the_error_is_one_of_ours_in_one_line(url: str) -> None:
    with pytest.raises(AuditorError) as caught:
        post(url, "x", wait=wait_none())
    assert "SECRET" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def drip(line: bytes, pause: float) -> Callable[[socket.socket], None]:
    """A head of an answer without an end, a piece now and then."""

    def speak(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        while True:
            connection.sendall(line)
            time.sleep(pause)

    return speak


def interim(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        time.sleep(0.05)


@pytest.mark.long
@pytest.mark.parametrize(
    "speak",
    [silent, drip(b"x", 0.05), drip(b"X-Header: y\r\n", 0.05), interim],
    ids=["silent", "bytes", "headers", "interim"],
)
def test_a_receiver_that_never_ends_is_given_up_in_bounded_time(
    speak: Callable[[socket.socket], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("auditor.scheduling.webhook.TIMEOUT", 0.4)
    receiver = Raw(speak)
    began = time.monotonic()
    with pytest.raises(EnvironmentUnusableError) as caught:
        post(receiver.url, "x", allow_private=True, wait=wait_none())
    assert time.monotonic() - began < 0.4 * TRIES + 60  # it ends, also on a busy machine
    assert receiver.connections == TRIES
    assert "SECRET" not in str(caught.value)
    receiver.listening.close()


@pytest.mark.parametrize(
    ("head", "tries"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9000000000\r\n\r\n", 1),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 1),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 9000000000\r\n\r\n", 1),
        (b"HTTP/1.0 500 No\r\n\r\n", TRIES),
    ],
)
def test_the_body_of_an_answer_is_not_read(head: bytes, tries: int) -> None:
    sent = []

    def speak(connection: socket.socket) -> None:
        connection.recv(1 << 16)
        connection.sendall(head)
        try:
            while sum(sent) < 300_000_000:
                sent.append(
                    connection.send(b"f00\r\n" + b"x" * 0xF00 + b"\r\n" if b"chunked" in head else b"x" * 65_536)
                )
        finally:
            done.append(1)

    done: list[int] = []
    receiver = Raw(speak)
    error = contextlib.nullcontext() if tries == 1 else pytest.raises(EnvironmentUnusableError, match="status 500")
    with error:
        post(receiver.url, "x", allow_private=True, wait=wait_none())
    until = time.monotonic() + 10
    while len(done) < tries and time.monotonic() < until:
        time.sleep(0.05)
    assert len(done) == tries
    assert sum(sent) < 40_000_000, "what the buffers of the system hold, and no more"
    receiver.listening.close()


@pytest.mark.long
@pytest.mark.parametrize(
    "answer",
    [
        b"", b"\0" * 100, b"HTTP/1.1 999999 x\r\n\r\n", b"<html>hello</html>",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000 + b"\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n", b"HTTP/1.1 301 M\r\nLocation: http://[\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", b"\x16\x03\x01\x02",
    ],
)  # fmt: skip
def test_any_answer_that_is_none_is_an_error_of_ours(answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auditor.scheduling.webhook.TIMEOUT", 1.0)

    def speak(connection: socket.socket) -> None:
        connection.recv(1 << 16)
        connection.sendall(answer)

    receiver = Raw(speak)
    for url in (receiver.url, receiver.url.replace("http:", "https:")):
        with pytest.raises(EnvironmentUnusableError) as caught:
            post(url, "x", allow_private=True, wait=wait_none())
        assert len(str(caught.value).splitlines()) == 1
        assert "SECRET" not in str(caught.value)
    receiver.listening.close()


def test_the_next_address_is_tried_where_one_does_not_answer(hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auditor.scheduling.webhook.resolve", lambda *_: ["127.0.0.2", "127.0.0.1"])
    post(hook.url, "x", allow_private=True, wait=wait_none())
    assert [text["text"] for _, text in hook.heard] == ["x"]


@pytest.mark.parametrize(
    "error", [UnicodeError("x"), ValueError("x"), RecursionError("x"), RuntimeError("x"), KeyError(1)]
)
def test_whatever_fails_inside_is_an_error_of_ours(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> int:
        raise error

    monkeypatch.setattr("auditor.scheduling.webhook._exchange", fail)
    with pytest.raises(EnvironmentUnusableError, match=type(error).__name__):
        post("http://127.0.0.1/SECRET", "x", allow_private=True)
