"""Examples in docstrings run and print what they say; the names of docs/python-api.md exist and are described."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest
import torch

import auditor
from tests.docs.blocks import ROOT

PUBLIC = re.findall(r"^::: (\S+)$", (ROOT / "docs" / "python-api.md").read_text(), re.MULTILINE)
HEADINGS = re.findall(r"^ +heading: (\S+)$", (ROOT / "docs" / "python-api.md").read_text(), re.MULTILINE)
MODULES = [
    module.name
    for module in pkgutil.walk_packages(auditor.__path__, "auditor.")
    if ">>>" in Path(module.module_finder.find_spec(module.name, None).origin).read_text()
]


@pytest.mark.long
@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str) -> None:
    module = importlib.import_module(name)
    torch.manual_seed(0)
    found = doctest.testmod(module, extraglobs={"torch": torch, "nn": torch.nn}, optionflags=doctest.ELLIPSIS)
    assert found.attempted
    assert not found.failed


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_exist_and_are_described(name: str) -> None:
    owner, _, last = name.rpartition(".")
    thing = getattr(find(owner), last)
    assert thing.__doc__


@pytest.mark.parametrize("name", HEADINGS)
def test_names_shown_are_importable(name: str) -> None:
    owner, _, last = name.rpartition(".")
    getattr(find(owner), last)


def find(name: str) -> object:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        owner, _, last = name.rpartition(".")
        return getattr(find(owner), last)
