"""The versions of the libraries that are part of a record."""

from collections.abc import Collection
from importlib.metadata import PackageNotFoundError, version

NETWORKS = {"timm": ("timm",), "robustbench": ("robustbench", "timm")}
"""The libraries that make a network, by the key of its architecture that says so."""


def versions(architecture: Collection[str] = ()) -> dict[str, str]:
    """The installed versions of what computes numbers, and of the libraries that make a network.

    >>> sorted(versions({"demo": "standard"}))
    ['auditor', 'numpy', 'pyautoattack', 'scipy', 'torch']
    """
    makers = {name for key, names in NETWORKS.items() if key in architecture for name in names}
    always = {name: version(name) for name in ("auditor", "torch", "numpy", "scipy", "pyautoattack")}
    return always | {name: found for name in sorted(makers) if (found := installed_version(name)) is not None}


def installed_version(name: str) -> str | None:
    """The version of an installed distribution; None if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
