"""Every block of code in the documentation is run, parsed or named with a reason in docs/tested-documentation.md."""

import ast
import importlib
import inspect
import json
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from auditor.cli import main
from auditor.db.session import open_database
from tests.docs.blocks import GENERATED, PAGES, ROOT, Block, blocks, commands, inline, table

TESTED = ROOT / "docs" / "tested-documentation.md"
PARSED = ("bash", "sh", "python", "toml", "json", "yaml", "sql")
UNPARSED = ("text", "output", "")  # commands with placeholders, what a command prints, drawings
PLACEHOLDER = re.compile(r"…|\.\.\.|\b[A-Z]+\b|<|\[")
WRITTEN = [page for page in PAGES if page.name not in GENERATED]
BLOCKS = [block for page in WRITTEN for block in blocks(page)]
PROGRAM = re.compile(r"(?:[A-Z_]+=|(?:apt-get|auditor|curl|docker|eval|export|make|pip|python) )")
SHELL = [
    block
    for block in BLOCKS
    if block.language in ("bash", "sh")
    or (block.language == "" and PROGRAM.match(block.first_line) and "─►" not in block.text)
]


def of(*languages: str) -> Any:
    return pytest.mark.parametrize(
        "block", [block for block in BLOCKS if block.language in languages], ids=lambda block: block.name
    )


def test_every_block_is_of_a_language_that_is_checked_or_has_its_reason() -> None:
    excused = {(page, first) for page, first, _ in table(TESTED, "Blocks that no test checks")}
    found = {(block.page.name, block.first_line) for block in BLOCKS if block.language not in (*PARSED, *UNPARSED)}
    assert found == excused, "docs/tested-documentation.md names each block that no test checks, and no other"


@pytest.mark.parametrize("block", SHELL, ids=lambda block: block.name)
def test_shell_is_shell(block: Block) -> None:
    done = subprocess.run(["bash", "-n"], input=block.text, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


@of("toml")
def test_toml_is_toml(block: Block) -> None:
    tomllib.loads(block.text)


@of("json")
def test_json_is_json(block: Block) -> None:
    json.loads(block.text)


@of("yaml")
def test_yaml_is_yaml(block: Block) -> None:
    yaml.safe_load(block.text)


@of("sql")
def test_sql_runs_on_an_empty_database(block: Block, tmp_path: Path) -> None:
    with open_database(f"sqlite:///{tmp_path}/empty.db").connect() as connection:
        connection.exec_driver_sql(block.text)


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.name)
def test_commands_exist_with_their_options_and_values(page: Path) -> None:
    problems = [
        f"{block.name}: auditor {' '.join(words)}: {problem}"
        for block in [*blocks(page), *inline(page)]
        for words in commands(block)
        for problem in problems_of(words, complete=block.language not in ("inline", "text"))
    ]
    assert not problems, "\n".join(problems)


def problems_of(words: list[str], *, complete: bool) -> Iterator[str]:
    """What click would refuse about a command, without its callbacks; files need not exist.

    Args:
        words: what follows ``auditor``.
        complete: whether required arguments must be there. A mention in a sentence may leave them out.
    """
    command: click.Command = main
    context = click.Context(main, info_name="auditor")
    words = [word for word in words if word not in ("…", "...")]
    while True:
        parser = command.make_parser(context)
        if isinstance(command, click.Group):
            parser.allow_interspersed_args = False
        try:
            given, rest, _ = parser.parse_args(list(words))
        except click.UsageError as error:
            if complete or isinstance(error, click.NoSuchOption):
                yield error.format_message()
            return
        yield from wrong_values(command, context, given, complete)
        if not isinstance(command, click.Group):
            if rest:
                yield f"unexpected {' '.join(rest)}"
            return
        if not rest or PLACEHOLDER.search(rest[0]):
            return
        inner = command.get_command(context, rest[0])
        if inner is None:
            yield f"no command {rest[0]}"
            return
        context = click.Context(inner, info_name=rest[0], parent=context)
        command, words = inner, rest[1:]


def wrong_values(
    command: click.Command, context: click.Context, given: dict[str, Any], complete: bool
) -> Iterator[str]:
    for parameter in command.get_params(context):
        value = given.get(parameter.name or "")
        missing = value is None or not isinstance(value, str | int | list | tuple) or value in ((), [])
        if missing:
            if complete and parameter.required and isinstance(parameter, click.Argument):
                yield f"{parameter.human_readable_name} is missing"
            continue
        for text in value if isinstance(value, list | tuple) else (value,):
            if isinstance(parameter.type, click.Path | click.File) or PLACEHOLDER.search(str(text)):
                continue
            try:
                parameter.type.convert(text, parameter, context)
            except click.UsageError as error:
                yield error.format_message()


@of("python")
def test_python_compiles_and_its_names_exist(block: Block) -> None:
    tree = ast.parse(block.text)
    names = {**imported(tree)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            resolve(node, names)
        if isinstance(node, ast.Call):
            check_keywords(node, names)


def imported(tree: ast.AST) -> dict[str, object]:
    """The names that the block imports, with what they are."""
    names: dict[str, object] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                module = importlib.import_module(alias.name)
                names[alias.asname or alias.name.partition(".")[0]] = (
                    module if alias.asname else importlib.import_module(alias.name.partition(".")[0])
                )
        elif isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module or "")
            for alias in node.names:
                names[alias.asname or alias.name] = getattr(module, alias.name)
    return names


def resolve(node: ast.expr, names: dict[str, object]) -> object | None:
    """What an expression of imported names is; None if it is something else. A missing attribute is an error."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute):
        owner = resolve(node.value, names)
        return None if owner is None else getattr(owner, node.attr)
    return None


def check_keywords(call: ast.Call, names: dict[str, object]) -> None:
    function = resolve(call.func, names)
    if not callable(function):
        return
    try:
        parameters = inspect.signature(function).parameters
    except ValueError:  # a function in C
        return
    if any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        return
    for keyword in call.keywords:
        assert keyword.arg is None or keyword.arg in parameters, f"{ast.unparse(call.func)} has no {keyword.arg}"


@pytest.mark.parametrize("page", ["python.md"])
def test_python_that_needs_nothing_runs(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    for block in BLOCKS:
        if block.page.name == page and block.language == "python":
            exec(compile(block.text, block.name, "exec"), {})
    assert capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("scan demo --protocol quickly", "quickly"),
        ("scan demo --no-such", "--no-such"),
        ("scans cancel", "missing"),
        ("scans cancel x", "x"),
        ("scan demo here there", "unexpected"),
        ("skan demo", "no command skan"),
    ],
)
def test_a_wrong_command_is_noticed(line: str, problem: str) -> None:
    assert problem in " ".join(problems_of(line.split(), complete=True))


def test_indented_commands_are_parsed_as_shell() -> None:
    found = {(block.page.name, block.first_line.split()[0]) for block in SHELL if not block.language}
    assert {
        ("operations.md", "docker"),
        ("mlflow.md", "pip"),
        ("README.md", "make"),
        ("findings.md", "OMP_NUM_THREADS=1"),
    } <= found
    with pytest.raises(AssertionError):
        test_shell_is_shell(Block(ROOT, 1, "", "docker run 'auditor\n"))


def test_a_wrong_name_is_noticed() -> None:
    with pytest.raises(AttributeError):
        test_python_compiles_and_its_names_exist(Block(ROOT, 1, "python", "import torch\ntorch.no_such(1)"))
    with pytest.raises(AssertionError, match="norms"):
        test_python_compiles_and_its_names_exist(
            Block(ROOT, 1, "python", "from auditor.attacks import evaluate_robustness as e\ne(1, 2, 3, norms='Linf')")
        )


def test_the_table_names_the_test_that_runs_each_page() -> None:
    for page, test in table(TESTED, "Pages whose commands run"):
        path, _, function = test.partition("::")
        assert (ROOT / "docs" / page).is_file(), page
        assert f"def {function}(" in (ROOT / path).read_text(), test
