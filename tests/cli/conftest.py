"""Fixtures of the command line's tests."""

from tests.factories.command import zoo  # noqa: F401
