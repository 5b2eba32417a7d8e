"""Rendering of templates; values are escaped, and a missing value is an error."""

import functools
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from auditor.records import LOCAL_QUEUE
from auditor.text.numbers import MINUS, number, p_value, percent_number, points


@functools.cache
def environment() -> Environment:
    """Return the environment of all pages and reports."""
    shared = Environment(
        loader=PackageLoader("auditor.web", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shared.filters.update(
        percent=percent_number, number=functools.partial(number, minus=MINUS), p_value=p_value, points=points
    )
    shared.globals["LOCAL_QUEUE"] = LOCAL_QUEUE
    return shared


def render(template: str, **context: Any) -> str:
    """Render a template with its context as HTML."""
    return environment().get_template(template).render(**context)


def asset(name: str) -> str:
    """Read a style sheet or script of the package."""
    return files("auditor.web").joinpath("static", name).read_text(encoding="utf-8")
