"""Shell completion of model names; what is slow or fails completes nothing, because an error would spoil the prompt."""

import contextlib
from collections.abc import Iterable

import click

from auditor.records.sources import SOURCES

MOST = 200
"""More proposals than this help nobody."""


def complete_result(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """Names of models with results."""
    with contextlib.suppress(Exception):
        from auditor.cli.db import open_database
        from auditor.db.zoo import list_audited_names

        return matching(list_audited_names(open_database()), incomplete)
    return []


def complete_entry(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Names of models of the zoo that the command names; without one, of the demo zoo and of all checkpoints."""
    chosen, names = context.params.get("source"), list[str]()
    for source in SOURCES:
        if source in ([chosen] if chosen else ["demo", "checkpoint"]) and not SOURCES[source].slow:
            with contextlib.suppress(Exception):
                from auditor.zoo import find_source

                names += [entry.model for entry in find_source(source, context.params.get("folder")).entries()]
    return matching(names, incomplete)


def matching(names: Iterable[str], incomplete: str) -> list[str]:
    """The names that begin like this; if none does, the ids, which are understood where only one source has them.

    bash ends a word at a colon, so that it asks for the rest of ``demo:at`` by ``at``.
    """
    names = list(names)
    full = [name for name in names if name.startswith(incomplete)]
    ids = dict.fromkeys(one for name in names if (one := name.partition(":")[2]).startswith(incomplete))
    return (full or list(ids))[:MOST]
