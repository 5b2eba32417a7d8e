"""The browser of the tests, and a server for it."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

from playwright.sync_api import Browser, sync_playwright

CHROMIUM = "/usr/bin/chromium"


@contextlib.contextmanager
def launched() -> Iterator[Browser]:
    """Chromium without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def serving(*options: str) -> Iterator[str]:
    """The address of `auditor serve` over the test's own database, without the last slash."""
    command = [sys.executable, "-m", "auditor", "serve", "--port", "0", "--rate", "100000", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ.copy()) as process:
        assert process.stderr is not None
        try:
            yield process.stderr.readline().strip().rstrip("/")
        finally:
            process.terminate()
        assert process.wait(30) in (0, -15)
