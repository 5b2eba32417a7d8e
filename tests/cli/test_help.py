"""The overview of commands, and what a misspelt command gets."""

import pytest

from auditor.cli import Commands
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
