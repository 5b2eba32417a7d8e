"""Rendering of templates; values are escaped, and a missing value is an error."""

import functools
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


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
    shared.filters.update(percent=percent, number=number, p_value=p_value)
    return shared


def render(template: str, **context: Any) -> str:
    """Render a template with its context as HTML."""
    return environment().get_template(template).render(**context)


def asset(name: str) -> str:
    """Read a style sheet or script of the package."""
    return files("auditor.web").joinpath("static", name).read_text(encoding="utf-8")


def percent(value: float | None) -> str:
    """Format a fraction as a percentage, ``41.0``; a dash for None."""
    return "–" if value is None else f"{100 * value:.1f}"


def number(value: float | None, digits: int = 2) -> str:
    return "–" if value is None or value != value else f"{value:.{digits}f}".replace("-", "−")


def p_value(value: float | None) -> str:
    return "<0.001" if value is not None and value < 0.001 else number(value, 3)
