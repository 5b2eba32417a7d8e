"""Routes of schedules: list with next and last runs; admins create, change, run and remove them."""

from typing import Annotated, Any

from fastapi import Depends, Path, Request

from auditor.db.schedules import add_schedule, enable_schedule, remove_schedule
from auditor.db.tokens import Bearer
from auditor.records import schedules
from auditor.records.schedules import ScheduleRow
from auditor.scheduling.due import check_command, check_cron, hide_paths, load_schedules
from auditor.web.api.common import Database, make_router, response_options
from auditor.web.security.access import authenticate, require_scope
from auditor.web.shapes import jobs as shapes
from auditor.web.shapes.requests import Like, ScheduleBody

router = make_router("schedules")
NAME = Like(schedules.NAME, schedules.NAME_WORDS)
Name = Annotated[str, Path(), NAME]
AdminToken = Annotated[Bearer, Depends(require_scope("admin"))]


@router.get("/schedules", **response_options(shapes.Schedules))
def get_schedules(engine: Database, owner: Annotated[Bearer | None, Depends(authenticate)]) -> dict[str, Any]:
    """List all schedules by name. Times are in UTC. Without a token of the scope admin, `…` stands for paths."""
    return {"schedules": [show_to(owner, row) for row in load_schedules(engine)]}


def show_to(owner: Bearer | None, row: ScheduleRow) -> ScheduleRow:
    """The schedule, for all but admins without the paths of its machine."""
    return row if owner is not None and owner.may("admin") else hide_paths(row)


@router.put("/schedules/{name}", **response_options(shapes.Schedule))
def put_schedule(engine: Database, name: Name, body: ScheduleBody, _: AdminToken) -> ScheduleRow:
    """Create or replace a schedule. `auditor beat` runs it at its next due time; past due times are skipped."""
    from auditor.web.build_requests import build_scan_request

    check_cron(body.cron)
    build_scan_request(body.scan)
    command = body.scan.to_command()
    check_command(command)
    add_schedule(engine, name, body.cron, command, replace=True)
    enable_schedule(engine, name, body.enabled)
    return next(row for row in load_schedules(engine) if row.name == name)


@router.post("/schedules/{name}/run", **response_options(shapes.Schedule, 202))
def run_schedule_now(http: Request, engine: Database, name: Name, _: AdminToken) -> ScheduleRow:
    """Run the command of a schedule now, even if it is disabled. `last` becomes this run."""
    http.app.state.background().run_schedule(name)
    return next(row for row in load_schedules(engine) if row.name == name)


@router.delete("/schedules/{name}", status_code=204)
def delete_schedule(engine: Database, name: Name, _: AdminToken) -> None:
    """Remove a schedule. Its scans stay."""
    remove_schedule(engine, name)
