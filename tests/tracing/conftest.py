"""A collector, and a recorder without one."""

from tests.factories.collector import collector, recorder  # noqa: F401
