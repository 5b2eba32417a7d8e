"""Templates: found in the package, everything escaped, missing values an error."""

import functools
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


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
    made.filters.update(percent=percent, number=number, p_value=p_value)
    return made


def render(template: str, **context: Any) -> str:
    """A template with its context, as HTML."""
    return environment().get_template(template).render(**context)


def asset(name: str) -> str:
    """The text of a style sheet or script that is part of the package."""
    return files("auditor.web").joinpath("static", name).read_text(encoding="utf-8")


def percent(value: float | None) -> str:
    """A fraction as ``41.0``; a dash where there is none."""
    return "–" if value is None else f"{100 * value:.1f}"


def number(value: float | None, digits: int = 2) -> str:
    return "–" if value is None or value != value else f"{value:.{digits}f}".replace("-", "−")


def p_value(value: float | None) -> str:
    return "<0.001" if value is not None and value < 0.001 else number(value, 3)
