"""Fixtures of the scheduling tests."""

from tests.factories.webhook import hook  # noqa: F401
