"""Help texts, what a misspelt command gets, and what `auditor` alone says."""

import inspect
import os
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from auditor.cli import Commands, main
from tests.factories.audits import audited
from tests.factories.command import run


def test_every_command_stands_in_one_section_of_the_overview() -> None:
    listed = [name for names in Commands.sections.values() for name in names]
    assert sorted(listed) == sorted(Commands.modules)
    overview = run("--help").stdout
    for title, names in Commands.sections.items():
        assert f"{title}:\n" in overview
        assert all(f"\n  {name} " in overview for name in names)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("reslts",), "No such command 'reslts'. Did you mean 'results'?"),
        (("results", "shw"), "No such command 'shw'. Did you mean 'show'?"),
        (("schedule", "ad"), "No such command 'ad'. Did you mean 'add'?"),
        (("xyzzy",), "No such command 'xyzzy'."),
    ],
)
def test_a_misspelt_command_gets_a_suggestion(words: tuple[str, ...], message: str) -> None:
    refused = run(*words)
    assert refused.exit_code == 2
    assert message in refused.stderr


def commands(command: click.Command = main, path: str = "auditor", parent: click.Context | None = None) -> Iterator:
    context = click.Context(command, info_name=path, parent=parent)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            yield from commands(command.get_command(context, name), f"{path} {name}", context)
    else:
        yield path, command


@pytest.mark.parametrize(
    ("path", "command"), list(commands()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_help_is_sentences_and_examples(path: str, command: click.Command) -> None:
    text = inspect.cleandoc(command.help).replace("\b", "")
    first = text.split("\n\n")[0].replace("\n", " ")
    assert re.match(r"[A-Z].*[.;]", first), first
    examples = re.search(r"\nExamples?:\n((?:  +\S.*\n?)+)", text)
    assert examples is not None, f"{path} has no examples"
    assert any(line.strip().startswith((path, f"watch {path}")) for line in examples[1].splitlines())
    for option in command.params:
        if isinstance(option, click.Option) and not option.hidden:
            assert re.match(r"[A-Z].*\.$", option.help or ""), f"{path} {option.opts[-1]}: {option.help}"
            assert len(option.help.split()) > 2, f"{path} {option.opts[-1]}: {option.help}"
            fragment = r"(The|Path|Folder|File|Number|Seed|Weight|Norm|Radius|Epochs|Steps|Data|Device|Port|Level)\b"
            assert not re.match(fragment, option.help), f"{path} {option.opts[-1]}: {option.help}"


def database_file() -> Path:
    return Path(os.environ["AUDITOR_DATABASE_URL"].removeprefix("sqlite:///"))


def test_auditor_alone_says_how_to_start_and_makes_no_database() -> None:
    result = run()
    assert result.exit_code == 0
    for command in ("auditor scan demo", "auditor init", "auditor doctor", "auditor --help"):
        assert f"  {command} " in result.stdout
    assert not database_file().exists()


def test_auditor_alone_says_what_to_do_with_results() -> None:
    audited("m", 10)
    result = run()
    assert result.exit_code == 0
    assert "1 audit stored; the last scan, 1 of demo, started" in result.stdout
    for command in ("auditor results list", "auditor serve", "auditor report 1 -o report.html", "auditor --help"):
        assert f"  {command} " in result.stdout
