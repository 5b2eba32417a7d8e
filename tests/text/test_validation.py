"""What a field expected: pydantic's errors in the words of the command line."""

import datetime
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

import pytest
from pydantic import TypeAdapter, ValidationError

from auditor.text.validation import describe_first


@dataclass(frozen=True)
class Inner:
    steps: int


@dataclass(frozen=True)
class Outer:
    inner: Inner
    name: Literal["a", "b"] = "a"
    numbers: tuple[float, ...] = ()
    pair: tuple[int, int] = (0, 0)
    day: datetime.date | None = None
    share: Decimal = Decimal(0)
    table: dict[str, int] | None = None
    data: bytes = b""


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({}, "inner: expected a value"),
        ([], "expected an object, got []"),
        ({"inner": {"steps": "many"}}, "inner.steps: expected a whole number, got 'many'"),
        ({"inner": 3}, "inner: expected an object, got 3"),
        ({"inner": {"steps": 1, "odd": 2}, "name": "c"}, "name: expected 'a' or 'b', got 'c'"),
        ({"inner": {"steps": 1}, "numbers": ["x"]}, "numbers.0: expected a number, got 'x'"),
        ({"inner": {"steps": 1}, "pair": [1]}, "pair.1: expected a value"),
        ({"inner": {"steps": 1}, "day": "today"}, "day: expected a valid date or datetime, "),
        ({"inner": {"steps": 1}, "share": "x"}, "share: expected a valid decimal, got 'x'"),
        ({"inner": {"steps": 1}, "table": 3}, "table: expected an object, got 3"),
        ({"inner": {"steps": 1}, "data": 3}, "data: expected a valid bytes, got 3"),
        ("{", "expected JSON; it is malformed"),
    ],
)
def test_no_words_of_the_library(value: Any, words: str) -> None:
    adapter = TypeAdapter(Outer)
    with pytest.raises(ValidationError) as caught:
        adapter.validate_json(value) if isinstance(value, str) else adapter.validate_python(value)
    said = describe_first(caught.value.errors())
    assert said.startswith(words)
    assert "nput should" not in said
