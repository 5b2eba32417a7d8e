"""Fixtures of the tests of evidence."""

from tests.factories.evidence import collected, folder, made  # noqa: F401
