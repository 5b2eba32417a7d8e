"""What a field expected and what it got: pydantic's errors in the words of the command line."""

import json
from collections.abc import Sequence
from typing import Any

LONGEST_INPUT = 60
_WHOLE, _NUMBER, _CHOICE, _OBJECT = "a whole number", "a number", "true or false", "an object"
_TIME = "a date and time such as 2026-11-28T02:00:00Z"
_EXPECTED = {
    "missing": "a value",
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_parsing_size": _WHOLE,
    "int_from_float": _WHOLE,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": "a finite number",
    "bool_type": _CHOICE,
    "bool_parsing": _CHOICE,
    "string_type": "text",
    "string_unicode": "text in UTF-8",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": _OBJECT,
    "model_type": _OBJECT,
    "model_attributes_type": _OBJECT,
    "dataclass_type": _OBJECT,
    "dataclass_exact_type": _OBJECT,
    "datetime_type": _TIME,
    "datetime_parsing": _TIME,
    "datetime_from_date_parsing": _TIME,
    "datetime_object_invalid": _TIME,
    "literal_error": "{expected}",
    "greater_than": "more than {gt}",
    "greater_than_equal": "{ge} or more",
    "less_than": "less than {lt}",
    "less_than_equal": "{le} or less",
    "string_too_long": "at most {max_length} characters",
    "string_too_short": "at least {min_length} characters",
    "too_long": "at most {max_length} values",
    "too_short": "at least {min_length} values",
    "string_pattern_mismatch": "text of the form {pattern}",
}


def describe_error(error: Any) -> str:
    """Say in a sentence what pydantic expected of a field, and what it got.

    Args:
        error: one of ``ValidationError.errors()``: its type, message, context and input.

    Example:
        >>> describe_error({"type": "less_than_equal", "msg": "…", "ctx": {"le": 1.0}, "input": 1.5})
        'expected 1 or less, got 1.5'
    """
    kind = error["type"]
    context = {name: _limit(value) for name, value in error.get("ctx", {}).items()}
    if kind == "value_error":
        return str(context["error"])
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        return "there is no such field"
    if kind == "json_invalid":
        return "expected JSON; it is malformed" + (f" at character {error['loc'][-1]}" if error["loc"] else "")
    if kind not in _EXPECTED:
        message = str(error["msg"])
        expected = message.removeprefix("Input should be ")
        if expected != message:
            return f"expected {expected}, got {_show(kind, error['input'])}"
        return f"{message[:1].lower()}{message[1:]}"
    expected = f"expected {_EXPECTED[kind].format_map(context)}"
    return expected if kind == "missing" else f"{expected}, got {_show(kind, error['input'])}"


def describe_first(errors: Sequence[Any]) -> str:
    """The place of the first of ``ValidationError.errors()``, and what was expected there.

    Example:
        >>> describe_first([{"type": "int_type", "loc": ("recipe", "steps"), "msg": "…", "input": "many"}])
        "recipe.steps: expected a whole number, got 'many'"
    """
    place = ".".join(map(str, errors[0]["loc"]))
    return f"{place}: {describe_error(errors[0])}" if place else describe_error(errors[0])


def _limit(value: Any) -> Any:
    """``1`` for 1.0: a limit of a number is a float for pydantic, however it is written."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _show(kind: str, value: Any) -> str:
    if kind in ("string_too_long", "too_long"):
        return str(len(value))
    if isinstance(value, str):
        return repr(value[:LONGEST_INPUT])
    return json.dumps(value, default=str, ensure_ascii=False)[:LONGEST_INPUT]
