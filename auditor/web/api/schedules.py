"""Schedules, with when they are due next and what became of their last run."""

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter
from sqlalchemy import Engine

from auditor.db.schedules import all_schedules, last_run
from auditor.schedules import next_due
from auditor.web.api.common import PROBLEMS, Database, Json

router = APIRouter(tags=["schedules"], responses=PROBLEMS, default_response_class=Json)


@router.get("/schedules")
def list_(engine: Database) -> dict[str, Any]:
    """All schedules by name; times are in UTC."""
    return {"schedules": rows(engine)}


def rows(engine: Engine) -> list[dict[str, Any]]:
    """Schedules as plain values."""
    return [
        {
            "name": one.name,
            "cron": one.cron,
            "command": ["auditor", *one.command],
            "enabled": one.enabled,
            "next": next_due(one.cron, datetime.now(UTC)) if one.enabled else None,
            "last": last_run(engine, one),
        }
        for one in all_schedules(engine)
    ]
