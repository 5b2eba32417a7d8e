"""`auditor serve` behind a TLS proxy, as a browser sees both; and a foreign name that leads to a server on loopback."""

import contextlib
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.factories.browser import CHROMIUM
from tests.web.serving import token

NAME = "audits.example.test"


@contextlib.contextmanager
def serve(*options: str) -> Iterator[int]:
    """The port of `auditor serve`."""
    command = [sys.executable, "-P", "-m", "auditor", "serve", "--port", "0", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ.copy()) as process:
        assert process.stderr is not None
        try:
            yield int(re.findall(r":(\d+)/", process.stderr.readline())[0])
        finally:
            process.terminate()
            assert process.wait(30) in (0, -15)


class TlsProxy:
    """Takes TLS and passes on each request with the headers that proxies add; one request a connection."""

    def __init__(self, folder: Path, upstream: int) -> None:
        subject = ["-subj", f"/CN={NAME}", "-keyout", str(folder / "key"), "-out", str(folder / "certificate")]
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject],
            check=True,
            capture_output=True,
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "certificate", folder / "key")
        self.upstream, self.context = upstream, context
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listening.accept()
                threading.Thread(target=self._pass_on, args=(connection,), daemon=True).start()

    def _pass_on(self, plain: socket.socket) -> None:
        with (
            contextlib.suppress(OSError),
            self.context.wrap_socket(plain, server_side=True) as client,
            socket.create_connection(("127.0.0.1", self.upstream)) as server,
        ):
            request = b""
            while b"\r\n\r\n" not in request:
                request += client.recv(65_536)
            head, _, body = request.partition(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
            while length and len(body) < int(length[1]):
                body += client.recv(65_536)
            head = re.sub(rb"\r\nconnection: [^\r]*", b"", head, flags=re.IGNORECASE)
            added = b"\r\nX-Forwarded-For: 198.51.100.7\r\nX-Forwarded-Proto: https\r\nConnection: close\r\n\r\n"
            server.sendall(head + added + body)
            while piece := server.recv(65_536):
                client.sendall(piece)


@contextlib.contextmanager
def browse(port: int, *options: str) -> Iterator[Page]:
    """A page in a browser for which all names lead to this port."""
    arguments = ["--no-sandbox", f"--host-resolver-rules=MAP * 127.0.0.1:{port}", *options]
    with sync_playwright() as playwright:
        browser: Browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser.new_context(ignore_https_errors=True).new_page()
        browser.close()


@pytest.mark.long
@pytest.mark.parametrize("trusted", [True, False], ids=["trusted", "not named as trusted"])
def test_behind_a_tls_proxy_people_sign_in_with_a_secure_cookie(trusted: bool, tmp_path: Path) -> None:
    named = ("--trusted-proxy", "127.0.0.1") if trusted else ()
    with serve("--closed", "--allowed-host", NAME, *named) as port:
        proxy = TlsProxy(tmp_path, port)
        with browse(proxy.port) as page:
            page.goto(f"https://{NAME}/")
            assert page.url == f"https://{NAME}/sign-in?next=/"
            page.get_by_label("Token").fill(token("scan")["Authorization"].removeprefix("Bearer "))
            page.get_by_role("button", name="Sign in").click()
            expect(page.get_by_role("heading", name="Leaderboard")).to_be_visible()
            (cookie,) = page.context.cookies()
            assert (cookie["name"], cookie["secure"], cookie["httpOnly"]) == ("auditor_token", True, True)
            page.goto(f"https://{NAME}/sign-in")
            page.get_by_role("button", name="Sign out").click()
            page.wait_for_url(f"https://{NAME}/sign-in")
            assert page.context.cookies() == []
        proxy.listening.close()


@pytest.mark.long
@pytest.mark.parametrize("name", ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io"])
def test_a_foreign_name_that_leads_to_a_loopback_server_reads_nothing(name: str) -> None:
    """As a page of the name sees it once the name leads here: DNS rebinding."""
    with serve() as port, browse(port) as page:
        answer = page.goto(f"http://{name}/api/v1/scans")
        assert answer is not None
        assert answer.status == 400
        told = page.evaluate("fetch('/api/v1/results').then((answer) => answer.text())")
        assert f"this server does not answer to the host name {name}" in told
        events = page.evaluate("fetch('/api/v1/scans/1/events').then((answer) => answer.status)")
        assert events == 400
