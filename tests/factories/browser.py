"""The browser of the tests."""

CHROMIUM = "/usr/bin/chromium"
