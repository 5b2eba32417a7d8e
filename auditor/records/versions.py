"""The versions of the libraries that are part of a record."""

from importlib.metadata import version


def versions() -> dict[str, str]:
    return {name: version(name) for name in ("auditor", "torch", "numpy", "scipy", "pyautoattack")}
