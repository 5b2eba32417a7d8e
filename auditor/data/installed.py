"""Files of installed packages, found without an import: importing robustbench or timm takes seconds."""

import importlib.util
from pathlib import Path

from auditor.errors import DataError

EXTRAS = {"robustbench": "zoos", "timm": "timm"}
"""The extra of auditor that installs a package."""


def package_file(package: str, name: str) -> Path:
    """The path of a file in a package's folder.

    Raises:
        DataError: the package is not installed, or its version has no such file.
    """
    remedy = f"pip install 'auditor[{EXTRAS[package]}]'"
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise DataError(f"{package} is not installed, and its file {Path(name).name} is needed: {remedy}")
    file = Path(found.origin).parent / name
    if not file.is_file():
        raise DataError(f"expected {name} in the installed {package}, found none: {remedy}")
    return file
