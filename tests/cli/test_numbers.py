"""Numbers on the command line that no clock, database or memory takes: one line, for every option of every command."""

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from auditor.cli import main
from auditor.cli.number_types import Count, Finite, FiniteRange


def options(group: click.Group, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Parameter]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from options(command, (*words, name))
        elif command is not None:
            yield from (((*words, name), parameter) for parameter in command.params)


ALL = list(options(main))
NUMBERS = (click.types.FloatParamType, click.types.IntParamType)


def test_every_number_option_has_limits() -> None:
    loose = [
        (*words, parameter.name)
        for words, parameter in ALL
        if isinstance(parameter.type, NUMBERS)
        and not isinstance(parameter.type, Count | Finite | FiniteRange)
        and not (isinstance(parameter.type, click.IntRange) and parameter.type.max is not None)
    ]
    assert loose == []


FLOATS = [
    pytest.param(words, parameter.opts[0], id=" ".join((*words, parameter.opts[0])))
    for words, parameter in ALL
    if isinstance(parameter.type, Finite | FiniteRange)
]


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e300", "-1e300", "1e400", "NaN", "1" * 5000])
@pytest.mark.parametrize(("words", "option"), FLOATS)
def test_useless_numbers_print_one_line(words: tuple[str, ...], option: str, value: str) -> None:
    result = CliRunner().invoke(main, [*words, f"{option}={value}"])
    assert result.exit_code == 2, result.output
    assert f"Invalid value for '{option}'" in result.stderr
    assert len(result.stderr.splitlines()[-1]) < 300 or value == "1" * 5000
    assert result.exception is None or isinstance(result.exception, SystemExit)


@pytest.mark.parametrize("value", ["99999999999999999999", str(2**31), "1" * 5000, "-1", "nan", "1e3"])
@pytest.mark.parametrize(
    "words",
    [
        ("scan", "demo", "--samples"),
        ("scan", "demo", "--limit"),
        ("scans", "list", "--limit"),
        ("results", "list", "--limit"),
        ("db", "prune", "--keep-per-model"),
        ("boost", "demo:noise", "--samples"),
        ("adapt", "standard", "--tuning-steps"),
        ("adapt", "standard", "--shots"),
        ("results", "show", "demo:noise", "--id"),
    ],
    ids=" ".join,
)
def test_counts_too_large_for_a_database_print_one_line(words: tuple[str, ...], value: str) -> None:
    result = CliRunner().invoke(main, [*words[:-1], f"{words[-1]}={value}"])
    assert (result.exit_code, type(result.exception)) == (2, SystemExit), result.output
    assert f"Invalid value for '{words[-1]}'" in result.stderr


@pytest.mark.parametrize(
    "value", ["nan", "inf", "0", "-1", "1e300", "2", "1/0", "0/0", "1e-400", f"{'1' * 5000}/255", "x" * 999]
)
@pytest.mark.parametrize("option", ["--eps", "--fail-under"])
def test_radii_and_shares(option: str, value: str) -> None:
    if (option, value) in [("--fail-under", "0"), ("--fail-under", "1e-400"), ("--eps", "2")]:
        return  # a share of nothing; a radius that is one in L2
    result = CliRunner().invoke(main, ["scan", "demo", f"{option}={value}"])
    assert result.exit_code == 2, result.output
    assert len(result.stderr.splitlines()[-1]) < 300


@pytest.mark.parametrize("days", ["nan", "1e300", "-1", "inf", "0", "36501", "1e5"])
def test_tokens_end_on_a_day_that_there_is(days: str) -> None:
    result = CliRunner().invoke(main, ["tokens", "add", "ci", "--scope", "read", f"--days={days}"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Invalid value for '--days'" in result.stderr


@pytest.mark.parametrize("days", [float("nan"), float("inf"), 0.0, -3.0, 1e300, 40_000.0])
def test_the_function_behind_it_says_so_too(days: float) -> None:
    from auditor.cli.db import open_database
    from auditor.db.tokens import add_token, list_tokens
    from auditor.errors import UsageError

    engine = open_database()
    with pytest.raises(UsageError, match="expected more than 0 and at most 36500 days, got"):
        add_token(engine, "ci", "read", days)
    assert list_tokens(engine) == []
