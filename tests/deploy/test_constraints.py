"""constraints.txt pins what the image installs, and fits what pyproject.toml asks for."""

import importlib.metadata
import re
import tomllib
from collections.abc import Iterator

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.constraints import pinned
from tests.deploy.files import ROOT

IN_THE_IMAGE = ("zoos", "service")


def pins() -> dict[str, Version]:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    return {canonicalize_name(name): Version(version) for name, _, version in (line.partition("==") for line in lines)}


def asked() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    lines = [*project["project"]["dependencies"], *(line for name in extras for line in extras[name])]
    return [Requirement(line) for line in [*lines, *project["build-system"]["requires"]]]


def needed(requirement: Requirement, seen: set[str]) -> Iterator[Requirement]:
    """A requirement and all that it needs in turn, as it is installed here."""
    yield requirement
    name = canonicalize_name(requirement.name)
    if name in seen:
        return
    seen.add(name)
    for line in importlib.metadata.distribution(name).requires or []:
        further = Requirement(line)
        extras = [{"extra": extra} for extra in requirement.extras] or [{"extra": ""}]
        if further.marker is None or any(further.marker.evaluate(extra) for extra in extras):
            yield from needed(further, seen)


def test_every_direct_dependency_is_pinned_within_its_range() -> None:
    found = pins()
    for requirement in asked():
        version = found.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is not pinned: run `make constraints`"
        assert version in requirement.specifier, f"{requirement} and {version}: run `make constraints`"


def test_nothing_that_comes_along_is_left_to_chance() -> None:
    seen: set[str] = set()
    found = pins()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [
        *project["dependencies"],
        *(one for name in IN_THE_IMAGE for one in project["optional-dependencies"][name]),
    ]
    for line in lines:
        for requirement in needed(Requirement(line), seen):
            assert canonicalize_name(requirement.name) in found, f"{requirement.name} is not pinned"


def test_folders_pip_and_local_builds_are_left_out_of_a_list() -> None:
    frozen = "torch==2.14.1+cpu\npip==25.0\n# a comment\nauditor==0.1.0\n-e /somewhere\nx @ file:///wheels/x.whl\nB==1"
    assert pinned(frozen) == ["B==1", "torch==2.14.1"]


def test_every_upper_bound_has_its_reason() -> None:
    """A cap keeps security fixes out, so its line says why it is there."""
    lines = [line for line in (ROOT / "pyproject.toml").read_text().splitlines() if line.startswith('    "')]
    capped = [line for line in lines if re.match(r' *"[\w\[\].-]+[^"]*(==|<|~=)\d', line)]
    assert len(capped) >= 6
    for line in capped:
        assert re.search(r"# .*\b(capped|exact) because \w+", line), line
