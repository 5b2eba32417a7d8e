"""The pins of constraints.txt and constraints-test.txt, from the environment that the tests run in.

``make constraints`` writes both files. constraints.txt has what the image installs: the product with the extras of its
workers and its server. constraints-test.txt has what else is installed: the tools of the tests, and the other extras.
"""

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
IN_THE_IMAGE = ("zoos", "hub", "onnx", "evidence", "mlflow", "service", "telemetry")
"""The extras that workers and `auditor serve` need for every source and every output, and traces."""
PRODUCT, TESTS = ROOT / "constraints.txt", ROOT / "constraints-test.txt"
HEADS = {
    PRODUCT: """\
# What the tests passed with, on Python {python} and Linux:
# pip install -c constraints.txt '.[{extras}]'
# All versions install on Python {oldest}, too. Written by `make constraints`. Builds of torch for the CPU and for CUDA
# have the same version; what only one of them needs is here, too, and is installed with that one only.
""",
    TESTS: """\
# What else was installed for the tests, with constraints.txt, on Python {python} and Linux: tools, and optional parts
# of auditor that the image does not have. Written by `make constraints`.
""",
}


def project() -> dict[str, Any]:
    """pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def oldest_python() -> str:
    """The oldest Python that auditor supports, and that was tested: the bound of ``requires-python``."""
    (bound,) = SpecifierSet(project()["project"]["requires-python"])
    assert bound.operator == ">="
    return bound.version


def requirements_of(*extras: str, build: bool = False) -> list[Requirement]:
    """What pyproject.toml asks for, with these extras, and with what builds the wheel."""
    found = project()
    lines = list(found["project"]["dependencies"])
    lines += [line for name in extras for line in found["project"]["optional-dependencies"][name]]
    return [Requirement(line) for line in lines + (found["build-system"]["requires"] if build else [])]


def names_needed(requirements: list[Requirement]) -> set[str]:
    """The names of these distributions and of all that they need in turn, as they are installed here.

    What they need on the oldest Python alone is included.
    """
    pythons = ({}, {"python_full_version": oldest_python()})
    seen: set[tuple[str, frozenset[str]]] = set()

    def follow(requirement: Requirement) -> Iterator[str]:
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if (name, extras) in seen:
            return
        seen.add((name, extras))
        yield name
        for line in importlib.metadata.distribution(name).requires or []:
            further = Requirement(line)
            environments = [{"extra": extra, **python} for extra in extras or {""} for python in pythons]
            if further.marker is None or any(map(further.marker.evaluate, environments)):
                yield from follow(further)

    return {name for requirement in requirements for name in follow(requirement)}


def pinned(frozen: str) -> list[str]:
    """``name==version`` of pip's list, without what is installed from a folder, pip, and local labels of builds."""
    found = [line for line in frozen.splitlines() if re.fullmatch(r"[\w.-]+==\S+", line)]
    others = [line for line in found if _name(line).lower() not in ("pip", "auditor")]
    return sorted((line.partition("+")[0] for line in others), key=str.lower)


def divide(pins: list[str], product: set[str]) -> dict[Path, list[str]]:
    """Pins by the file that they belong into."""
    of_product = [line for line in pins if canonicalize_name(_name(line)) in product]
    return {PRODUCT: of_product, TESTS: [line for line in pins if line not in of_product]}


def installed(pins: list[str]) -> list[str]:
    """The pins whose distributions are installed here: CUDA's are not beside a CPU build of torch."""
    here = {canonicalize_name(found.name) for found in importlib.metadata.distributions()}
    return [line for line in pins if canonicalize_name(_name(line)) in here]


def excluding(pins: list[str], python: str) -> list[str]:
    """The pins whose versions, as installed here, do not support a version of Python."""
    supported = {line: importlib.metadata.metadata(_name(line)).get("Requires-Python") for line in pins}
    return [line for line, versions in supported.items() if python not in SpecifierSet(versions or "")]


def _name(line: str) -> str:
    return line.partition("==")[0]


def write() -> None:
    """Write both files."""
    command = [sys.executable, "-m", "pip", "freeze", "--all", "--exclude-editable"]
    frozen = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    divided = divide(pinned(frozen), names_needed(requirements_of(*IN_THE_IMAGE, build=True)))
    if wrong := excluding(divided[PRODUCT], oldest_python()):
        sys.exit(f"{', '.join(wrong)}: not for Python {oldest_python()}; cap the version in the extra `test`")
    python = ".".join(str(part) for part in sys.version_info[:2])
    for file, pins in divided.items():
        file.write_text(
            HEADS[file].format(python=python, oldest=oldest_python(), extras=",".join(IN_THE_IMAGE))
            + "\n".join(pins)
            + "\n"
        )


if __name__ == "__main__":
    write()
