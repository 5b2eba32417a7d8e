"""Scans and boosts whose process on this machine has died are ended when somebody looks at them."""

import time
from weakref import WeakKeyDictionary

from sqlalchemy import Engine

from auditor.jobs.reaper import abandon_dead_scans
from auditor.web.api.common import Database

CHECK_SECONDS = 10.0
"""The least time between two checks, however many requests come in."""
_checked_at: WeakKeyDictionary[Engine, float] = WeakKeyDictionary()


def end_dead_jobs(engine: Database) -> None:
    """End the jobs of dead processes; a dependency of all routes that show running jobs."""
    now = time.monotonic()
    if now - _checked_at.get(engine, -CHECK_SECONDS) >= CHECK_SECONDS:
        _checked_at[engine] = now
        abandon_dead_scans(engine)
