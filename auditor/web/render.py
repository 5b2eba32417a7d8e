"""Templates: found in the package, everything escaped, missing values an error."""

import functools
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from auditor.text.numbers import MINUS, number, p_value, percent_number, points


@functools.cache
def environment() -> Environment:
    """The one environment of pages and reports."""
    made = Environment(
        loader=PackageLoader("auditor.web", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        percent=percent_number, number=functools.partial(number, minus=MINUS), p_value=p_value, points=points
    )
    return made


def render(template: str, **context: Any) -> str:
    """A template with its context, as HTML."""
    return environment().get_template(template).render(**context)


def asset(name: str) -> str:
    """The text of a style sheet or script that is part of the package."""
    return files("auditor.web").joinpath("static", name).read_text(encoding="utf-8")
