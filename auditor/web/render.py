"""Rendering of templates; values are escaped and printable, and a missing value is an error."""

import functools
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from auditor.records import LOCAL_QUEUE
from auditor.records.protocols import ATTACKING_PROTOCOL_NAMES, PROTOCOL_NAMES
from auditor.records.sources import REMOTE_SOURCE_NAMES, SOURCE_NAMES
from auditor.results.flag_meanings import FLAGS
from auditor.results.terms import TERMS
from auditor.text.numbers import DASH, MINUS, number, p_value, percent_number, points, size
from auditor.text.printable import clean_lines
from auditor.text.signs_of_life import no_sign_of_life
from auditor.text.times import as_utc, format_duration, format_moment, relative_time
from auditor.web.security.access import sign_in_address


@functools.cache
def environment() -> Environment:
    """Return the environment of all pages and reports."""
    shared = Environment(
        loader=PackageLoader("auditor.web", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shared.filters.update(
        percent=percent_number,
        number=functools.partial(number, minus=MINUS),
        p_value=p_value,
        points=points,
        size=size,
        time=time_element,
        moment=format_moment,
        duration=format_duration,
        silence=no_sign_of_life,
    )
    shared.globals.update(PROTOCOL_NAMES=PROTOCOL_NAMES, ATTACKING_PROTOCOL_NAMES=ATTACKING_PROTOCOL_NAMES)
    shared.globals.update(SOURCE_NAMES=SOURCE_NAMES, REMOTE_SOURCE_NAMES=REMOTE_SOURCE_NAMES)
    shared.globals.update(LOCAL_QUEUE=LOCAL_QUEUE, FLAGS=FLAGS, TERMS=TERMS, sign_in_address=sign_in_address)
    return shared


def _printable(value: Any) -> Any:
    """Text without control characters: a saved page may be shown in a terminal, and direction marks hide words."""
    return clean_lines(value) if type(value) is str else value  # not Markup, which was cleaned when it was made


def render(template: str, **context: Any) -> str:
    """Render a template with its context as HTML."""
    return environment().get_template(template).render(**context)


def time_element(moment: datetime | str | None) -> str:
    """A moment, or its ISO text, as a time element: ``3 minutes ago``, with the time in UTC as its title."""
    if moment is None:
        return DASH
    exact = as_utc(datetime.fromisoformat(moment) if isinstance(moment, str) else moment)
    words = relative_time(exact, datetime.now(UTC))
    iso = exact.isoformat(timespec="seconds")
    return Markup('<time datetime="{}" title="{}">{}</time>').format(iso, format_moment(exact), words)


def asset(name: str) -> str:
    """Read a style sheet or script of the package."""
    return files("auditor.web").joinpath("static", name).read_text(encoding="utf-8")
