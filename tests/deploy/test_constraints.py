"""constraints.txt pins what the image installs, and fits what pyproject.toml asks for; so does constraints-test.txt."""

import re
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests import constraints
from tests.constraints import IN_THE_IMAGE, PRODUCT, ROOT, TESTS


def pins(*files: Path) -> dict[str, Version]:
    lines = [line for file in files for line in file.read_text().splitlines() if not line.startswith("#")]
    return {canonicalize_name(name): Version(version) for name, _, version in (line.partition("==") for line in lines)}


def test_every_direct_dependency_is_pinned_within_its_range() -> None:
    found = pins(PRODUCT, TESTS)
    extras = set(constraints.project()["project"]["optional-dependencies"]) - {"fuzz"}  # no test imports it
    for requirement in constraints.requirements_of(*extras, build=True):
        version = found.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is not pinned: run `make constraints`"
        assert version in requirement.specifier, f"{requirement} and {version}: run `make constraints`"


def test_nothing_that_comes_into_the_image_is_left_to_chance() -> None:
    needed = constraints.names_needed(constraints.requirements_of(*IN_THE_IMAGE, build=True))
    assert not needed - set(pins(PRODUCT)), "not pinned: run `make constraints`"


def test_the_pins_of_the_product_are_without_tools_of_tests() -> None:
    assert not set(pins(PRODUCT)) & set(pins(TESTS))
    tools = {canonicalize_name(requirement.name) for requirement in constraints.requirements_of("test")}
    needed = constraints.names_needed(constraints.requirements_of(*IN_THE_IMAGE, build=True))
    assert len(tools & set(pins(TESTS))) >= 10
    assert not (tools - needed) & set(pins(PRODUCT))


def test_every_pin_of_the_product_supports_the_oldest_python() -> None:
    lines = [line for line in PRODUCT.read_text().splitlines() if not line.startswith("#")]
    assert not constraints.excluding(constraints.installed(lines), constraints.oldest_python())


def test_a_pin_that_excludes_the_oldest_python_is_found() -> None:
    numpy = constraints.installed(["numpy==2", "not-installed==1"])
    assert constraints.excluding(numpy, "3.6.0") == numpy == ["numpy==2"]
    assert constraints.excluding(numpy, "3.11.2") == []


@pytest.mark.parametrize("file", ["README.md", "docs/tutorial.md", "docs/operations.md", "Makefile", "constraints.txt"])
def test_texts_name_the_oldest_python(file: str) -> None:
    """All places that name a version of Python 3 mean the same oldest one."""
    text = (ROOT / file).read_text()
    assert constraints.oldest_python() in text
    assert not re.findall(r"3\.\d+(?:\.\d+)? or newer", text.replace(f"{constraints.oldest_python()} or newer", ""))


def test_folders_pip_and_local_builds_are_left_out_of_a_list() -> None:
    frozen = "torch==2.14.1+cpu\npip==25.0\n# a comment\nauditor==0.1.0\n-e /somewhere\nx @ file:///wheels/x.whl\nB==1"
    assert constraints.pinned(frozen) == ["B==1", "torch==2.14.1"]


def test_pins_are_divided_by_name_however_it_is_spelt() -> None:
    divided = constraints.divide(["PyYAML==6", "typing_extensions==4"], {"typing-extensions"})
    assert divided == {PRODUCT: ["typing_extensions==4"], TESTS: ["PyYAML==6"]}


def test_every_upper_bound_has_its_reason() -> None:
    """A cap keeps security fixes out, so its line says why it is there."""
    lines = [line for line in (ROOT / "pyproject.toml").read_text().splitlines() if line.startswith('    "')]
    capped = [line for line in lines if re.match(r' *"[\w\[\].-]+[^"]*(==|<|~=)\d', line)]
    assert len(capped) >= 6
    for line in capped:
        assert re.search(r"# .*\b(capped|exact) because \w+", line), line
