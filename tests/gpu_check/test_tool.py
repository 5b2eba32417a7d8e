"""The program that fills a folder with wheels, and runs the GPU check from it without a network."""

import tomllib
from typing import Any

import pytest

from tests.factories.tools import TOOLS, load_tool


@pytest.fixture(scope="module")
def tool() -> Any:
    return load_tool("gpu_check")


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("psycopg[binary]>=3.2", "psycopg"),
        ("Typing_Extensions==4.1", "typing-extensions"),
        ("ruamel.yaml>1", "ruamel-yaml"),
        ("torch @ file:///torch.whl", "torch"),
    ],
)
def test_names_are_normalized(tool: Any, line: str, name: str) -> None:
    assert tool.name_of(line) == name


def test_everything_that_auditor_and_its_workers_need_is_asked_for(tool: Any) -> None:
    project = tomllib.loads((TOOLS.parent / "pyproject.toml").read_text())["project"]
    asked = {tool.name_of(line) for line in tool.requirements()}
    assert {tool.name_of(line) for line in project["dependencies"]} <= asked
    assert {"celery", "redis", "pytest", "hypothesis", "fakeredis"} <= asked


FOUND = [
    {"name": "torch", "version": "2.14.0", "requires_dist": ["nvidia-cublas-cu12", "jinja2"]},
    {"name": "nvidia-cublas-cu12", "version": "12.8"},
    {"name": "Jinja2", "version": "3.1.6", "requires_dist": ["MarkupSafe>=2.0", 'babel<2; extra == "i18n"']},
    {"name": "MarkupSafe", "version": "3.0.4"},
    {"name": "msgspec", "version": "0.22.0"},
    {"name": "babel", "version": "2.17"},
]


def test_what_comes_with_pytorch_is_not_carried(tool: Any) -> None:
    assert tool.left_to_carry(FOUND, {}) == ["babel==2.17", "jinja2==3.1.6", "markupsafe==3.0.4", "msgspec==0.22.0"]


def test_what_the_machine_has_is_carried_only_if_it_is_too_old(tool: Any) -> None:
    present = tool.read_freeze("# a remark\nJinja2==3.1.6\nMarkupSafe==1.9\nbabel==2.16\ntorch @ file:///x\n")
    assert present == {"jinja2": "3.1.6", "markupsafe": "1.9", "babel": "2.16"}
    assert tool.left_to_carry(FOUND, present) == ["markupsafe==3.0.4", "msgspec==0.22.0"]
    assert "jinja2==3.1.6" in tool.left_to_carry(FOUND, {"jinja2": "3.1.0"})  # auditor asks for 3.1.5


def test_without_wheels_the_way_to_fill_the_folder_is_said(
    tool: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tool, "ENVIRONMENT", tmp_path / "environment")
    with pytest.raises(SystemExit, match="fill the folder first"):
        tool.make_environment(tmp_path)
