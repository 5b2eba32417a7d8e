"""Scans and boosts whose process on this machine is gone end when somebody looks, as at the command line."""

import time
from weakref import WeakKeyDictionary

from sqlalchemy import Engine

from auditor.jobs.reaper import abandon_dead_scans
from auditor.web.api.common import Database

SECONDS = 10.0
"""Between two looks, however many people look."""
_looked: WeakKeyDictionary[Engine, float] = WeakKeyDictionary()


def tidy(engine: Database) -> None:
    """End what is dead; a dependency of routes that show what runs."""
    now = time.monotonic()
    if now - _looked.get(engine, -SECONDS) >= SECONDS:
        _looked[engine] = now
        abandon_dead_scans(engine)
