"""``--sort``, ``--filter``, ``--columns``, ``--limit`` and ``--format``: the same for every command that prints a list.

A list is sorted and filtered by the keys of its JSON output. A dot leads into an object: ``before.robust_accuracy``.
"""

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, is_dataclass
from fnmatch import fnmatchcase
from typing import Any, TypeVar

import click

from auditor.cli.choice import Choice
from auditor.cli.number_types import Count
from auditor.errors import UsageError
from auditor.text.similar import did_you_mean

Row = TypeVar("Row")
Values = dict[str, Any]

CONDITION = re.compile(r"\s*([\w.]+)\s*(!=|>=|<=|=|>|<)\s*(.*?)\s*", re.DOTALL)


@dataclass(frozen=True)
class Condition:
    """``KEY=VALUE`` of ``--filter``; ``sign`` is one of ``= != < <= > >=``."""

    key: str
    sign: str
    value: str

    def holds(self, row: Values) -> bool:
        """Whether a row meets the condition. A missing value is equal to the empty text and neither more nor less."""
        found = look_up(row, self.key)
        if self.sign in ("=", "!="):
            return _matches(found, self.value) == (self.sign == "=")
        if found is None or isinstance(found, list | dict):
            return False
        expected: Any = self.value
        if isinstance(found, int | float):
            try:
                expected = float(self.value)
            except ValueError:
                raise UsageError(f"--filter {self.key}: expected a number, got {self.value!r:.40}") from None
        return bool(
            {">": found > expected, "<": found < expected, ">=": found >= expected, "<=": found <= expected}[self.sign]
        )


class ConditionType(click.ParamType[Condition]):
    """A condition such as ``state=done``, ``model=demo:at-*`` or ``robust_accuracy>=0.4``."""

    name = "condition"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Condition:
        if isinstance(value, Condition):
            return value
        match = CONDITION.fullmatch(str(value))
        if match is None:
            self.fail(f"expected KEY=VALUE, or another of != < <= > >=, got {value!r:.60}", param, ctx)
        return Condition(*match.groups())


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The options of a list. ``sort`` has ``-`` in front for the largest first; None keeps the list's order."""

    sort: str | None
    conditions: tuple[Condition, ...]
    columns: tuple[str, ...]
    limit: int | None
    output_format: str

    @property
    def is_plain(self) -> bool:
        """Whether the list keeps its own order and all of its rows."""
        return self.sort is None and not self.conditions

    def arrange(self, rows: Sequence[Row], values: Callable[[Row], Values] | None = None) -> list[Row]:
        """Filter and sort records; ``values`` makes the JSON object of one, by default that of its dataclass.

        Raises:
            UsageError: the rows have no such key.
        """
        pairs = [(row, (values or values_of)(row)) for row in rows]
        if pairs:
            for key in (*(one.key for one in self.conditions), *([self.sort.removeprefix("-")] if self.sort else [])):
                check_key(key, [found for _, found in pairs])
        pairs = [pair for pair in pairs if all(one.holds(pair[1]) for one in self.conditions)]
        if self.sort:
            pairs = _sorted(pairs, self.sort)
        return [row for row, _ in pairs]

    def print(
        self,
        rows: Sequence[Row],
        print_rows: Callable[[Sequence[Row]], None],
        *,
        nothing: str,
        keys: Sequence[str],
        values: Callable[[Row], Values] | None = None,
        more: bool = False,
    ) -> None:
        """Print arranged rows as JSON, CSV or a table, and say which rows are left out.

        Args:
            print_rows: prints the table.
            nothing: the sentence for an empty list.
            keys: of the JSON objects: the header of an empty CSV table.
            more: whether the list has more rows than these.
        """
        from auditor.cli.output.layout import print_columns, print_note
        from auditor.cli.output.tables import print_json
        from auditor.results.serialize import as_csv

        found, kept = self.arrange(rows, values), list[Row]()
        kept = found[: self.limit]
        plain = [(values or values_of)(row) for row in kept]
        if self.columns:
            for key in self.columns if plain else ():
                check_key(key, plain)
            plain = [{key: look_up(row, key) for key in self.columns} for row in plain]
        if self.output_format == "json":
            print_json(plain)
            return
        if self.output_format == "csv":
            click.echo(as_csv(plain, self.columns or keys), nl=False)
            return
        if not kept:
            click.echo(nothing if not rows else f"none of {len(rows)} rows matches the filters", err=True)
            return
        if self.columns:
            print_columns(self.columns, [[_text(value) for value in row.values()] for row in plain])
        else:
            print_rows(kept)
        if more or len(found) > len(kept):
            total = "" if more else f" of {len(found)}"
            print_note(f"{len(kept)}{total} rows are printed; --limit N prints more")


def list_options(
    limit: int | None = None, sort: str | None = None, formats: Sequence[str] = ("table", "json", "csv")
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add the options of lists, and pass them to the command as ``listing``."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def callback(**options: Any) -> Any:
            names = {"sort": "sort", "conditions": "conditions", "columns": "columns", "limit": "limit"}
            chosen = {field: options.pop(name) for field, name in names.items()}
            listing = Listing(**chosen, output_format=options.pop("output_format"))
            return command(listing=listing, **options)

        for option in reversed(
            (
                click.option(
                    "--sort", metavar="KEY", default=sort, show_default=sort is not None,
                    help="Sort by a key of the JSON output, such as started_at. Put - in front to sort the largest "
                    "first. Rows without a value come last.",
                ),
                click.option(
                    "--filter", "conditions", type=ConditionType(), multiple=True, metavar="CONDITION",
                    help="Print only rows that meet a condition on a key of the JSON output: state=failed, "
                    "'model=demo:at-*', 'seconds>60'. The signs are = != < <= > >=. Repeatable.",
                ),
                click.option(
                    "--columns", type=Keys(), default="", metavar="KEYS",
                    help="Print these keys of the JSON output instead of the usual columns: model,state,seconds.",
                ),
                click.option(
                    "--limit", type=Count(), metavar="N", default=limit, show_default=limit is not None,
                    help="Print only the first N rows.",
                ),
                click.option(
                    "--format", "output_format", type=Choice(list(formats)), default="table", show_default=True,
                    help="Print a table for people, one JSON array, or CSV.",
                ),
            )
        ):  # fmt: skip
            callback = option(callback)
        return callback

    return decorate


class Keys(click.ParamType[tuple[str, ...]]):
    """Keys of the JSON output, separated by commas."""

    name = "keys"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:  # noqa: ARG002
        if isinstance(value, tuple):
            return value
        return tuple(dict.fromkeys(part.strip() for part in value.split(",") if part.strip()))


def values_of(row: Any) -> Values:
    """The JSON object of a record."""
    if isinstance(row, dict):
        return row
    from auditor.results.serialize import serialize

    assert is_dataclass(row)
    return serialize(row)


def look_up(row: Values, key: str) -> Any:
    """The value of a key, or of a path of keys joined by dots; None if there is none."""
    value: Any = row
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return None if value != value else value


def check_key(key: str, rows: Sequence[Values]) -> None:
    """Raises UsageError if no row has the key."""
    first = key.partition(".")[0]
    names = dict.fromkeys(name for row in rows for name in row)
    nested = dict.fromkeys(name for row in rows if isinstance(row.get(first), dict) for name in row[first])
    inside = key.partition(".")[2].partition(".")[0]
    if first in names and (not inside or inside in nested or not nested):
        return
    known = list(names) if first not in names else [f"{first}.{name}" for name in nested]
    hint = did_you_mean(key, known, f"choose from {', '.join(known)}", 2)
    raise UsageError(f"no key {key!r}; {hint}")


def _matches(found: Any, text: str) -> bool:
    if isinstance(found, list):
        return any(_matches(item, text) for item in found) if found else text == ""
    if found is None:
        return text in ("", "null")
    if isinstance(found, bool):
        return text.lower() in (("true", "yes", "1") if found else ("false", "no", "0"))
    if isinstance(found, int | float):
        try:
            return bool(abs(found - float(text)) <= 1e-9 * max(1.0, abs(found)))
        except ValueError:
            return False
    return fnmatchcase(str(found), text)


def _sorted(pairs: list[tuple[Row, Values]], sort: str) -> list[tuple[Row, Values]]:
    """Sort stably; rows without a value come last in both directions."""
    key, backwards = sort.removeprefix("-"), sort.startswith("-")

    def place(pair: tuple[Row, Values]) -> Any:
        value = look_up(pair[1], key)
        return (0, value, "") if isinstance(value, int | float) else (1, 0, _text(value))

    known = [pair for pair in pairs if look_up(pair[1], key) is not None]
    missing = [pair for pair in pairs if look_up(pair[1], key) is None]
    return [*sorted(known, key=place, reverse=backwards), *missing]


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return str(value)
