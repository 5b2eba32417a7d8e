"""A folder in which every file has the name of a module that programs import, and writes down that it was run."""

import os
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

RUN = "these_have_run"
WRITE = """\
import os
with open({place!r}, "a") as file:
    file.write(__name__ + chr(10))
"""
OF_PYTHON = ("sitecustomize", "usercustomize")


def names() -> set[str]:
    """The standard library's modules and all that is installed, but what an interpreter has before it runs anything."""
    everything = {*sys.stdlib_module_names, *packages_distributions(), *OF_PYTHON, "celeryconfig"}
    return {name for name in everything if name.isidentifier() and name not in ("auditor", "workers", "migrations")}


def make_hostile(folder: Path, *, packages: bool = False) -> Path:
    """Modules, or packages of the same names; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    code = WRITE.format(place=os.fspath(folder / RUN))
    for name in names():
        file = folder / name / "__init__.py" if packages else folder / f"{name}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(code)
    return folder


def have_run(folder: Path) -> list[str]:
    """Which were run, in this order."""
    file = folder / RUN
    return file.read_text().split() if file.exists() else []
