"""Schedules: with when they are due next and what became of their last run; made, changed and removed by admins."""

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path
from sqlalchemy import Engine

from auditor.db.schedules import add_schedule, all_schedules, enable_schedule, last_run, remove_schedule
from auditor.db.tokens import Bearer
from auditor.errors import UsageError
from auditor.scheduling.due import check_command, check_cron, next_due
from auditor.web.access import requires
from auditor.web.api.common import PROBLEMS, Database, Json, answers
from auditor.web.errors import PageNotFoundError
from auditor.web.shapes import jobs as shapes
from auditor.web.shapes.requests import ScheduleBody

router = APIRouter(tags=["schedules"], responses=PROBLEMS, default_response_class=Json)
Name = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
Admin = Annotated[Bearer, Depends(requires("admin"))]


@router.get("/schedules", **answers(shapes.Schedules))
def list_(engine: Database) -> dict[str, Any]:
    """All schedules by name; times are in UTC."""
    return {"schedules": rows(engine)}


@router.put("/schedules/{name}", **answers(shapes.Schedule))
def put(engine: Database, name: Name, asked: ScheduleBody, _: Admin) -> dict[str, Any]:
    """Make the schedule, or change it; `auditor beat` runs it. What was due before is not made up for."""
    from auditor.web.build_requests import scan_wanted

    check_cron(asked.cron)
    scan_wanted(asked.scan)
    words = asked.scan.command()
    check_command(words)
    add_schedule(engine, name, asked.cron, words, replace=True)
    enable_schedule(engine, name, asked.enabled)
    return next(row for row in rows(engine) if row["name"] == name)


@router.delete("/schedules/{name}", status_code=204)
def remove(engine: Database, name: Name, _: Admin) -> None:
    """Remove the schedule; the scans that it made stay."""
    try:
        remove_schedule(engine, name)
    except UsageError as error:
        raise PageNotFoundError(f"there is no schedule {name!r}") from error


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
